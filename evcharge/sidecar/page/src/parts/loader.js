/** Something that is asked for, and what became of it: loading, there, or a sentence that says what is wrong. */

import { Problem, sentence } from "../core/api.js";

/**
 * @template T
 * @typedef {{ state: "loading", value: T | null } | { state: "there", value: T } | { state: "failed", value: T | null, why: string, status: number }} Loaded
 */

/** Time until something that could not be reached is asked for again. */
const AGAIN_MS = 5_000;

/** @template T */
export class Loader {
  /** @type {Loaded<T>} */
  now = { state: "loading", value: null };
  #abort = new AbortController();
  #timer = 0;
  #ask;
  #changed;

  /**
   * @param {(signal: AbortSignal, known: T | null) => Promise<T>} ask ``known``: the newest answer
   * @param {() => void} changed
   */
  constructor(ask, changed) {
    this.#ask = ask;
    this.#changed = changed;
    void this.load();
  }

  /** @returns {T | null} the newest answer, also while the next one is awaited or could not be had */
  get value() {
    return this.now.value;
  }

  async load() {
    this.#abort.abort();
    const abort = (this.#abort = new AbortController());
    clearTimeout(this.#timer);
    if (this.now.state !== "there") this.now = { state: "loading", value: this.now.value };
    try {
      const value = await this.#ask(abort.signal, this.now.value);
      if (!abort.signal.aborted) this.now = { state: "there", value };
    } catch (error) {
      if (abort.signal.aborted) return;
      const status = error instanceof Problem ? error.status : -1;
      this.now = { state: "failed", value: this.now.value, why: sentence(error), status };
      // What is away comes back; what is refused or absent does not change by asking.
      if (status === 0 || status >= 500 || status === 429) this.#timer = setTimeout(() => void this.load(), AGAIN_MS);
    }
    if (!abort.signal.aborted) this.#changed();
  }

  close() {
    this.#abort.abort();
    clearTimeout(this.#timer);
  }
}

/**
 * Loads again, at most once in `gap_ms`, when it is told that something changed.
 * @param {() => void} load
 * @param {number} gap_ms
 */
export function throttled(load, gap_ms) {
  let timer = 0;
  return {
    poke() {
      if (timer === 0)
        timer = setTimeout(() => {
          timer = 0;
          load();
        }, gap_ms);
    },
    stop() {
      clearTimeout(timer);
    },
  };
}
