/**
 * The table of charge points. Only the rows that can be seen exist, so two thousand cost as little as twenty; each is a
 * link, reached with Tab, and the arrow keys go from one to the next.
 */

import { age, clockSeconds, kw, kwh, NOTHING } from "../core/format.js";
import { html, nothing, ref, repeat } from "../core/html.js";
import { href } from "../core/router.js";
import { look, reasonText } from "../core/words.js";
import { cause } from "../core/faults.js";
import { badge, verdicts } from "../parts/badges.js";
import { icon } from "../parts/icons.js";
import { empty } from "../parts/panel.js";
import { name, plain } from "../parts/text.js";
import { doing, Rows } from "./rows.js";

/** @import { App } from "../app.js" */
/** @import { ChargePoint } from "../core/types.js" */
/** @import { Filter, Sort, SortKey } from "./rows.js" */

/** Heights of a row in a wide and in a narrow window, pixels; points.css has the same. */
const ROW = 38;
const CARD = 92;
/** Rows drawn beyond both edges, so that a quick hand sees no gap. */
const BEYOND = 6;

const NARROW = matchMedia("(max-width: 760px)");

/** @type {[SortKey | null, string, string][]} */
const COLUMNS = [
  ["state", "State", ""],
  ["cp", "Charge point", ""],
  [null, "Links", ""],
  ["seen", "Last seen", "number"],
  ["driver", "Driver", ""],
  ["power", "kW", "number"],
  ["energy", "kWh", "number"],
  [null, "Why", ""],
];

/** Of these the first click shows the largest on top; of the others the smallest. @type {Set<SortKey>} */
const LARGEST_FIRST = new Set(["power", "energy"]);

export class PointsTable {
  #app;
  #rows = new Rows();
  /** @type {Sort} */
  #sort = { key: "cp", down: false };
  /** @type {HTMLElement | null} */
  #scroller = null;
  /** @type {HTMLInputElement | null} */
  #input = null;
  #top = 0;
  #height = 600;
  /** @type {string | null} */
  #focus = null;
  #sizes = new ResizeObserver(() => this.#measure());
  #narrowed = () => this.#app.update();
  #scrollRef = (/** @type {Element | undefined} */ element) => this.#scrolls(element);
  #inputRef = (/** @type {Element | undefined} */ element) => {
    this.#input = /** @type {HTMLInputElement | null} */ (element ?? null);
  };

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
    NARROW.addEventListener("change", this.#narrowed);
  }

  close() {
    this.#sizes.disconnect();
    NARROW.removeEventListener("change", this.#narrowed);
  }

  get input() {
    return this.#input;
  }

  /** @param {Filter} filter @param {(filter: Filter) => void} change */
  view(filter, change) {
    const { live } = this.#app;
    const rows = this.#rows.view(live.points, live, filter, this.#sort);
    return html`<section class="panel points" aria-labelledby="points-title">
      <header class="panel-head">
        <h2 id="points-title">Charge points</h2>
        <span class="count" role="status" data-testid="row-count">${
          rows.length === live.points.size ? `${rows.length}` : `${rows.length} of ${live.points.size}`
        }</span>
        ${
          filter.state === ""
            ? nothing
            : html`<button type="button" class="chip removable" @click=${() => change({ ...filter, state: "" })}
          >${look(filter.state).label}${icon("cross")}<span class="unseen">: remove this filter</span></button>`
        }
        <label class="filter">${icon("search")}<span class="unseen">Filter charge points</span>
          <input type="search" placeholder="Filter: id, driver, substation, state …   /" .value=${filter.text} ${ref(this.#inputRef)}
            @input=${(/** @type {InputEvent} */ event) => change({ ...filter, text: /** @type {HTMLInputElement} */ (event.target).value })}
            @keydown=${(/** @type {KeyboardEvent} */ event) => this.#inFilter(event, filter, change)}></label>
        <label class="sorter"><span class="unseen">Sort by</span><select @change=${(/** @type {Event} */ event) => this.#select(event)}>
          ${COLUMNS.map(([key, label]) => (key === null ? nothing : html`<option value=${key} ?selected=${key === this.#sort.key}>${label}</option>`))}
        </select></label>
      </header>
      ${this.#table(rows)}
    </section>`;
  }

  /** @param {ChargePoint[]} rows */
  #table(rows) {
    const height = NARROW.matches ? CARD : ROW;
    const first = Math.max(0, Math.floor(this.#top / height) - BEYOND);
    const end = Math.min(rows.length, Math.ceil((this.#top + this.#height) / height) + BEYOND);
    const now = this.#app.live.clock.now();
    return html`<div class="points-scroller" ${ref(this.#scrollRef)} @scroll=${() => this.#measure()} @keydown=${(/** @type {KeyboardEvent} */ event) => this.#arrows(event, rows)}>
      <div role="table" aria-label="Charge points" aria-rowcount=${rows.length + 1}>
        <div role="rowgroup" class="points-head"><div role="row" class="points-row" aria-rowindex="1">${COLUMNS.map((each) => this.#column(...each))}</div></div>
        <div role="rowgroup" class="points-body" .style=${`height:${rows.length * height}px`}>
          ${repeat(
            rows.slice(first, end),
            (point) => point.cp_id,
            (point, n) => this.#row(point, first + n, height, now),
          )}
        </div>
      </div>
      ${rows.length === 0 ? empty(this.#app.live.points.size === 0 ? "No charge point is known yet." : "No charge point fits this filter.") : nothing}
    </div>`;
  }

  /** @param {SortKey | null} key @param {string} label @param {string} kind */
  #column(key, label, kind) {
    if (key === null) return html`<span role="columnheader" class=${kind}>${label}</span>`;
    const on = this.#sort.key === key;
    const falling = this.#sort.down !== LARGEST_FIRST.has(key);
    return html`<span role="columnheader" class=${kind} aria-sort=${on ? (falling ? "descending" : "ascending") : "none"}>
      <button type="button" class="sort ${on ? "on" : ""} ${falling ? "downwards" : ""}" @click=${() => this.#sortBy(key)}>${label}</button></span>`;
  }

  /** @param {ChargePoint} point @param {number} n @param {number} height @param {number} now */
  #row(point, n, height, now) {
    const { power_w, energy_wh, drivers } = doing(point);
    return html`<div role="row" class="points-row" aria-rowindex=${n + 2} data-cp=${plain(point.cp_id)} data-row=${n} .style=${`transform:translateY(${n * height}px)`}>
      <span role="cell" class="c-state">${badge(point.state)}</span>
      <span role="cell" class="c-id"><a href=${href("charge-points", point.cp_id)}>${name(point.cp_id)}</a><small>${name(point.substation_id)}</small></span>
      <span role="cell" class="c-links">${verdicts(point.engine, point.monitor)}</span>
      <span role="cell" class="c-seen number" title=${clockSeconds(point.last_seen_ms)}>${seen(point, now)}</span>
      <span role="cell" class="c-driver">${drivers.length === 0 ? html`<span class="muted">${NOTHING}</span>` : name(drivers[0])}${drivers.length > 1 ? html`<small>+${drivers.length - 1}</small>` : nothing}</span>
      <span role="cell" class="c-kw number">${power_w > 0 || energy_wh !== null ? html`<strong>${kw(power_w)}</strong><span class="unit"> kW</span>` : html`<span class="muted">${NOTHING}</span>`}</span>
      <span role="cell" class="c-kwh number">${energy_wh === null ? html`<span class="muted">${NOTHING}</span>` : html`${kwh(energy_wh)}<span class="unit"> kWh</span>`}</span>
      <span role="cell" class="c-why">${why(point, now)}</span>
    </div>`;
  }

  // --- what hands do --------------------------------------------------------------------------------------------------

  /** @param {SortKey} key */
  #sortBy(key) {
    this.#sort = { key, down: this.#sort.key === key && !this.#sort.down };
    this.#scroller?.scrollTo({ top: 0 });
    this.#app.update();
  }

  /** @param {Event} event */
  #select(event) {
    this.#sort = { key: /** @type {SortKey} */ (/** @type {HTMLSelectElement} */ (event.target).value), down: false };
    this.#app.update();
  }

  /** @param {KeyboardEvent} event @param {Filter} filter @param {(filter: Filter) => void} change */
  #inFilter(event, filter, change) {
    if (event.key === "Escape") {
      event.preventDefault();
      if (filter.text === "") this.#input?.blur();
      else change({ ...filter, text: "" });
    } else if (event.key === "ArrowDown" || event.key === "Enter") {
      event.preventDefault();
      /** @type {HTMLElement | null} */ (this.#scroller?.querySelector("[data-row] a") ?? null)?.focus();
    }
  }

  /** @param {KeyboardEvent} event @param {ChargePoint[]} rows */
  #arrows(event, rows) {
    const row = event.target instanceof Element ? event.target.closest("[data-row]") : null;
    if (!(row instanceof HTMLElement)) return;
    const page = Math.max(1, Math.floor(this.#height / ROW) - 1);
    const steps = /** @type {Record<string, number>} */ ({
      ArrowDown: 1,
      ArrowUp: -1,
      PageDown: page,
      PageUp: -page,
      Home: -rows.length,
      End: rows.length,
    });
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const from = Number(row.dataset["row"]);
    const to = Math.min(rows.length - 1, Math.max(0, from + step));
    const point = rows[to];
    if (point === undefined || to === from) return;
    this.#reveal(to);
    this.#focus = point.cp_id;
    this.#app.update();
    requestAnimationFrame(() => requestAnimationFrame(() => this.#focusRow()));
  }

  #focusRow() {
    const row = this.#focus === null ? null : this.#scroller?.querySelector(`[data-cp="${CSS.escape(this.#focus)}"] a`);
    this.#focus = null;
    if (row instanceof HTMLElement) row.focus({ preventScroll: true });
  }

  /** @param {number} n */
  #reveal(n) {
    const scroller = this.#scroller;
    if (scroller === null) return;
    const height = NARROW.matches ? CARD : ROW;
    const head = scroller.querySelector(".points-head")?.clientHeight ?? 0;
    const top = n * height;
    const room = scroller.clientHeight - head;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + height > scroller.scrollTop + room) scroller.scrollTop = top + height - room;
    this.#measure();
  }

  /** @param {Element | undefined} element */
  #scrolls(element) {
    if (this.#scroller !== null) this.#sizes.unobserve(this.#scroller);
    this.#scroller = element instanceof HTMLElement ? element : null;
    if (this.#scroller !== null) this.#sizes.observe(this.#scroller);
  }

  #measure() {
    const scroller = this.#scroller;
    if (scroller === null || (scroller.scrollTop === this.#top && scroller.clientHeight === this.#height)) return;
    this.#top = scroller.scrollTop;
    this.#height = scroller.clientHeight;
    this.#app.update();
  }
}

/**
 * While its engine is connected it is heard all the time, and nothing is told of that; its silence is.
 * @param {ChargePoint} point
 * @param {number} now
 */
export function seen(point, now) {
  return point.engine === "up" ? "now" : age(point.last_seen_ms, now);
}

/**
 * Why it gets what it gets, with the age of what that rests on; or why it does nothing.
 * @param {ChargePoint} point
 * @param {number} now
 */
function why(point, now) {
  const { main } = doing(point);
  if (point.state === "OUT_OF_ORDER" || point.state === "DISCONNECTED" || point.state === "STOPPED") {
    const said = plain(cause(point));
    return html`<bdi class="why bad" title=${said}>${said}</bdi>`;
  }
  if (main === null) {
    const waiting = point.waiting ? `${point.waiting} waiting` : "";
    const limited = point.limit_w == null ? "" : `limited to ${kw(point.limit_w)} kW by an operator`;
    return html`<span class="why muted">${[waiting, limited].filter(Boolean).join(" · ")}</span>`;
  }
  const text = plain(main.why ?? reasonText(main.reason), 600);
  const old = main.inputs_ms == null ? "" : `inputs ${age(main.inputs_ms, now)} old`;
  return html`<bdi class="why" title=${[text, old].filter(Boolean).join(" — ")}>${text}</bdi>${old === "" ? nothing : html`<span class="age">${old}</span>`}`;
}
