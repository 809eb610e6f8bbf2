/** Power and energy of a charge point: quarters of an hour from history, and what its meter says since the page is open. */

import { kw, kwh } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { empty } from "../parts/panel.js";

/** @import { Sample } from "../core/live.js" */
/** @import { Data, Spec } from "../parts/chart.js" */

const QUARTER_MS = 900_000;
const BACK_MS = 24 * 3_600_000;
/** Points of the live line at most: more are not seen. */
const LIVE_POINTS = 900;

/** @typedef {[number, number, number]} Quarter start, watt-hours, peak watts */

export class PowerChart {
  #samples;
  #key = "";
  /** @type {Data} */
  #power = [[]];
  /** @type {Data} */
  #energy = [[]];

  /** @param {Sample[]} samples */
  constructor(samples) {
    this.#samples = samples;
  }

  /**
   * @param {{ energy?: Quarter[] } | null} past
   * @param {number} now_ms
   */
  view(past, now_ms) {
    const quarters = past?.energy ?? [];
    const last = this.#samples.at(-1);
    if (quarters.length === 0 && last === undefined) return empty("No reading yet.");
    const key = `${quarters.length} ${quarters.at(-1)?.[0]} ${last?.at_ms}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#power = power(quarters, this.#samples, now_ms);
      this.#energy = energy(quarters);
    }
    const [from_ms, until_ms] = [now_ms - BACK_MS, Math.ceil(now_ms / 60_000) * 60_000];
    const all_wh = quarters.reduce((sum, [, wh]) => sum + wh, 0);
    const most_w = quarters.reduce((most, [, , peak]) => Math.max(most, peak ?? 0), 0);
    /** @type {Spec} */
    const powers = {
      summary: `Power over the last 24 hours, now ${kw(last?.power_w)} kW, at most ${kw(most_w)} kW`,
      unit: "kW",
      from_ms,
      until_ms,
      series: [
        { label: "mean of a quarter", token: "--supplying", kind: "step", fill: true },
        { label: "now", token: "--offered", kind: "line" },
      ],
    };
    /** @type {Spec} */
    const energies = {
      summary: `Energy over the last 24 hours: ${kwh(all_wh)} kWh`,
      unit: "kWh",
      from_ms,
      until_ms,
      series: [{ label: "since then", token: "--safe", kind: "step", fill: true }],
    };
    return html`<div class="charts"><figure><figcaption>Power, kW <span class="muted">now ${kw(last?.power_w)} kW</span></figcaption>
        <ev-chart .spec=${powers} .data=${this.#power} data-testid="power-chart"></ev-chart></figure>
      ${
        quarters.length === 0
          ? nothing
          : html`<figure><figcaption>Energy, kWh
        <span class="muted">${kwh(all_wh)} kWh in 24 h</span></figcaption>
        <ev-chart .spec=${energies} .data=${this.#energy}></ev-chart></figure>`
      }</div>`;
  }
}

/**
 * @param {Quarter[]} quarters
 * @param {Sample[]} samples
 * @param {number} now_ms
 * @returns {Data}
 */
function power(quarters, samples, now_ms) {
  /** @type {Map<number, [number | null, number | null]>} */
  const at = new Map();
  let end = 0;
  for (const [start, wh] of quarters) {
    // Quarters in which nothing was drawn are not told.
    if (end !== 0 && start > end) at.set(end, [0, null]);
    at.set(start, [(wh * 3_600_000) / QUARTER_MS / 1000, null]);
    end = start + QUARTER_MS;
  }
  if (end !== 0) at.set(end, [end + QUARTER_MS < now_ms ? 0 : null, null]);
  const step = Math.max(1, Math.ceil(samples.length / LIVE_POINTS));
  samples.forEach((sample, n) => {
    if (n % step !== 0 && n !== samples.length - 1) return;
    at.set(sample.at_ms, [covering(at, sample.at_ms), sample.power_w / 1000]);
  });
  const rows = [...at.entries()].sort(([a], [b]) => a - b);
  return [rows.map(([x]) => x), rows.map(([, [mean]]) => mean), rows.map(([, [, now]]) => now)];
}

/**
 * The mean that holds at an instant: a step must not end where the live line has a point.
 * @param {Map<number, [number | null, number | null]>} at
 * @param {number} at_ms
 */
function covering(at, at_ms) {
  return at.get(Math.floor(at_ms / QUARTER_MS) * QUARTER_MS)?.[0] ?? null;
}

/**
 * @param {Quarter[]} quarters
 * @returns {Data}
 */
function energy(quarters) {
  let sum = 0;
  const xs = [];
  const ys = [];
  for (const [start, wh] of quarters) {
    sum += wh / 1000;
    xs.push(start + QUARTER_MS);
    ys.push(sum);
  }
  return [xs, ys];
}
