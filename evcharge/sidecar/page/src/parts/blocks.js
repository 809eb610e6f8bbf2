/** Larger parts that several pages share: a head, a table of rows, a session's line. */

import { clock, kwh, money, NOTHING, when } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { href } from "../core/router.js";
import { badge } from "./badges.js";
import { icon } from "./icons.js";
import { empty } from "./panel.js";
import { name } from "./text.js";

/**
 * @param {unknown} title
 * @param {unknown} [beside]
 * @param {[string, string]} [back] address and label of where one comes from
 */
export function pageHead(title, beside = nothing, back) {
  return html`<header class="page-head">${back === undefined ? nothing : html`<a class="back" href=${back[0]}>${icon("left")}${back[1]}</a>`}
    <h1>${title}</h1><div class="beside">${beside}</div></header>`;
}

/**
 * A table that can be scrolled sideways where it is too wide.
 * @param {string} label
 * @param {[string, string?][]} columns heading, and "number" where it is one
 * @param {unknown[][]} rows
 * @param {string} [none] what stands there when it has no rows
 */
export function table(label, columns, rows, none = "There is nothing.") {
  if (rows.length === 0) return empty(none);
  return html`<div class="table-scroll" tabindex="0" role="group" aria-label=${label}><table>
    <caption class="unseen">${label}</caption>
    <thead><tr>${columns.map(([title, kind]) => html`<th scope="col" class=${kind ?? ""}>${title}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr>${row.map((cell, n) => html`<td class=${columns[n]?.[1] ?? ""}>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/**
 * Sessions of history.
 * @param {any[]} sessions
 * @param {number} now_ms
 * @param {boolean} [elsewhere] whether they are of several charge points
 */
export function sessionTable(sessions, now_ms, elsewhere = false) {
  /** @type {[string, string?][]} */
  const columns = [
    ["Session"],
    ...(elsewhere ? [/** @type {[string]} */ (["Charge point"])] : []),
    ["Driver"],
    ["Began"],
    ["Ended"],
    ["kWh", "number"],
    ["Cost", "number"],
    ["State"],
  ];
  return table(
    "Sessions",
    columns,
    sessions.map((each) => [
      html`<a href=${href("sessions", each.session_id)}>${name(each.session_id)}</a>`,
      ...(elsewhere ? [html`<a href=${href("charge-points", each.cp_id)}>${name(each.cp_id)}</a>`] : []),
      each.driver_id ? name(each.driver_id) : NOTHING,
      when(each.start_ms ?? each.authorized_ms, now_ms),
      each.end_ms ? when(each.end_ms, now_ms) : NOTHING,
      kwh(each.energy_wh),
      money(each.amount_minor, each.currency ?? ""),
      badge(each.status ?? each.state ?? ""),
    ]),
    "No session yet.",
  );
}

/**
 * From when until when.
 * @param {number} from_ms
 * @param {number} until_ms
 */
export const span = (from_ms, until_ms) => `${clock(from_ms)} – ${clock(until_ms)}`;
