/** What the site delivered, day by day: charts, the figures beside them, and everything as CSV. */

import { address } from "../core/api.js";
import { isoDay, kg, kw, kwh, major, money, whole } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { pageHead, sessionTable, table } from "../parts/blocks.js";
import { icon } from "../parts/icons.js";
import { Loader } from "../parts/loader.js";
import { empty, loading, panel, trouble } from "../parts/panel.js";
import { plain } from "../parts/text.js";

/** @import { App, Opener } from "../app.js" */
/** @import { Data, Series, Spec } from "../parts/chart.js" */

/** @typedef {{ day: string, sessions: number, energy_wh: number, amount_minor: number, currency: string, co2_g?: number, busy_s?: number, utilisation_percent?: number, refused?: number }} Day */
/** @typedef {{ days: Loader<{ time_zone: string, days: Day[] }>, energy: Loader<any>, sessions: Loader<any> }} Asked */

const DAY_MS = 86_400_000;
/** Days shown when nothing was chosen. */
const USUAL = 30;

/** @type {Opener} */
export function historyPage(app, place) {
  let range = chosen();
  let asked = ask(app, range);
  let key = JSON.stringify(range);
  /** Charts are handed the same data until it changes. @type {{ of: unknown, data: Data[] }} */
  let drawn = { of: null, data: [] };

  /** What the address says, or the last 30 days of the site. */
  function chosen() {
    const { query } = place();
    const now = app.live.clock.now();
    return {
      from: query.get("from") ?? isoDay(new Date(now - (USUAL - 1) * DAY_MS)),
      until: query.get("until") ?? isoDay(new Date(now)),
    };
  }

  /** @param {Event} event */
  function change(event) {
    const form = /** @type {HTMLInputElement} */ (event.target).form;
    if (form === null) return;
    const said = new FormData(form);
    const [from, until] = [String(said.get("from")), String(said.get("until"))];
    if (from !== "" && until !== "" && from <= until) app.replace(address("/ui/history", { from, until }));
  }

  return {
    title: "History",
    view() {
      const next = chosen();
      if (JSON.stringify(next) !== key) {
        range = next;
        key = JSON.stringify(next);
        close(asked);
        asked = ask(app, range);
      }
      const { days } = asked;
      if (drawn.of !== days.value) drawn = { of: days.value, data: columns(range, days.value?.days ?? []) };
      return html`<div class="page">${pageHead("History and statistics", days.value === null ? nothing : html`<span class="muted">days in ${plain(days.value.time_zone)}</span>`)}
        <form class="panel toolbar" @change=${change} @submit=${(/** @type {Event} */ event) => event.preventDefault()} aria-label="Range">
          <label class="field"><span>From</span><input type="date" name="from" .value=${range.from} max=${range.until}></label>
          <label class="field"><span>Until</span><input type="date" name="until" .value=${range.until} min=${range.from}></label>
          <span class="grow"></span>
          ${csv("Days", address("/api/history/days.csv", range))}
          ${csv("Sessions", address("/api/history/sessions.csv", instants(range)))}
          ${csv("Energy, quarter hours", address("/api/history/energy.csv", instants(range)))}
        </form>
        ${days.now.state === "failed" ? trouble(`${days.now.why} The live view goes on without history.`) : nothing}
        ${days.value === null ? (days.now.state === "failed" ? nothing : loading()) : body(days.value.days, drawn.data)}
        ${panel("Power of the last day", last(asked.energy))}
        ${panel(
          "Newest sessions in this range",
          asked.sessions.value === null
            ? asked.sessions.now.state === "failed"
              ? empty("Sessions are not there while history is away.")
              : loading()
            : sessionTable(asked.sessions.value.sessions, app.live.clock.now(), true),
        )}</div>`;
    },
    close: () => close(asked),
  };
}

/** @param {App} app @param {{ from: string, until: string }} range @returns {Asked} */
function ask({ api, update }, range) {
  const until_ms = instants(range).until_ms;
  return {
    days: new Loader((signal) => api.get(address("/api/history/days", range), signal), update),
    energy: new Loader(
      (signal) => api.get(address("/api/history/energy", { from_ms: until_ms - DAY_MS, until_ms }), signal),
      update,
    ),
    sessions: new Loader(
      (signal) => api.get(address("/api/history/sessions", { ...instants(range), limit: 50 }), signal),
      update,
    ),
  };
}

/** @param {Asked} asked */
function close(asked) {
  for (const loader of Object.values(asked)) loader.close();
}

/**
 * The range as instants: from its first midnight to the one behind its last day.
 * @param {{ from: string, until: string }} range
 */
function instants(range) {
  return { from_ms: midnight(range.from), until_ms: midnight(range.until) + DAY_MS };
}

/** @param {string} day */
function midnight(day) {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year ?? 0, (month ?? 1) - 1, date ?? 1).getTime();
}

/** @param {string} label @param {string} to */
const csv = (label, to) =>
  html`<a class="button" href=${to} download>${icon("down")}${label} <span class="muted">CSV</span></a>`;

/**
 * Energy, revenue, utilisation: a column for each day of the range, those without anything too.
 * @param {{ from: string, until: string }} range
 * @param {Day[]} days
 * @returns {Data[]}
 */
function columns(range, days) {
  const known = new Map(days.map((each) => [midnight(each.day), each]));
  const first = new Date(midnight(range.from));
  /** @type {number[]} */
  const midnights = [];
  for (const day = first; day.getTime() <= midnight(range.until); day.setDate(day.getDate() + 1)) midnights.push(day.getTime());
  const xs = midnights.map((each) => each + DAY_MS / 2);
  const of = (/** @type {(day: Day) => number} */ value) =>
    midnights.map((each) => (known.has(each) ? value(/** @type {Day} */ (known.get(each))) : 0));
  return [
    [xs, of((day) => day.energy_wh / 1000)],
    [xs, of((day) => major(day.amount_minor, day.currency))],
    [xs, of((day) => day.utilisation_percent ?? 0)],
  ];
}

/** @param {Day[]} days @param {Data[]} data */
function body(days, data) {
  if (days.length === 0) return empty("Nothing is known of these days.");
  const sum = (/** @type {(day: Day) => number} */ of) => days.reduce((all, day) => all + of(day), 0);
  const currency = days.find((day) => day.currency)?.currency ?? "";
  const energy_wh = sum((day) => day.energy_wh);
  const amount = sum((day) => day.amount_minor);
  const busy = sum((day) => day.utilisation_percent ?? 0) / days.length;
  return html`<div class="figures" role="group" aria-label="Sums">
      ${figure("Energy", kwh(energy_wh), "kWh")}${figure("Revenue", money(amount, currency), "")}
      ${figure("Sessions", whole(sum((day) => day.sessions)), "")}${figure("Refused", whole(sum((day) => day.refused ?? 0)), "")}
      ${figure("Mean utilisation", busy.toFixed(1), "%")}${figure("CO₂", kg(sum((day) => day.co2_g ?? 0)), "kg")}</div>
    <div class="three">
      ${chart("Energy a day", "kWh", "--supplying", "bars", data[0], `${kwh(energy_wh)} kWh in ${days.length} days`, 0)}
      ${chart("Revenue a day", currency, "--offered", "bars", data[1], `${money(amount, currency)} in ${days.length} days`, 2)}
      ${chart("Utilisation", "%", "--safe", "line", data[2], `${busy.toFixed(1)} % on average`, 1)}</div>
    ${panel(
      "Day by day",
      html`<div class="panel-scroll days-scroll" tabindex="0" role="group" aria-label="Days">${table(
        "Days",
        [
          ["Day"],
          ["Sessions", "number"],
          ["Energy, kWh", "number"],
          ["Revenue", "number"],
          ["CO₂, kg", "number"],
          ["Utilisation", "number"],
          ["Refused", "number"],
        ],
        [...days]
          .reverse()
          .map((day) => [
            day.day,
            whole(day.sessions),
            kwh(day.energy_wh),
            money(day.amount_minor, day.currency),
            kg(day.co2_g),
            day.utilisation_percent == null ? "–" : `${day.utilisation_percent.toFixed(1)} %`,
            whole(day.refused ?? 0),
          ]),
      )}</div>`,
    )}`;
}

/** @param {string} label @param {string} value @param {string} unit */
const figure = (label, value, unit) =>
  html`<div class="tile figure"><span class="tile-value">${value}${unit === "" ? nothing : html`<small> ${unit}</small>`}</span><span class="tile-label">${label}</span></div>`;

/**
 * @param {string} title
 * @param {string} unit
 * @param {string} token
 * @param {Series["kind"]} kind
 * @param {Data | undefined} data
 * @param {string} summary
 * @param {number} digits
 */
function chart(title, unit, token, kind, data, summary, digits) {
  /** @type {Spec} */
  const spec = {
    summary: `${title}: ${summary}`,
    unit,
    days: true,
    text: (value) => value.toFixed(digits),
    series: [{ label: title.toLowerCase(), token, kind, fill: true }],
  };
  return panel(title, html`<ev-chart class="roomy" .spec=${spec} .data=${data ?? [[]]}></ev-chart>`);
}

/** The same rows, as data that a chart may keep. @type {WeakMap<object, Data>} */
const kept = new WeakMap();

/**
 * Mean kW of each step; steps in which nothing was drawn are not told, and are drawn as that.
 * @param {[number, number][]} rows begin, Wh
 * @param {number} step_ms
 * @returns {Data}
 */
function means(rows, step_ms) {
  const xs = [];
  const ys = [];
  let end = rows[0]?.[0] ?? 0;
  for (const [start, wh] of rows) {
    if (start > end) {
      xs.push(end);
      ys.push(0);
    }
    xs.push(start);
    ys.push((wh * 3_600) / step_ms);
    end = start + step_ms;
  }
  if (xs.length > 0) {
    xs.push(end);
    ys.push(null);
  }
  return [xs, ys];
}

/** @param {Loader<any>} energy */
function last(energy) {
  if (energy.value === null)
    return energy.now.state === "failed" ? empty("Not there while history is away.") : loading();
  let data = kept.get(energy.value);
  if (data === undefined) {
    const { rows, step_ms } = energy.value;
    data = means(rows, step_ms);
    kept.set(energy.value, data);
  }
  if (data[0].length === 0) return empty("Nothing was delivered.");
  const most = Math.max(...(data[1] ?? []).map(Number));
  /** @type {Spec} */
  const spec = {
    summary: `Mean power per quarter of an hour, at most ${kw(most * 1000)} kW`,
    unit: "kW",
    series: [{ label: "mean", token: "--supplying", kind: "step", fill: true }],
  };
  return html`<ev-chart class="roomy" .spec=${spec} .data=${data}></ev-chart>`;
}
