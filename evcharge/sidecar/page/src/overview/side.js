/** The right column: what is wrong, and who waits. */

import { age, clock, duration } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { reasonText } from "../core/words.js";
import { badge } from "../parts/badges.js";
import { icon } from "../parts/icons.js";
import { empty, panel } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";

/** @import { Fault } from "../core/faults.js" */
/** @import { Live } from "../core/live.js" */

const SIGNS = { fault: "alert", stopped: "alert", away: "cut" };
/** Lines that are drawn; the number of all stands in the heading. */
const MOST = 60;

/**
 * @param {Fault[]} faults
 * @param {number} now_ms
 */
export function faultList(faults, now_ms) {
  const body =
    faults.length === 0
      ? html`<p class="empty good">${icon("check")} Nothing is wrong.</p>`
      : html`<ul class="lines">${faults.slice(0, MOST).map(
          (fault) => html`
      <li class="line tone-${fault.tone}"><a href=${fault.to}>${icon(SIGNS[fault.tone])}
        <span class="line-text"><strong>${name(fault.title)}</strong><small>${said(fault.detail)}</small></span>
        ${fault.since_ms === null ? nothing : html`<time title="since ${clock(fault.since_ms)}">${age(fault.since_ms, now_ms)}</time>`}</a></li>`,
        )}</ul>`;
  return panel(
    "Faults and alerts",
    html`<div class="panel-scroll" tabindex=${faults.length > 0 ? "0" : nothing}
    role="group" aria-label="Faults and alerts" data-testid="faults">${body}</div>`,
    {
      kind: "faults",
      aside: faults.length === 0 ? nothing : html`<span class="count">${faults.length}</span>`,
    },
  );
}

/** @param {Live} live */
export function waitingList(live) {
  const now = live.clock.now();
  const { waiting, reservations } = live;
  const body =
    waiting.length + reservations.length === 0
      ? empty("Nobody waits.")
      : html`<ul class="lines">
    ${waiting.slice(0, MOST).map(
      (each) => html`<li class="line"><span class="place">${each.place || "★"}</span>
      <span class="line-text"><strong>${name(each.driver_id || "a driver")}</strong><small>${
        each.state === "OFFERED"
          ? html`offered ${name(each.cp_id)}${each.offered_until_ms == null ? nothing : ` until ${clock(each.offered_until_ms)}`}`
          : html`for ${each.cp_id === "*" ? "any charge point" : name(each.cp_id)}${each.reason ? ` · ${plain(reasonText(each.reason))}` : nothing}`
      }</small></span>
      <time title="expected">${each.eta_ms == null ? nothing : each.eta_ms < now + 1_000 ? "now" : `in ${duration(each.eta_ms - now)}`}</time></li>`,
    )}
    ${reservations.slice(0, MOST).map(
      (each) => html`<li class="line">${icon("clock")}
      <span class="line-text"><strong>${name(each.cp_id)}/${each.connector}</strong><small>reserved ${clock(each.from_ms)} – ${clock(each.until_ms)}${each.driver_id ? html` · ${name(each.driver_id)}` : nothing}</small></span>
      ${each.state === "PLANNED" ? nothing : badge(each.state)}</li>`,
    )}</ul>`;
  return panel(
    "Waiting",
    html`<div class="panel-scroll" tabindex="0" role="group" aria-label="Waiting" data-testid="waiting">${body}</div>`,
    {
      kind: "waiting",
      aside: waiting.length === 0 ? nothing : html`<span class="count">${waiting.length}</span>`,
    },
  );
}
