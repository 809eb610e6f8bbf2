/** Logging in: a client's id and secret, as `evcharge-sidecar client add` gave them. */

import { sentence } from "../core/api.js";
import { forgetRecords } from "../core/records.js";
import { html, nothing } from "../core/html.js";
import { plain } from "../parts/text.js";

/** @import { Api } from "../core/api.js" */

/**
 * @param {Api} api
 * @param {{ entered: () => void, update: () => void }} on
 */
export function loginView(api, on) {
  let busy = false;
  let wrong = "";

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const said = new FormData(form);
    busy = true;
    wrong = "";
    on.update();
    try {
      await api.login(String(said.get("client_id") ?? ""), String(said.get("client_secret") ?? ""));
      // Whoever was here before may have seen more.
      forgetRecords();
      form.reset();
      on.entered();
    } catch (error) {
      wrong = sentence(error);
    }
    busy = false;
    on.update();
  }

  return {
    /** @param {string} sentence stands there until somebody tries to log in */
    warn(sentence) {
      wrong = sentence;
    },
    view: () => html`<main class="login" id="main"><form class="panel login-card" @submit=${submit} aria-labelledby="login-title">
      <img src="/ui/assets/style/icon.svg" alt="" width="40" height="40">
      <h1 id="login-title">Log in to evcharge</h1>
      <p class="muted">With the client id and secret that an admin of this site gave you.</p>
      <label class="field"><span>Client id</span><input name="client_id" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus></label>
      <label class="field"><span>Client secret</span><input name="client_secret" type="password" autocomplete="current-password" required></label>
      ${wrong === "" ? nothing : html`<p class="wrong" role="alert">${plain(wrong)}</p>`}
      <button class="main" ?disabled=${busy}>${busy ? "Logging in …" : "Log in"}</button>
    </form></main>`,
  };
}
