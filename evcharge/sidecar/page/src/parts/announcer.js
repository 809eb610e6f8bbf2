/** Tells new faults to who listens rather than looks; once each, and many at once as their number. */

/** @import { Fault } from "../core/faults.js" */

export class Announcer {
  /** @type {Set<string> | null} */
  #known = null;

  /** @param {Fault[]} faults */
  look(faults) {
    const keys = new Set(faults.map((fault) => fault.key));
    const known = this.#known;
    this.#known = keys;
    // What is there when the page opens stands on the page.
    if (known === null) return;
    const fresh = faults.filter((fault) => !known.has(fault.key));
    if (fresh.length > 3) announce(`${fresh.length} new faults`);
    else if (fresh.length > 0) announce(fresh.map((fault) => `${fault.title}: ${fault.detail}`).join(". "));
  }
}

/** @param {string} text */
export function announce(text) {
  const host = document.getElementById("announcer");
  if (host !== null) host.textContent = text;
}
