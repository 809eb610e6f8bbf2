/** The newest records of the log, and whether the log is what its signatures say. */

import { when, whole } from "../core/format.js";
import { html, nothing, repeat } from "../core/html.js";
import { href } from "../core/router.js";
import { tell, weight } from "../core/telling.js";
import { words } from "../core/words.js";
import { icon } from "../parts/icons.js";
import { empty } from "../parts/panel.js";
import { name, plain, said } from "../parts/text.js";

/** @import { Chain, LogRecord } from "../core/types.js" */
/** @import { Live } from "../core/live.js" */

/** Lines that are drawn; the page of the log has all. */
const LINES = 40;
/** Records that the log makes for itself: they count for the chain and tell a person nothing. */
const OWN = new Set(["mark", "state"]);

/**
 * @param {Chain | null} chain
 * @param {number | null} newest the newest record that is shown: the stream brings records before it says anew how far they are verified
 */
export function chainBadge(chain, newest) {
  if (chain === null || chain.ok === null) {
    return html`<span class="chain tone-stopped" data-testid="chain" title=${plain(chain?.sentence ?? "")}>${icon("clock")}${
      chain?.by === "central" && chain.seq > 0
        ? `not verified here; Central checked to #${whole(chain.seq)}`
        : "not verified yet"
    }</span>`;
  }
  const behind = Math.max(0, Math.max(chain.newest_seq ?? 0, newest ?? 0) - chain.seq);
  return chain.ok
    ? html`<span class="chain tone-supplying" data-testid="chain" title=${plain(chain.sentence ?? "")}>${icon("shield")}verified to #${whole(chain.seq)}${behind > 0 ? html`<small> · ${whole(behind)} newer</small>` : nothing}</span>`
    : html`<span class="chain tone-fault" role="alert" data-testid="chain" title=${plain(chain.sentence ?? "")}>${icon("cross")}NOT verified${chain.seq > 0 ? ` after #${whole(chain.seq)}` : nothing}</span>`;
}

/** @param {Live} live */
export function auditTail(live) {
  const now = live.clock.now();
  const rows = live.records.all.filter((row) => !OWN.has(row.kind)).slice(-LINES).reverse();
  return html`<section class="panel tail" aria-labelledby="tail-title">
    <header class="panel-head"><h2 id="tail-title">Audit log</h2>${chainBadge(live.chain, live.records.last)}
      <a class="aside" href=${href("audit")}>Search the log</a></header>
    <div class="panel-scroll" tabindex="0" role="group" aria-label="Newest records" data-testid="audit-tail">
      ${
        rows.length === 0
          ? empty("Nothing was recorded since this page was opened.")
          : html`<ol class="records">${repeat(
              rows,
              (row) => row.seq,
              (row) => line(row, now),
            )}</ol>`
      }
    </div></section>`;
}

/**
 * One record.
 * @param {LogRecord} row
 * @param {number} now
 */
export function line(row, now) {
  const subject = row.session_id
    ? html`<a href=${href("sessions", row.session_id)}>${name(row.session_id)}</a>`
    : row.cp_id
      ? html`<a href=${href("charge-points", row.cp_id)}>${name(row.cp_id)}</a>`
      : nothing;
  return html`<li class="record ${weight(row.kind)}" data-seq=${row.seq}>
    <span class="seq">#${row.seq}</span><time>${when(row.at_ms, now)}</time><span class="kind">${plain(words(row.kind))}</span>
    <span class="told">${said(tell(row))}</span><span class="subject">${subject}</span>
    <span class="actor muted">${row.by ? html`by ${name(row.by)}` : row.actor ? name(row.actor) : nothing}</span></li>`;
}
