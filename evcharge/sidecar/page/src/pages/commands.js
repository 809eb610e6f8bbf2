/** Stop, resume and limit a charge point: asked before, done by Central, and said what became of it. */

import { sentence } from "../core/api.js";
import { kw } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { announce } from "../parts/announcer.js";
import { ask } from "../parts/dialog.js";
import { icon } from "../parts/icons.js";
import { name, plain } from "../parts/text.js";

/** @import { App } from "../app.js" */
/** @import { ChargePoint } from "../core/types.js" */

const ADMIN = "ADMIN";

export class Commands {
  #app;
  #id;
  #busy = false;
  /** @type {{ ok: boolean, text: string } | null} */
  #result = null;

  /** @param {App} app @param {string} id */
  constructor(app, id) {
    this.#app = app;
    this.#id = id;
  }

  /** @param {ChargePoint} point */
  view(point) {
    if (!this.#app.api.may("site:control")) return nothing;
    const held = point.holds.includes(ADMIN);
    const off = this.#busy || !this.#app.live.fresh;
    return html`<div class="commands" role="group" aria-label="Commands">
      ${
        held
          ? html`<button type="button" class="main" ?disabled=${off} @click=${() => this.#resume()}>Resume</button>`
          : html`<button type="button" class="danger" ?disabled=${off} @click=${() => this.#stop(point)}>Stop</button>`
      }
      <button type="button" class="quiet" ?disabled=${off} @click=${() => this.#limit(point)}>Limit …</button>
      ${point.limit_w == null ? nothing : html`<button type="button" class="quiet" ?disabled=${off} @click=${() => this.#unlimit(point)}>Remove the limit</button>`}
      <p class="result ${this.#result?.ok ? "good-news" : "bad-news"}" role="status" data-testid="command-result">${
        this.#result === null ? nothing : html`${icon(this.#result.ok ? "check" : "alert")} ${plain(this.#result.text)}`
      }</p></div>`;
  }

  /** @param {ChargePoint} point */
  async #stop(point) {
    const running = point.connectors.filter((each) => each.session_id).length;
    const sure = await ask({
      title: "Stop this charge point?",
      action: "Stop",
      danger: true,
      text: html`${name(this.#id)} is taken out of service${running === 0 ? "" : running === 1 ? ", and its running session ends" : `, and its ${running} running sessions end`}. It stays so until somebody resumes it.`,
    });
    if (sure !== null) await this.#do(() => this.#app.api.send("POST", this.#path("stop")), "Stopped.");
  }

  async #resume() {
    const sure = await ask({
      title: "Resume this charge point?",
      action: "Resume",
      text: html`The operator's hold on ${name(this.#id)} is lifted; other holds stay.`,
    });
    if (sure !== null) await this.#do(() => this.#app.api.send("POST", this.#path("resume")), "Resumed.");
  }

  /** @param {ChargePoint} point */
  async #limit(point) {
    const most_w = Math.max(...point.connectors.map((each) => each.max_w), 0);
    const text = await ask({
      title: "Limit this charge point",
      action: "Limit",
      text: html`What each connector of ${name(this.#id)} may draw, up to ${kw(most_w)} kW. Below its smallest current it waits.`,
      field: {
        label: "Power",
        unit: "kW",
        value: point.limit_w == null ? "" : String(point.limit_w / 1000),
        check: (said) => wrong(said, most_w),
      },
    });
    if (text === null) return;
    const limit_w = Math.round(Number(text.replace(",", ".")) * 1000);
    await this.#do(() => this.#app.api.send("PUT", this.#path("limit"), { limit_w }), `Limited to ${kw(limit_w)} kW.`);
  }

  /** @param {ChargePoint} _point */
  async #unlimit(_point) {
    await this.#do(() => this.#app.api.send("PUT", this.#path("limit"), { limit_w: null }), "The limit is removed.");
  }

  /** @param {string} what */
  #path(what) {
    return `/api/cps/${encodeURIComponent(this.#id)}/${what}`;
  }

  /** @param {() => Promise<unknown>} order @param {string} done */
  async #do(order, done) {
    this.#busy = true;
    this.#result = null;
    this.#app.update();
    try {
      await order();
      this.#result = { ok: true, text: done };
    } catch (error) {
      this.#result = { ok: false, text: sentence(error) };
    }
    this.#busy = false;
    announce(this.#result.text);
    this.#app.update();
  }
}

/**
 * @param {string} said
 * @param {number} most_w
 * @returns {string | null}
 */
function wrong(said, most_w) {
  const value = Number(said.trim().replace(",", "."));
  if (said.trim() === "" || !Number.isFinite(value) || value < 0) return "Give a power in kW, 0 or more, as 7.4.";
  if (most_w > 0 && value * 1000 > most_w)
    return `It can do ${kw(most_w)} kW at most; remove the limit to allow all of it.`;
  return null;
}
