/** The first row: how many are in which state, and what today has brought. Each tile is a link. */

import { kg, kwh, money, whole } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { POINT_STATES } from "../core/words.js";
import { icon } from "../parts/icons.js";

/** @import { Today } from "../core/types.js" */

/**
 * @param {Record<string, number>} counts
 * @param {string} chosen the state that the table shows alone
 * @param {Today | null} today
 * @param {string | null} why why there is nothing of today
 */
export function tiles(counts, chosen, today, why) {
  return html`<nav class="tiles" aria-label="Site at a glance">
    ${Object.entries(POINT_STATES)
      .sort(([, a], [, b]) => TILE_ORDER.indexOf(a.tone) - TILE_ORDER.indexOf(b.tone))
      .map(
        ([state, { label, tone, sign }]) => html`
      <a class="tile tone-${tone} ${counts[state] ? "" : "none"}" href=${chosen === state ? "/ui/" : `/ui/?state=${state}`} data-testid="tile-${state}"
        aria-current=${chosen === state ? "true" : nothing}>
        <span class="tile-value">${whole(counts[state] ?? 0)}</span><span class="tile-label">${icon(sign)}${label}</span></a>`,
      )}
    ${figure("Energy today", "bolt", today === null ? null : kwh(today.energy_wh), "kWh", why, "energy-today")}
    ${figure("Revenue today", "coin", today === null ? null : money(today.amount_minor, today.currency ?? ""), "", why, "revenue-today")}
    ${figure("CO₂ avoided", "leaf", today?.co2_avoided_g == null ? null : kg(today.co2_avoided_g), "kg", why, "co2-avoided")}
  </nav>`;
}

const TILE_ORDER = ["free", "supplying", "stopped", "fault", "away"];

/**
 * @param {string} label
 * @param {string} sign
 * @param {string | null} value
 * @param {string} unit
 * @param {string | null} why
 * @param {string} id
 */
function figure(label, sign, value, unit, why, id) {
  return html`<a class="tile figure" href="/ui/history" data-testid="tile-${id}" title=${value === null ? (why ?? nothing) : nothing}>
    <span class="tile-value">${value ?? html`<span class="muted">${why === null ? "…" : html`–<small> not known</small><span class="unseen"> ${why}</span>`}</span>`}${value === null || unit === "" ? nothing : html`<small> ${unit}</small>`}</span>
    <span class="tile-label">${icon(sign)}${label}</span></a>`;
}
