/** A credential that is shown once: copied or saved now, or never. */

import { html, nothing } from "../core/html.js";
import { announce } from "../parts/announcer.js";
import { icon } from "../parts/icons.js";
import { fact } from "../parts/panel.js";
import { name, plain } from "../parts/text.js";

/** @typedef {{ username: string, password: string, role: string, entity: string, station_id?: string, not_after_ms?: number }} Credential */

/** Keeps somebody from leaving with a secret unsaved. @param {BeforeUnloadEvent} event */
function hold(event) {
  event.preventDefault();
}

export class Secret {
  /** @type {Credential | null} */
  #credential = null;
  #copied = "";
  #update;

  /** @param {() => void} update */
  constructor(update) {
    this.#update = update;
  }

  /** @param {Credential} credential */
  show(credential) {
    this.#credential = credential;
    this.#copied = "";
    window.addEventListener("beforeunload", hold);
    this.#update();
  }

  clear() {
    this.#credential = null;
    window.removeEventListener("beforeunload", hold);
    this.#update();
  }

  close() {
    window.removeEventListener("beforeunload", hold);
  }

  /** @param {string} text @param {string} what */
  async #copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
      this.#copied = `${what} copied.`;
    } catch {
      this.#copied = "This browser does not allow that; select the text and copy it.";
    }
    announce(this.#copied);
    this.#update();
  }

  view() {
    const credential = this.#credential;
    if (credential === null) return nothing;
    const file = JSON.stringify(credential, null, 2);
    return html`<section class="secret" aria-labelledby="secret-title" data-testid="secret">
      <h2 id="secret-title">The secret of ${name(credential.entity)}</h2>
      <p class="warn">${icon("alert")} It is shown this once: copy or save it now. Nobody can read it again, only replace it.</p>
      <dl class="facts">${fact("User name", html`<span data-testid="secret-username">${name(credential.username)}</span>`)}${fact("Role", plain(credential.role))}
        ${credential.station_id ? fact("Station id", name(credential.station_id)) : nothing}</dl>
      <code data-testid="secret-password">${plain(credential.password)}</code>
      <div class="buttons">
        <button type="button" class="main" @click=${() => this.#copy(credential.password, "Secret")}>${icon("copy")} Copy the secret</button>
        <button type="button" class="quiet" @click=${() => this.#copy(file, "Credential")}>Copy the credential file</button>
        <a class="button" href="data:application/json;charset=utf-8,${encodeURIComponent(file)}" download="${plain(credential.username)}.json">${icon("down")}Save the credential file</a>
        <button type="button" class="quiet" @click=${() => this.clear()}>I have it</button></div>
      <p class="hint" role="status">${this.#copied}</p></section>`;
  }
}
