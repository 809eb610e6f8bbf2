/** The log, searched: newest first, with each record's details and the proof that it is in the signed log. */

import { address } from "../core/api.js";
import { full, whole } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { href } from "../core/router.js";
import { tell, weight } from "../core/telling.js";
import { words } from "../core/words.js";
import { chainBadge } from "../overview/audit-tail.js";
import { fromAudit } from "../overview/overview.js";
import { pageHead } from "../parts/blocks.js";
import { icon } from "../parts/icons.js";
import { Loader } from "../parts/loader.js";
import { empty, loading, panel, trouble } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";

/** @import { App, Opener } from "../app.js" */
/** @import { LogRecord } from "../core/types.js" */

/** Records of a page. */
const ROWS = 50;
/** Offered in the field for kinds; any other may be typed. */
const KINDS = [
  "charge_authorized",
  "charge_refused",
  "charge_queued",
  "set_point_issued",
  "supply_started",
  "supply_ended",
  "ticket_issued",
  "stop_ordered",
  "hold_placed",
  "hold_lifted",
  "peer_connected",
  "peer_disconnected",
  "peer_refused",
  "incident_raised",
  "node_lost",
  "node_recovered",
  "plan_adopted",
  "central_started",
];

/** @typedef {{ kind: string, cp_id: string, session_id: string, seq: string, before: string }} Asked */

/** @type {Opener} */
export function auditPage(app, place) {
  const { api, live } = app;
  const allowed = api.may("audit:read");
  let asked = read();
  let list = load();
  /** @type {Set<number>} */
  const open = new Set();

  /** @returns {Asked} */
  function read() {
    const { query } = place();
    const get = (/** @type {string} */ key) => query.get(key) ?? "";
    return {
      kind: get("kind"),
      cp_id: get("cp_id"),
      session_id: get("session_id"),
      seq: get("seq"),
      before: get("before"),
    };
  }

  /** @returns {Loader<any> | null} */
  function load() {
    if (!allowed) return null;
    const seq = Number.parseInt(asked.seq, 10);
    // One record is the page that begins with it.
    const before_seq = Number.isFinite(seq) ? seq + 1 : asked.before;
    const { kind, cp_id, session_id } = asked;
    return new Loader(
      (signal) =>
        api.get(address("/api/audit", { tail: true, limit: ROWS, before_seq, kind, cp_id, session_id }), signal),
      app.update,
    );
  }

  /** @param {SubmitEvent} event */
  function search(event) {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const get = (/** @type {string} */ key) => String(form.get(key) ?? "").trim();
    app.go(
      address("/ui/audit", {
        kind: get("kind").replaceAll(" ", "_"),
        cp_id: get("cp_id"),
        session_id: get("session_id"),
        seq: get("seq").replace(/^#/, ""),
      }),
    );
  }

  return {
    title: "Audit log",
    filter: () => document.querySelector(".toolbar input"),
    view() {
      const next = read();
      if (JSON.stringify(next) !== JSON.stringify(asked)) {
        asked = next;
        list?.close();
        list = load();
      }
      return html`<div class="page">${pageHead("Audit log", chainBadge(live.chain, live.records.last))}
        ${live.chain?.sentence ? html`<p class="lead">${said(live.chain.sentence)}</p>` : nothing}
        ${
          list === null
            ? trouble(
                "You may not read the log: that needs the scope audit:read, which operators and admins have, because the log names every driver in full.",
              )
            : html`
          <form class="panel toolbar" @submit=${search} aria-label="Search the log">
            ${field("kind", "Kind", asked.kind, "any")}${field("cp_id", "Charge point", asked.cp_id, "any")}
            ${field("session_id", "Session", asked.session_id, "any")}${field("seq", "Up to number", asked.seq, "newest")}
            <datalist id="kinds">${KINDS.map((kind) => html`<option value=${kind}></option>`)}</datalist>
            <button class="main">Search</button><a class="button" href="/ui/audit">Newest</a></form>
          ${list.now.state === "failed" ? trouble(list.now.why) : nothing}
          ${panel("Records", records(list, app, open, toggle))}
          ${paging(list.value, asked)}`
        }</div>`;
    },
    close: () => list?.close(),
  };

  /** @param {number} seq */
  function toggle(seq) {
    if (!open.delete(seq)) open.add(seq);
    app.update();
  }
}

/** @param {string} id @param {string} label @param {string} value @param {string} hint */
const field = (
  id,
  label,
  value,
  hint,
) => html`<label class="field grow"><span>${label}</span><input name=${id} .value=${value} placeholder=${hint}
  list=${id === "kind" ? "kinds" : nothing} autocomplete="off" autocapitalize="none" spellcheck="false" maxlength="64"></label>`;

/**
 * @param {Loader<any>} list
 * @param {App} app
 * @param {Set<number>} open
 * @param {(seq: number) => void} toggle
 */
function records(list, app, open, toggle) {
  if (list.value === null) return list.now.state === "failed" ? nothing : loading();
  const rows = list.value.records;
  if (rows.length === 0)
    return empty(
      list.value.next_seq === null ? "No record fits." : "None in this part of the log; look at older ones.",
    );
  return html`<ol class="records audit-records" data-testid="audit-records">${rows.map((/** @type {any} */ row) => one(row, fromAudit(row), app, open.has(row.seq), () => toggle(row.seq)))}</ol>`;
}

/**
 * @param {any} row
 * @param {LogRecord} record
 * @param {App} _app
 * @param {boolean} open
 * @param {() => void} toggle
 */
function one(row, record, _app, open, toggle) {
  const { cp_id, session_id } = record;
  return html`<li class="audit-record ${weight(record.kind)}" data-seq=${row.seq}>
    <button type="button" class="record plain" aria-expanded=${open ? "true" : "false"} @click=${toggle}>
      <span class="seq">#${row.seq}</span><time>${full(row.at_ms)}</time><span class="kind">${plain(words(row.kind))}</span>
      <span class="told">${said(tell(record))}</span><span class="actor muted">${row.by ? html`by ${name(row.by)}` : name(row.actor)}</span></button>
    ${
      open
        ? html`<div class="audit-open"><p class="audit-links">
        ${cp_id ? html`<a href=${href("charge-points", cp_id)}>${name(cp_id)}</a>` : nothing}
        ${session_id ? html`<a href=${href("sessions", session_id)}>${name(session_id)}</a>` : nothing}
        <span class="muted">actor ${name(row.actor)} ${row.source ? html`from ${name(row.source)}` : nothing} ${row.trace ? html`· request ${name(row.trace)}` : nothing}</span>
        <a href="/api/audit/${row.seq}/proof" download="record-${row.seq}.proof.json">${icon("shield")} Proof</a></p>
      <pre class="details" tabindex="0">${row.details === null ? "Too long for a page; its proof has it." : plain(JSON.stringify(row.details, null, 2), 8_000).replaceAll("\u240a", "\n")}</pre>
      <p class="hint">leaf <code>${plain(row.leaf_hash, 80)}</code>; check the proof with <code>evcharge-audit check-proof</code>.</p></div>`
        : nothing
    }</li>`;
}

/** @param {any} value @param {Asked} asked */
function paging(value, asked) {
  if (value === null) return nothing;
  const { kind, cp_id, session_id } = asked;
  return html`<div class="buttons"><span class="muted">The log has records ${whole(value.first_seq)} to ${whole(value.newest_seq)}.</span>
    ${value.next_seq === null ? nothing : html`<a class="button" href=${address("/ui/audit", { kind, cp_id, session_id, before: value.next_seq })}>Older</a>`}</div>`;
}
