/** Asking the sidecar: one function, one kind of error, with a sentence that a person can do something with. */

/** @import { User } from "./types.js" */

/** Longest wait for an answer; Central's own limit for an order is shorter. */
const WAIT_MS = 20_000;

/** An answer that is no success (RFC 9457), or none at all. */
export class Problem extends Error {
  /**
   * @param {number} status 0: nobody answered
   * @param {string} code
   * @param {string} detail
   * @param {Record<string, string>} fields
   */
  constructor(status, code, detail, fields = {}) {
    super(detail);
    this.status = status;
    this.code = code;
    this.fields = fields;
  }
}

/**
 * @param {unknown} error
 * @returns {string} a sentence
 */
export function sentence(error) {
  return error instanceof Problem ? error.message : "Something on this page went wrong; reload it.";
}

export class Api {
  /** @type {User | null} */
  user = null;
  #unauthorized;

  /** @param {() => void} unauthorized the session is over */
  constructor(unauthorized) {
    this.#unauthorized = unauthorized;
  }

  /** @param {string} scope */
  may(scope) {
    return this.user?.scopes.includes(scope) ?? false;
  }

  /**
   * @param {string} path
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   * @throws {Problem}
   */
  get(path, signal) {
    return this.#ask("GET", path, undefined, signal);
  }

  /**
   * @param {"POST" | "PUT" | "DELETE"} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>}
   * @throws {Problem}
   */
  async send(method, path, body) {
    try {
      return await this.#ask(method, path, body);
    } catch (error) {
      if (!(error instanceof Problem && error.code === "csrf")) throw error;
      // Somebody logged in anew in another tab: nothing was done, and the new session's token is at hand.
      await this.me();
      return this.#ask(method, path, body);
    }
  }

  /**
   * @param {string} client_id
   * @param {string} client_secret
   * @throws {Problem}
   */
  async login(client_id, client_secret) {
    this.user = await this.#ask("POST", "/ui/login", { client_id, client_secret });
  }

  /** @throws {Problem} nobody is logged in, or nobody answers */
  async me() {
    this.user = await this.#ask("GET", "/ui/me");
    // 204: nobody, said without an error that a browser's console would count.
    if (this.user === null) throw new Problem(401, "unauthorized", "Nobody is logged in.");
  }

  /** @throws {Problem} the session may not have ended */
  async logout() {
    try {
      await this.send("POST", "/ui/logout", {});
    } finally {
      this.user = null;
    }
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {AbortSignal} [signal]
   */
  async #ask(method, path, body, signal) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (method !== "GET" && this.user !== null) headers["X-CSRF-Token"] = this.user.csrf;
    const late = AbortSignal.timeout(WAIT_MS);
    /** @type {Response} */
    let answer;
    try {
      answer = await fetch(path, {
        method,
        headers,
        credentials: "same-origin",
        cache: "no-store",
        body: body === undefined ? null : JSON.stringify(body),
        signal: signal === undefined ? late : AbortSignal.any([signal, late]),
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Problem(
        0,
        "no_answer",
        method === "GET"
          ? "The sidecar does not answer; it is tried again."
          : "The sidecar does not answer; whether it did what was asked is not known: look before asking again.",
      );
    }
    if (answer.status === 204) return null;
    const said = await answer.json().catch(() => null);
    if (answer.ok) return said;
    if (answer.status === 401 && !path.startsWith("/ui/")) this.#unauthorized();
    throw problem(answer.status, said);
  }
}

/**
 * @param {number} status
 * @param {any} said
 */
function problem(status, said) {
  const detail = typeof said?.detail === "string" ? said.detail : `The sidecar answered with ${status}.`;
  return new Problem(status, String(said?.code ?? "error"), detail, said?.fields ?? {});
}

/**
 * A path with a query; what is empty is left out.
 * @param {string} path
 * @param {Record<string, string | number | boolean | null | undefined>} query
 */
export function address(path, query) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") parts.set(name, String(value));
  }
  const text = parts.toString();
  return text === "" ? path : `${path}?${text}`;
}
