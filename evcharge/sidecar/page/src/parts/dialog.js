/** Questions before something happens. The browser's own dialog holds the focus, gives it back, and closes with Esc. */

import { html, nothing, render } from "../core/html.js";

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {unknown} text
 * @property {string} action what the button that does it says
 * @property {boolean} [danger]
 * @property {{ label: string, unit?: string, value: string, check: (text: string) => string | null }} [field]
 *   something to be filled in; `check` says what is wrong with it
 */

/**
 * Asks; one question at a time.
 * @param {Question} question
 * @returns {Promise<string | null>} what was filled in, or "" without a field; null: no
 */
export function ask(question) {
  const host = /** @type {HTMLElement} */ (document.getElementById("dialogs"));
  return new Promise((resolve) => {
    let text = question.field?.value ?? "";
    /** @type {string | null} */
    let wrong = null;

    /** @param {string | null} answer */
    function finish(answer) {
      dialog()?.close();
      render(nothing, host);
      resolve(answer);
    }

    const dialog = () => host.querySelector("dialog");

    /** @param {SubmitEvent} event */
    function submit(event) {
      event.preventDefault();
      wrong = question.field?.check(text) ?? null;
      if (wrong === null) finish(text);
      else draw();
    }

    function draw() {
      const { field } = question;
      render(
        html`
        <dialog aria-labelledby="dialog-title" @cancel=${(/** @type {Event} */ event) => {
          event.preventDefault();
          finish(null);
        }}>
          <form @submit=${submit} novalidate>
            <h2 id="dialog-title">${question.title}</h2>
            <div class="dialog-text">${question.text}</div>
            ${
              field === undefined
                ? nothing
                : html`
              <label class="field"><span>${field.label}</span>
                <span class="with-unit"><input name="value" inputmode="decimal" autocomplete="off" .value=${text}
                  aria-invalid=${wrong === null ? "false" : "true"} aria-describedby="dialog-wrong"
                  @input=${(/** @type {InputEvent} */ event) => {
                    text = /** @type {HTMLInputElement} */ (event.target).value;
                  }}>
                  ${field.unit ?? nothing}</span></label>`
            }
            <p id="dialog-wrong" class="wrong" role="alert">${wrong ?? nothing}</p>
            <div class="buttons">
              <button type="button" class="quiet" @click=${() => finish(null)}>Cancel</button>
              <button type="submit" class=${question.danger ? "danger" : "main"}>${question.action}</button>
            </div>
          </form>
        </dialog>`,
        host,
      );
    }

    draw();
    dialog()?.showModal();
  });
}

/**
 * Something to read.
 * @param {string} title
 * @param {unknown} body
 */
export function show(title, body) {
  const host = /** @type {HTMLElement} */ (document.getElementById("dialogs"));
  const done = () => {
    host.querySelector("dialog")?.close();
    render(nothing, host);
  };
  render(
    html`
    <dialog aria-labelledby="dialog-title" @cancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      done();
    }}>
      <h2 id="dialog-title">${title}</h2>
      <div class="dialog-text">${body}</div>
      <div class="buttons"><button type="button" class="main" @click=${done}>Close</button></div>
    </dialog>`,
    host,
  );
  host.querySelector("dialog")?.showModal();
}
