/** States as people see them: sign, word and colour together. */

import { html, nothing } from "../core/html.js";
import { linkLook, look } from "../core/words.js";
import { icon } from "./icons.js";
import { plain } from "./text.js";

/** @param {string} state */
export function badge(state) {
  const { label, tone, sign } = look(state);
  return html`<span class="badge tone-${tone}" data-state=${state}>${icon(sign)}<span>${plain(label, 40)}</span></span>`;
}

/**
 * Engine and monitor of a charge point: two letters, each with its verdict as a word for who cannot see the colour.
 * @param {string} engine
 * @param {string} monitor
 */
export function verdicts(engine, monitor) {
  return html`<span class="verdicts">${verdict("Engine", engine)}${verdict("Monitor", monitor)}</span>`;
}

/**
 * @param {"Engine" | "Monitor"} which
 * @param {string} state
 */
function verdict(which, state) {
  const { label, ok } = linkLook(state);
  const tone = ok === null ? "away" : ok ? "supplying" : "fault";
  const sign = ok === null ? "dot" : ok ? "check" : "cross";
  return html`<span class="verdict tone-${tone}" title="${which}: ${label}">${which[0]}${icon(sign)}<span class="unseen">${which} ${label}</span></span>`;
}

/** @param {boolean} [simulated] */
export const simulated = (simulated) => (simulated ? html`<span class="chip">simulated</span>` : nothing);
