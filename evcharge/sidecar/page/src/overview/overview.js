/** The first screen: what the site does, what is wrong, and why; without scrolling on a usual screen. */

import { address } from "../core/api.js";
import { faultsOf } from "../core/faults.js";
import { html } from "../core/html.js";
import { Loader, throttled } from "../parts/loader.js";
import { auditTail } from "./audit-tail.js";
import { flow } from "./flow.js";
import { PlanChart } from "./plan-chart.js";
import { PointsTable } from "./points-table.js";
import { counts } from "./rows.js";
import { faultList, waitingList } from "./side.js";
import { tiles } from "./tiles.js";

/** @import { Opener } from "../app.js" */
/** @import { LogRecord, Today } from "../core/types.js" */
/** @import { Filter } from "./rows.js" */

/** Today's sums are asked for again so often, and sooner after a ticket. */
const TODAY_MS = 30_000;
const AFTER_TICKET_MS = 2_000;
/** Records that fill the tail when the page is opened. */
const TAIL = 40;

/** @type {Opener} */
export function overview(app, place) {
  const { api, live } = app;
  const table = new PointsTable(app);
  const plan = new PlanChart(app);
  const faults = faultsOf(live);
  /** @type {Loader<Today>} */
  const today = new Loader((signal) => api.get("/api/history/today", signal), app.update);
  const again = throttled(() => void today.load(), AFTER_TICKET_MS);
  const timer = setInterval(() => void today.load(), TODAY_MS);
  const deaf = live.listen((record) => {
    if (record.kind === "ticket_issued") again.poke();
  });
  let shape = -1;
  /** @type {Record<string, number>} */
  let states = {};

  if (live.records.all.length === 0 && api.may("audit:read")) void fill();

  async function fill() {
    // Not worth a word when it fails: the stream brings what is new.
    const said = await api.get(address("/api/audit", { tail: true, limit: TAIL })).catch(() => null);
    if (said === null) return;
    live.records.prepend(said.records.map(fromAudit));
    app.update();
  }

  /** @returns {Filter} */
  function filter() {
    const { query } = place();
    return { text: query.get("q") ?? "", state: query.get("state") ?? "", substation: query.get("substation") ?? "" };
  }

  /** @param {Filter} next */
  function narrow(next) {
    app.replace(address("/ui/", { q: next.text, state: next.state, substation: next.substation }));
  }

  return {
    title: "Overview",
    filter: () => table.input,
    view() {
      if (shape !== live.shape) {
        shape = live.shape;
        states = counts(live.points.values());
      }
      const chosen = filter();
      const why = today.now.state === "failed" ? today.now.why : null;
      return html`<h1 class="unseen">Overview</h1><div class="overview">
        ${tiles(states, chosen.state, today.value, why)}
        ${flow(live)}
        ${table.view(chosen, narrow)}
        <div class="side">${faultList(faults(), live.clock.now())}${waitingList(live)}${plan.view()}</div>
        ${auditTail(live)}
      </div>`;
    },
    close() {
      table.close();
      today.close();
      again.stop();
      clearInterval(timer);
      deaf();
    },
  };
}

/**
 * A row of `/api/audit` as the stream would have told it.
 * @param {any} row
 * @returns {LogRecord}
 */
export function fromAudit(row) {
  const data = row.details ?? {};
  return {
    seq: row.seq,
    kind: row.kind,
    at_ms: row.at_ms,
    actor: row.actor,
    source: row.source,
    by: row.by,
    trace: row.trace,
    data,
    cp_id: data.cp_id ?? data.ticket?.cp_id ?? null,
    session_id: data.session_id ?? data.ticket?.session_id ?? null,
    driver_id: data.driver_id ?? data.ticket?.driver_id ?? null,
  };
}
