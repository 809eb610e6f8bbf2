/** Who is registered: drivers first, and everybody else by choice. */

import { address, sentence } from "../core/api.js";
import { full, NOTHING } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { href } from "../core/router.js";
import { ROLES } from "../core/words.js";
import { badge } from "../parts/badges.js";
import { pageHead, table } from "../parts/blocks.js";
import { ask } from "../parts/dialog.js";
import { Loader } from "../parts/loader.js";
import { loading, panel, trouble } from "../parts/panel.js";
import { name, plain } from "../parts/text.js";
import { Secret } from "./secret.js";

/** @import { App, Opener } from "../app.js" */

/** @typedef {{ username: string, role: string, entity: string, status: string, not_after_ms?: number | null, station_id?: string | null }} Listed */

/** Rows of a page of the list. */
const ROWS = 200;

/** @type {Opener} */
export function driversPage(app, place) {
  const { api } = app;
  const secret = new Secret(app.update);
  if (!api.may("registry:read")) {
    const why = `You are logged in as ${api.user?.role ?? "somebody"} and may not see who is registered: that needs the scope registry:read.`;
    return { title: "Drivers", view: () => html`<div class="page narrow">${pageHead("Drivers")}${trouble(why)}</div>` };
  }
  let role = place().query.get("role") ?? "driver";
  let text = "";
  let wrong = "";
  /** @type {HTMLInputElement | null} */
  let input = null;
  /** @type {string[]} */
  let pages = [""];
  let list = load();

  /** @returns {Loader<{ credentials: Listed[], next: string | null }>} */
  function load() {
    return new Loader(
      (signal) => api.get(address("/list", { role, limit: ROWS, after: pages.at(-1) }), signal),
      app.update,
    );
  }

  /** @param {string[]} next */
  function turn(next) {
    pages = next;
    list.close();
    list = load();
    app.update();
  }

  /** @param {Event} event */
  function choose(event) {
    role = /** @type {HTMLSelectElement} */ (event.target).value;
    turn([""]);
  }

  /** @param {Listed} row */
  async function revoke(row) {
    const sure = await ask({
      title: "Revoke this credential?",
      action: "Revoke",
      danger: true,
      text: html`${name(row.username)} is out within seconds${row.role === "driver" ? ", and the driver's running sessions end" : ""}. It cannot be undone, only registered anew.`,
    });
    if (sure !== null) await act(() => api.send("DELETE", `/register/${encodeURIComponent(row.username)}`));
  }

  /** @param {Listed} row */
  async function rotate(row) {
    const sure = await ask({
      title: "A new secret?",
      action: "Make a new secret",
      text: html`${name(row.username)} gets a new secret, shown once; the old one stays good for a while.`,
    });
    if (sure !== null)
      await act(async () => secret.show(await api.send("POST", `/rotate/${encodeURIComponent(row.username)}`, {})));
  }

  /** @param {() => Promise<unknown>} order */
  async function act(order) {
    wrong = "";
    try {
      await order();
      void list.load();
    } catch (error) {
      wrong = sentence(error);
    }
    app.update();
  }

  return {
    title: "Drivers",
    filter: () => input ?? document.querySelector(".toolbar input"),
    view() {
      const rows = (list.value?.credentials ?? []).filter((row) =>
        `${row.username}\n${row.entity}`.toLowerCase().includes(text.toLowerCase()),
      );
      return html`<div class="page">${pageHead(role === "driver" ? "Drivers" : "Registered", html`<a href="/ui/registration">Register somebody</a>`)}
        ${secret.view()}
        <div class="panel toolbar">
          <label class="field"><span>Who</span><select @change=${choose}>${Object.entries(ROLES).map(([value, label]) => html`<option value=${value} ?selected=${value === role}>${label}s</option>`)}</select></label>
          <label class="field grow"><span>Filter</span><input type="search" placeholder="Name or user name   /" .value=${text}
            @input=${(/** @type {InputEvent} */ event) => {
              text = /** @type {HTMLInputElement} */ (event.target).value;
              app.update();
            }}></label></div>
        ${wrong === "" ? nothing : html`<p class="wrong" role="alert">${plain(wrong)}</p>`}
        ${list.now.state === "failed" ? trouble(list.now.why) : nothing}
        ${panel(
          role === "driver" ? "Registered drivers" : "Registered credentials",
          list.value === null
            ? list.now.state === "failed"
              ? nothing
              : loading()
            : table(
                "Registered",
                [
                  ["Name"],
                  ["User name"],
                  ["State"],
                  [role === "driver" ? "Charges at" : "Ends"],
                  ["Actions", "number"],
                ],
                rows.map((row) => cells(row, app, revoke, rotate)),
                "Nobody fits.",
              ),
        )}
        <div class="buttons">${pages.length > 1 ? html`<button type="button" class="quiet" @click=${() => turn(pages.slice(0, -1))}>Back</button>` : nothing}
          ${list.value?.next ? html`<button type="button" class="quiet" @click=${() => turn([...pages, list.value?.next ?? ""])}>More</button>` : nothing}</div></div>`;
    },
    close() {
      list.close();
      secret.close();
    },
  };
}

/**
 * @param {Listed} row
 * @param {App} app
 * @param {(row: Listed) => void} revoke
 * @param {(row: Listed) => void} rotate
 */
function cells(row, app, revoke, rotate) {
  const may = app.api.may("registry:write") && row.status === "active";
  return [
    row.role === "cp" || row.role === "monitor"
      ? html`<a href=${href("charge-points", row.entity)}>${name(row.entity)}</a>`
      : name(row.entity),
    name(row.username),
    badge(row.status),
    row.role === "driver" ? charging(app, row.entity) : row.not_after_ms ? full(row.not_after_ms) : NOTHING,
    may
      ? html`<div class="row-buttons"><button type="button" class="quiet small" @click=${() => rotate(row)} aria-label="New secret for ${plain(row.username)}">New secret</button>
      <button type="button" class="quiet small" @click=${() => revoke(row)} aria-label="Revoke ${plain(row.username)}">Revoke</button></div>`
      : nothing,
  ];
}

/** @param {App} app @param {string} driver */
function charging(app, driver) {
  for (const point of app.live.points.values()) {
    for (const each of point.connectors) {
      if (each.driver === driver) return html`<a href=${href("charge-points", point.cp_id)}>${name(point.cp_id)}</a>`;
    }
  }
  return html`<span class="muted">${NOTHING}</span>`;
}
