/**
 * Server-sent events over `fetch`. `EventSource` hides what this page has to know: the status of an answer that is no
 * stream (401: log in; 503: try again), and the comment lines by which a silent stream shows that it lives.
 */

/**
 * @typedef {object} StreamEvent
 * @property {string} name
 * @property {string} data
 * @property {string | null} id
 */

/** Longest event that is taken, characters: a picture of 10,000 charge points has some 5 million. */
const MAX_EVENT = 32_000_000;

/** Turns text as it arrives, cut anywhere, into events (HTML standard, §9.2.6; lines end with LF or CRLF). */
export class EventParser {
  /** Pieces of a line that is not whole yet: a picture comes in a hundred, and is put together once. @type {string[]} */
  #pieces = [];
  #held = 0;
  #name = "";
  /** @type {string[]} */
  #data = [];
  #size = 0;
  /** @type {string | null} */
  #id = null;

  /**
   * @param {string} text
   * @returns {StreamEvent[]} those that became whole
   */
  feed(text) {
    /** @type {StreamEvent[]} */
    const events = [];
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#pieces.push(text.slice(from, end));
      const line = this.#pieces.join("");
      this.#pieces = [];
      this.#held = 0;
      from = end + 1;
      const event = this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (event !== null) events.push(event);
    }
    if (from < text.length) {
      this.#pieces.push(text.slice(from));
      this.#held += text.length - from;
      if (this.#held > MAX_EVENT) throw new Error("an event is too long");
    }
    return events;
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    // A comment: that something came is all it says.
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") this.#name = value;
    else if (field === "id") this.#id = value;
    else if (field === "data") {
      this.#size += value.length;
      if (this.#size > MAX_EVENT) throw new Error("an event is too long");
      this.#data.push(value);
    }
    return null;
  }

  #end() {
    const event =
      this.#data.length === 0 ? null : { name: this.#name || "message", data: this.#data.join("\n"), id: this.#id };
    this.#name = "";
    this.#data = [];
    this.#size = 0;
    this.#id = null;
    return event;
  }
}

/** An answer that is no stream; `status` says which. */
export class NoStream extends Error {
  /** @param {number} status */
  constructor(status) {
    super(`the stream was answered with ${status}`);
    this.status = status;
  }
}

/**
 * Reads one connection to its end.
 *
 * @param {string} url
 * @param {string | null} last last event id; the stream goes on behind it
 * @param {AbortSignal} signal
 * @param {{ opened: () => void, heard: () => void, event: (event: StreamEvent) => void }} on
 * @returns {Promise<void>} when the server closed it
 * @throws {NoStream | TypeError | DOMException} refused, cut, or aborted
 */
export async function readStream(url, last, signal, on) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "text/event-stream" };
  if (last !== null) headers["Last-Event-ID"] = last;
  const answer = await fetch(url, { headers, signal, cache: "no-store", credentials: "same-origin" });
  if (!answer.ok || answer.body === null) throw new NoStream(answer.status);
  on.opened();
  const parser = new EventParser();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    on.heard();
    for (const event of parser.feed(value)) on.event(event);
  }
}
