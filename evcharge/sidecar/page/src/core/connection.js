/** Keeps the stream open: reopened when it ends, when it is cut, and when it is silent for too long. */

import { NoStream, readStream } from "./stream.js";

/** @import { StreamEvent } from "./stream.js" */

/** The server sends a comment every 10 s; two that stay away and a bit more mean that nobody is there. */
const SILENT_MS = 25_000;
/** First and longest wait before it is tried again: a restarted server is found within five seconds in any case. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 2_000;
/** An attempt that is not answered by then is given up: the address may have gone away without a word. */
const OPEN_MS = 4_000;

/** @typedef {"connecting" | "live" | "lost"} StreamState */

export class Connection {
  /** @type {StreamState} */
  state = "connecting";
  /** When something was heard last, `performance.now()`; null: never. @type {number | null} */
  heard = null;

  /** @type {AbortController | null} */
  #abort = null;
  #timer = 0;
  #wait_ms = FIRST_WAIT_MS;
  #closed = false;
  #url;
  #last;
  #on;

  /**
   * @param {string} url
   * @param {() => string | null} last the last event id
   * @param {{ event: (event: StreamEvent) => void, state: () => void, unauthorized: () => void }} on
   */
  constructor(url, last, on) {
    this.#url = url;
    this.#last = last;
    this.#on = on;
    // A laptop that wakes up, or finds its network again, does not wait for the next attempt.
    window.addEventListener("online", this.#online);
    void this.#run();
  }

  close() {
    this.#closed = true;
    window.removeEventListener("online", this.#online);
    clearTimeout(this.#timer);
    this.#abort?.abort();
  }

  #online = () => {
    if (this.state === "live" || this.#closed) return;
    clearTimeout(this.#timer);
    this.#abort?.abort();
    void this.#run();
  };

  async #run() {
    const abort = (this.#abort = new AbortController());
    const watch = () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => abort.abort(), SILENT_MS);
    };
    this.#timer = setTimeout(() => abort.abort(), OPEN_MS);
    try {
      await readStream(this.#url, this.#last(), abort.signal, {
        opened: watch,
        heard: () => {
          watch();
          this.heard = performance.now();
          this.#wait_ms = FIRST_WAIT_MS;
          this.#become("live");
        },
        event: this.#on.event,
      });
    } catch (error) {
      if (error instanceof NoStream && error.status === 401) {
        this.#become("lost");
        this.close();
        this.#on.unauthorized();
        return;
      }
      if (!(error instanceof NoStream || error instanceof TypeError || error instanceof DOMException)) {
        // Not the network: an event that cannot be read. The next connection begins with a whole picture.
        console.warn("the live stream is opened again:", error);
      }
    }
    // Whoever was replaced by a newer attempt leaves the timer alone, which is the newer one's.
    if (this.#closed || this.#abort !== abort) return;
    clearTimeout(this.#timer);
    this.#become("lost");
    this.#timer = setTimeout(() => void this.#run(), this.#wait_ms);
    this.#wait_ms = Math.min(this.#wait_ms * 2, LONGEST_WAIT_MS);
  }

  /** @param {StreamState} state */
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#on.state();
  }
}
