/** One charge point: what it does, what it did, and what an operator can have it do. */

import { address } from "../core/api.js";
import { cause } from "../core/faults.js";
import { age, clockSeconds, kw, kwh, NOTHING, when } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { href } from "../core/router.js";
import { tell } from "../core/telling.js";
import { holdText, linkLook, reasonText, words } from "../core/words.js";
import { doing } from "../overview/rows.js";
import { badge } from "../parts/badges.js";
import { pageHead, sessionTable, table } from "../parts/blocks.js";
import { Loader, throttled } from "../parts/loader.js";
import { empty, fact, loading, panel, trouble } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";
import { Commands } from "./commands.js";
import { PowerChart } from "./power-chart.js";

/** @import { App, Opener } from "../app.js" */
/** @import { ChargePoint, Connector } from "../core/types.js" */

/** How far back the charts and lists go. */
const BACK_MS = 24 * 3_600_000;
/** After a ticket or a change history is asked again, once it had time to store it. */
const AGAIN_MS = 2_500;
const AGAIN_KINDS = new Set(["ticket_issued", "hold_placed", "hold_lifted", "supply_started", "charge_authorized"]);

/** @type {Opener} */
export function chargePointPage(app, place) {
  const { live, api } = app;
  const id = place().params["id"] ?? "";
  const samples = live.watch(id);
  const commands = new Commands(app, id);
  const chart = new PowerChart(samples);
  /** @type {Loader<any>} */
  const past = new Loader((signal) => {
    const until_ms = Math.round(live.clock.now());
    return api.get(
      address(`/api/history/charge-points/${encodeURIComponent(id)}`, { from_ms: until_ms - BACK_MS, until_ms }),
      signal,
    );
  }, app.update);
  const again = throttled(() => void past.load(), AGAIN_MS);
  let generation = live.generation;
  const deaf = live.listen((record) => {
    if (record.cp_id === id && AGAIN_KINDS.has(record.kind)) again.poke();
  });

  return {
    title: plain(id),
    view() {
      if (generation !== live.generation) {
        generation = live.generation;
        again.poke();
      }
      const point = live.points.get(id);
      if (point === undefined) {
        return html`<div class="page">${pageHead(name(id), nothing, ["/ui/", "Overview"])}
          ${live.drawn ? empty("Central knows no charge point of this name (yet): it is known once it was registered and has connected.") : loading()}</div>`;
      }
      return html`<div class="page">
        ${pageHead(name(id), html`${badge(point.state)}<span class="muted">${name(point.substation_id)}</span>`, ["/ui/", "Overview"])}
        ${commands.view(point)}
        <div class="columns">
          <div class="column">
            ${panel("Now", now(point, app))}
            ${panel("Power and energy, last 24 hours", charts(chart, past, app), { kind: "chart-panel" })}
            ${panel("Sessions", sessions(past, app))}
          </div>
          <div class="column aside-column">
            ${panel("Links and holds", links(point, app))}
            ${panel("What happened", changes(past, app, id), { kind: "tall" })}
          </div>
        </div></div>`;
    },
    close() {
      live.unwatch(id);
      past.close();
      again.stop();
      deaf();
    },
  };
}

/** @param {ChargePoint} point @param {App} app */
function now(point, app) {
  const { power_w } = doing(point);
  const at = app.live.clock.now();
  return html`<div class="connectors">${point.connectors.map((each) => connector(each, at))}
    ${point.connectors.length === 0 ? empty("It has not said yet which connectors it has.") : nothing}</div>
    <p class="panel-foot" data-testid="cp-power">${kw(power_w)} kW in all${point.limit_w == null ? nothing : html`, limited to <strong>${kw(point.limit_w)} kW</strong> each by an operator`}${point.waiting ? `, ${point.waiting} waiting` : nothing}</p>`;
}

/** @param {Connector} each @param {number} at */
function connector(each, at) {
  return html`<article class="connector" aria-label="Connector ${each.connector}">
    <header><h3>Connector ${each.connector}</h3>${badge(each.state)}<span class="muted">${each.occupied ? "plugged in" : "no vehicle"}</span></header>
    ${
      each.session_id
        ? html`<dl class="facts">
      ${fact("Power", html`<strong>${kw(each.power_w)}</strong> of ${kw(each.limit_w ?? each.max_w)} kW`)}
      ${fact("Energy", html`<strong>${kwh(each.energy_wh)}</strong> kWh`)}
      ${fact("Driver", each.driver ? name(each.driver) : NOTHING)}
      ${fact("Session", html`<a href=${href("sessions", each.session_id)}>${name(each.session_id)}</a>`)}</dl>
      <p class="reason">${said(each.why ?? reasonText(each.reason))} <small class="muted">${each.decided_ms == null ? nothing : `decided at ${clockSeconds(each.decided_ms)}`}${each.inputs_ms == null ? nothing : `, inputs ${age(each.inputs_ms, at)} old`}</small></p>`
        : html`<p class="muted">${kw(each.min_w)} to ${kw(each.max_w)} kW</p>`
    }
  </article>`;
}

/** @param {PowerChart} chart @param {Loader<any>} past @param {App} app */
function charts(chart, past, app) {
  return html`${past.now.state === "failed" ? trouble(`History: ${past.now.why}`) : nothing}${chart.view(past.value, app.live.clock.now())}`;
}

/** @param {Loader<any>} past @param {App} app */
function sessions(past, app) {
  if (past.value === null)
    return past.now.state === "failed" ? empty("Earlier sessions are not there while history is away.") : loading();
  return sessionTable(past.value.sessions ?? [], app.live.clock.now());
}

/** @param {ChargePoint} point @param {App} app */
function links(point, app) {
  const bad = point.state !== "ACTIVATED" && point.state !== "SUPPLYING";
  return html`<dl class="facts list">
    ${fact("Engine", linkLook(point.engine).label)}${fact("Monitor", linkLook(point.monitor).label)}
    ${fact("Last seen", point.engine === "up" ? "now" : html`${age(point.last_seen_ms, app.live.clock.now())} ago <small class="muted">${clockSeconds(point.last_seen_ms)}</small>`)}
    ${fact("Holds", point.holds.length === 0 ? "none" : html`<ul>${point.holds.map((hold) => html`<li>${plain(words(hold))}: ${holdText(hold)}</li>`)}</ul>`)}
    ${bad ? fact("Why it does not charge", said(cause(point))) : nothing}</dl>`;
}

/** @param {Loader<any>} past @param {App} app @param {string} id */
function changes(past, app, id) {
  const at = app.live.clock.now();
  const fresh = app.live.records.all
    .filter((record) => record.cp_id === id && record.kind !== "meter_sampled")
    .slice(-60);
  const first = fresh[0]?.seq ?? Infinity;
  const old = (past.value?.changes ?? [])
    .filter((/** @type {any} */ each) => !(each.seq >= first))
    .map((/** @type {any} */ each) => ({
      seq: each.seq,
      at_ms: each.at_ms,
      text: each.text ?? each.detail ?? "",
      state: each.state,
    }));
  const rows = [
    ...old,
    ...fresh.map((record) => ({ seq: record.seq, at_ms: record.at_ms, text: tell(record), state: undefined })),
  ].reverse();
  return html`<div class="panel-scroll" tabindex="0" role="group" aria-label="What happened">${table(
    "What happened",
    [["When"], ["What"]],
    rows.map((row) => [when(row.at_ms, at), html`${row.state ? badge(row.state) : nothing} ${said(row.text)}`]),
    "Nothing yet.",
  )}</div>`;
}
