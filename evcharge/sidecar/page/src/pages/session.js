/** One session: its bill or how it goes, and everything that happened to it with the reasons, while it happens. */

import { address } from "../core/api.js";
import { duration, full, kg, kw, kwh, money, NOTHING, when } from "../core/format.js";
import { html, nothing, repeat } from "../core/html.js";
import { href } from "../core/router.js";
import { tell } from "../core/telling.js";
import { reasonText, words } from "../core/words.js";
import { badge } from "../parts/badges.js";
import { pageHead } from "../parts/blocks.js";
import { Loader, throttled } from "../parts/loader.js";
import { empty, fact, loading, panel, trouble } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";

/** @import { App, Opener } from "../app.js" */
/** @import { Api } from "../core/api.js" */
/** @import { Connector, LogRecord, Ticket, TimelineRow } from "../core/types.js" */

/** History is asked again for what it says in better words than the stream, and of the charge point beside it. */
const AGAIN_MS = 3_000;
/** Pages of a timeline that are asked for at most: days of set-points. */
const PAGES = 20;
/** Readings of the meter are no news here: their sum stands above. */
const QUIET = new Set(["meter_sampled"]);

/** @type {Opener} */
export function sessionPage(app, place) {
  const { live, api } = app;
  const id = place().params["id"] ?? "";
  /** @type {Loader<any>} */
  const past = new Loader((signal, known) => whole(api, id, known, signal), app.update);
  /** What Central itself says of it: of one that runs, and where history is away. @type {Loader<any> | null} */
  let known = null;
  let generation = live.generation;
  const again = throttled(() => {
    void past.load();
    void known?.load();
  }, AGAIN_MS);

  function askCentral() {
    known ??= new Loader((signal) => api.get(`/api/sessions/${encodeURIComponent(id)}`, signal), app.update);
    return known;
  }

  const deaf = live.listen((record) => {
    const beside = record.cp_id !== null && record.cp_id === past.value?.session?.cp_id;
    if ((record.session_id !== id && !beside) || QUIET.has(record.kind)) return;
    again.poke();
    app.update();
  });

  return {
    title: plain(id),
    view() {
      if (generation !== live.generation) {
        generation = live.generation;
        again.poke();
      }
      const connector = charging(app, id);
      const central = connector !== null || past.now.state === "failed" ? askCentral() : known;
      const session = past.value?.session ?? central?.value?.session ?? null;
      const ticket = /** @type {Ticket | null} */ (past.value?.ticket ?? central?.value?.ticket ?? ticketOf(app, id));
      const cp_id = session?.cp_id ?? ticket?.cp_id ?? connector?.cp_id;
      const rows = timeline(past.value, live.records.all, id);
      const absent =
        past.now.state === "failed" &&
        past.now.status === 404 &&
        central?.now.state === "failed" &&
        rows.length === 0 &&
        connector === null;
      const state = ticket?.status ?? connector?.each.state ?? session?.status ?? session?.state ?? "";
      return html`<div class="page">
        ${pageHead(
          html`Session ${name(id)}`,
          html`${state === "" ? nothing : badge(state)}
          ${cp_id ? html`<a href=${href("charge-points", cp_id)}>${name(cp_id)}</a>` : nothing}`,
          ["/ui/", "Overview"],
        )}
        ${
          absent
            ? empty("There is no such session.")
            : html`<div class="columns">
          <div class="column">${panel("Timeline", lines(rows, past, app), { kind: "timeline-panel" })}</div>
          <div class="column aside-column">
            ${ticket === null ? panel("Now", now(central?.value?.session ?? session, connector?.each ?? null, app)) : panel("Ticket", bill(ticket, app))}
            ${panel("About it", about(session, ticket, cp_id))}
          </div></div>`
        }</div>`;
    },
    close() {
      past.close();
      known?.close();
      again.stop();
      deaf();
    },
  };
}

/**
 * A session with all of its timeline, page by page, behind what is known already.
 * @param {Api} api
 * @param {string} id
 * @param {any} known
 * @param {AbortSignal} signal
 */
async function whole(api, id, known, signal) {
  const path = `/api/history/sessions/${encodeURIComponent(id)}`;
  const found = await api.get(address(path, { after_seq: known?.timeline.at(-1)?.seq }), signal);
  found.timeline.unshift(...(known?.timeline ?? []));
  for (let page = 1, more = found.more; more && page < PAGES; page += 1) {
    const next = await api.get(address(path, { after_seq: found.timeline.at(-1)?.seq }), signal);
    found.timeline.push(...next.timeline);
    Object.assign(found, { session: next.session, ticket: next.ticket, upto_seq: next.upto_seq });
    more = next.more;
  }
  return found;
}

/** @param {App} app @param {string} id */
function charging(app, id) {
  for (const point of app.live.points.values()) {
    for (const each of point.connectors) if (each.session_id === id) return { cp_id: point.cp_id, each };
  }
  return null;
}

/** The ticket as the stream told it. @param {App} app @param {string} id @returns {Ticket | null} */
function ticketOf(app, id) {
  const record = app.live.records.all.findLast((each) => each.kind === "ticket_issued" && each.session_id === id);
  return record?.data?.["ticket"] ?? null;
}

/**
 * History's rows and behind them what the stream brought since, each record once.
 * @param {{ timeline: TimelineRow[], upto_seq: number } | null} past
 * @param {LogRecord[]} records
 * @param {string} id
 * @returns {TimelineRow[]}
 */
export function timeline(past, records, id) {
  const upto = past?.upto_seq ?? -1;
  const rows = [...(past?.timeline ?? [])];
  const seen = new Set(rows.map((row) => row.seq));
  for (const record of records) {
    if (record.session_id !== id || seen.has(record.seq) || record.seq <= upto || QUIET.has(record.kind)) continue;
    seen.add(record.seq);
    rows.push({
      seq: record.seq,
      kind: record.kind,
      at_ms: record.at_ms ?? null,
      text: tell(record),
      limit_w: record.data?.["grant"]?.limit_w ?? null,
      reason: record.data?.["reason"] ?? null,
      why: null,
    });
  }
  return rows.filter((row) => !QUIET.has(row.kind)).sort((a, b) => a.seq - b.seq);
}

/** @param {TimelineRow[]} rows @param {Loader<any>} past @param {App} app */
function lines(rows, past, app) {
  const at = app.live.clock.now();
  const failed =
    past.now.state === "failed" && past.now.status !== 404
      ? trouble(`History: ${past.now.why} What follows is what this page has seen itself.`)
      : nothing;
  if (rows.length === 0)
    return html`${failed}${past.now.state === "loading" ? loading() : empty("Nothing happened yet.")}`;
  return html`${failed}<ol class="timeline" data-testid="timeline">${repeat(
    rows,
    (row) => row.seq,
    (row) => html`
    <li class="event kind-${kindOf(row.kind)}" data-seq=${row.seq} data-kind=${plain(row.kind)}>
      <time title=${full(row.at_ms)}>${when(row.at_ms, at)}</time><span class="knob" aria-hidden="true"></span>
      <div class="event-body"><p><strong>${plain(words(row.kind))}</strong>
        ${row.limit_w == null || row.kind !== "set_point_issued" ? nothing : html`<span class="setpoint">${kw(row.limit_w)} kW</span>`}
        ${row.reason ? html`<span class="chip">${plain(reasonText(row.reason))}</span>` : nothing}
        <span class="seq muted">#${row.seq}</span></p>
        ${row.text && row.kind !== "set_point_issued" ? html`<p class="event-text">${said(row.text)}</p>` : nothing}
        ${row.why ? html`<p class="event-text">${said(row.why)}</p>` : nothing}</div></li>`,
  )}</ol>`;
}

/** @param {string} kind */
function kindOf(kind) {
  if (kind.startsWith("set_point")) return "set";
  if (kind.startsWith("ticket") || kind === "supply_ended") return "end";
  return kind === "supply_started" ? "start" : "plain";
}

/** @param {any} session @param {Connector | null} connector @param {App} app */
function now(session, connector, app) {
  if (session === null && connector === null) return empty("It is not running.");
  const at = app.live.clock.now();
  return html`<div class="big" data-testid="session-now"><strong>${kw(connector?.power_w ?? session?.power_w ?? 0)}</strong> kW
      <span class="muted">of ${kw(connector?.limit_w ?? session?.limit_w)} kW</span></div>
    <dl class="facts list">${fact("Energy", `${kwh(connector?.energy_wh ?? session?.energy_wh)} kWh`)}
      ${fact("Cost so far", money(session?.amount_minor, session?.currency ?? ""))}
      ${fact("Why", said(connector?.why ?? reasonText(connector?.reason ?? session?.reason)))}
      ${connector?.inputs_ms == null ? nothing : fact("Inputs", `${duration(at - connector.inputs_ms)} old`)}</dl>`;
}

/** @param {Ticket} ticket @param {App} app */
function bill(ticket, app) {
  const at = app.live.clock.now();
  return html`<div class="big" data-testid="ticket"><strong>${money(ticket.amount_minor, ticket.currency)}</strong></div>
    <dl class="facts list">${fact("Energy", html`<span data-testid="ticket-kwh">${kwh(ticket.energy_wh)} kWh</span>`)}
      ${fact("Price", `${(ticket.price_e4 / 10_000).toFixed(4)} ${plain(ticket.currency, 8)}/kWh`)}
      ${fact("From", when(ticket.start_ms, at))}${fact("Until", when(ticket.end_ms, at))}
      ${fact("Duration", duration(ticket.end_ms - ticket.start_ms))}
      ${fact("Mean power", `${kw(ticket.average_w)} kW`)}${fact("CO₂", `${kg(ticket.co2_g)} kg`)}
      ${fact("Ended", plain(reasonText(ticket.reason)))}${fact("Ticket", name(ticket.ticket_id))}
      ${ticket.adjustments?.length ? fact("Adjusted by", ticket.adjustments.map((each) => `${typeof each === "number" ? each : each.energy_wh} Wh`).join(", ")) : nothing}</dl>`;
}

/** @param {any} session @param {Ticket | null} ticket @param {string | undefined} cp_id */
function about(session, ticket, cp_id) {
  const driver = session?.driver_id ?? ticket?.driver_id;
  return html`<dl class="facts list">${fact("Driver", driver ? name(driver) : NOTHING)}
    ${fact("Charge point", cp_id ? html`<a href=${href("charge-points", cp_id)}>${name(cp_id)}</a>${session?.connector ? `/${session.connector}` : ""}` : NOTHING)}
    ${fact("Substation", (session?.substation_id ?? ticket?.substation_id) ? name(session?.substation_id ?? ticket?.substation_id) : NOTHING)}
    ${fact("Asked for", session?.requested_wh == null ? "as much as it takes" : `${kwh(session.requested_wh)} kWh`)}
    ${session?.depart_by_ms ? fact("Leaves at", full(session.depart_by_ms)) : nothing}</dl>`;
}
