/** Registering who may talk to Central; the registry keeps public keys alone, so a secret is shown once. */

import { Problem, sentence } from "../core/api.js";
import { html, nothing } from "../core/html.js";
import { ROLES } from "../core/words.js";
import { pageHead } from "../parts/blocks.js";
import { panel, trouble } from "../parts/panel.js";
import { plain } from "../parts/text.js";
import { Secret } from "./secret.js";

/** @import { Opener } from "../app.js" */

/** What the registry lets an entity and a user be called. */
const ENTITY = /^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}$/;
const USERNAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;
/** Life of a console's credential that is offered, seconds. */
const CONSOLE_S = 3_600;

/** @type {Record<string, string>} */
const CALLED = {
  cp: "Charge point, as CP-17",
  monitor: "The charge point that it watches, as CP-17",
  driver: "Driver, as driver-042",
  gateway: "Gateway",
  debug: "Console",
};

/** @type {Opener} */
export function registrationPage(app) {
  const { api } = app;
  const secret = new Secret(app.update);
  let role = "cp";
  let busy = false;
  let wrong = "";
  /** @type {Record<string, string>} */
  let fields = {};

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    const form = /** @type {HTMLFormElement} */ (event.target);
    const said = new FormData(form);
    const entity = String(said.get("entity") ?? "").trim();
    const username = String(said.get("username") ?? "").trim();
    fields = {};
    wrong = "";
    if (!ENTITY.test(entity))
      fields["entity"] = "1 to 64 letters, digits or . _ : @ + - that start with a letter or digit";
    if (username !== "" && !USERNAME.test(username))
      fields["username"] = "1 to 64 of a-z 0-9 . _ - that start with a letter or digit";
    if (Object.keys(fields).length > 0) return app.update();
    busy = true;
    app.update();
    try {
      const body = {
        role,
        entity,
        ...(username === "" ? {} : { username }),
        ...(role === "debug" ? { valid_s: CONSOLE_S } : {}),
      };
      const credential = await api.send("POST", "/register", body);
      form.reset();
      secret.show(credential);
    } catch (error) {
      wrong = sentence(error);
      if (error instanceof Problem) fields = error.fields;
    }
    busy = false;
    return app.update();
  }

  /** @param {string} id @param {string} label @param {string} hint @param {boolean} required */
  function input(id, label, hint, required) {
    const bad = fields[id];
    return html`<div class="field"><label for="register-${id}">${label}</label>
      <input id="register-${id}" name=${id} autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="64" ?required=${required}
        aria-invalid=${bad === undefined ? "false" : "true"} aria-describedby="${id}-hint">
      <span id="${id}-hint" class=${bad === undefined ? "hint" : "wrong"}>${plain(bad ?? hint)}</span></div>`;
  }

  return {
    title: "Registration",
    view() {
      if (!api.may("registry:write")) {
        return html`<div class="page narrow">${pageHead("Registration")}${trouble(
          `You are logged in as ${api.user?.role ?? "somebody"} and may not register: that needs the scope registry:write, which admins have.`,
        )}
          <p class="lead">Who is registered stands under <a href="/ui/drivers">Drivers</a>.</p></div>`;
      }
      return html`<div class="page narrow">${pageHead("Registration")}
        ${secret.view()}
        ${panel(
          "Register",
          html`<form class="form" @submit=${submit} novalidate aria-label="Register">
          <label class="field"><span>What</span><select name="role" @change=${(/** @type {Event} */ event) => {
            role = /** @type {HTMLSelectElement} */ (event.target).value;
            app.update();
          }}>
            ${Object.entries(ROLES).map(([value, label]) => html`<option value=${value} ?selected=${value === role}>${label}</option>`)}</select></label>
          ${input("entity", "Name", CALLED[role] ?? "", true)}
          ${input("username", "User name", "Made of what it is and its name, where you leave it empty", false)}
          ${role === "debug" ? html`<p class="hint">A console's credential ends by itself after an hour.</p>` : nothing}
          ${wrong === "" ? nothing : html`<p class="wrong" role="alert">${plain(wrong)}</p>`}
          <div class="buttons"><button class="main" ?disabled=${busy}>${busy ? "Registering …" : "Register"}</button></div></form>`,
        )}</div>`;
    },
    close: () => secret.close(),
  };
}
