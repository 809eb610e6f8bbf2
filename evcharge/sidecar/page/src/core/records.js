/**
 * The durable records that this page has seen, each once and in order, whatever was sent again after a reconnect.
 * The newest stay for the audit tail and for the timeline of a session that is opened later.
 */

/** @import { LogRecord } from "./types.js" */

/** How many stay: some minutes of a busy site, about 2 MB. */
const KEPT = 3_000;
/** How many of them a reload brings back. */
const TAIL = 60;
/** A tab that was put away for longer begins anew: the log may have grown by a million records. */
const FRESH_MS = 15 * 60_000;
const PLACE = "evcharge.live.after";

export class Records {
  /** In order of `seq`. @type {LogRecord[]} */
  all = [];
  /** Everything up to here was seen. @type {number | null} */
  last = null;
  #stored = 0;

  constructor() {
    try {
      const { after, at } = JSON.parse(sessionStorage.getItem(PLACE) ?? "null") ?? {};
      if (Number.isSafeInteger(after) && after >= 0 && Date.now() - at < FRESH_MS) this.last = after;
    } catch {
      // Unreadable or forbidden storage: the tail begins with what comes.
    }
  }

  /**
   * @param {LogRecord} record
   * @returns {boolean} whether it is new
   */
  add(record) {
    if (this.last !== null && record.seq <= this.last) return false;
    this.last = record.seq;
    this.all.push(record);
    if (this.all.length > KEPT * 1.1) this.all.splice(0, this.all.length - KEPT);
    this.#remember();
    return true;
  }

  /**
   * Older ones, fetched because the stream begins with now.
   * @param {LogRecord[]} older
   */
  prepend(older) {
    const first = this.all[0]?.seq ?? Infinity;
    const before = older.filter((record) => record.seq < first).sort((a, b) => a.seq - b.seq);
    this.all.unshift(...before);
    this.last ??= this.all.at(-1)?.seq ?? null;
  }

  /**
   * @param {number} seq
   * @returns {LogRecord[]} those behind it, in order
   */
  after(seq) {
    let from = this.all.length;
    while (from > 0 && /** @type {LogRecord} */ (this.all[from - 1]).seq > seq) from -= 1;
    return this.all.slice(from);
  }

  /**
   * The stream could not go on where it ended: what is kept ends before a hole, and is told no more.
   * @param {number | null} [last] behind which it goes on, where that is known: in another log it may be a lower one
   */
  gap(last = null) {
    this.all = [];
    this.last = last;
  }

  /** Where a reload goes on: before the tail that is shown, so that it shows the same again. */
  #remember() {
    // A busy log would write a thousand times a second for nothing.
    const now = Date.now();
    if (now - this.#stored < 1_000) return;
    this.#stored = now;
    const first = this.all.at(-TAIL) ?? this.all[0];
    if (first === undefined) return;
    try {
      sessionStorage.setItem(PLACE, JSON.stringify({ after: first.seq - 1, at: now }));
    } catch {
      // Full or forbidden storage: a reload begins with what comes.
    }
  }
}

/** When somebody else logs in, nothing of what was seen before is theirs. */
export function forgetRecords() {
  try {
    sessionStorage.removeItem(PLACE);
  } catch {
    // Forbidden storage keeps nothing.
  }
}
