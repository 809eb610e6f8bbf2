/**
 * Where power comes from and where it goes: grid, solar and battery, the tree of limits, and what charges. Each node is
 * a bar as long as its limit, with three marks: used, offered, and what would flow if Central vanished now.
 */

import { duration, kw, whole } from "../core/format.js";
import { html, nothing, svg } from "../core/html.js";
import { href } from "../core/router.js";
import { badge } from "../parts/badges.js";
import { icon } from "../parts/icons.js";
import { name, plain } from "../parts/text.js";

/** @import { Optimization, Substation } from "../core/types.js" */
/** @import { Live } from "../core/live.js" */

/** Bars that have room; the fullest come first, and all of them stand on their own page. */
const BARS = 4;
/**
 * Shares of a limit. To use all of it is what power is shared for; more than that is a fault, of a base load that rose or
 * a limit that fell, until the set-points have followed.
 */
const FULL = 0.98;
const OVER = 1.005;

/** @param {Live} live */
export function flow(live) {
  const roots = live.substations.filter((node) => !node.parent);
  const total = sums(roots);
  const below = live.substations.filter((node) => node.parent).sort((a, b) => fullness(b) - fullness(a));
  const shown = [...roots.slice(0, BARS), ...below].slice(0, BARS);
  const left = live.substations.length - shown.length;
  const heights = middles(Math.max(1, shown.length));
  const moving = total.load_w > 0;
  // What comes in goes to the top of the tree; what charges hangs at its ends.
  const tops = heights.filter((_, n) => !shown[n]?.parent);
  const ends = tops.length < heights.length ? heights.filter((_, n) => shown[n]?.parent) : heights;
  return html`<section class="panel flow" aria-labelledby="flow-title">
    <header class="panel-head"><h2 id="flow-title">Energy flow</h2>
      <ul class="legend"><li><i class="mark used"></i>used</li><li><i class="mark offered"></i>offered</li>
        <li><i class="mark safe"></i>fallback-safe</li><li><i class="mark base"></i>other load</li></ul></header>
    <div class="flow-body">
      ${sources(live.optimization, roots)}
      ${wires(middles(3), tops, moving)}
      <div class="bars">${shown.map((node) => bar(node, node.parent ? 1 : 0))}
        ${live.substations.length === 0 ? html`<p class="empty">No substation is known yet.</p>` : nothing}
        ${left > 0 ? html`<a class="more" href=${href("substations")}>and ${left} more</a>` : nothing}</div>
      ${wires(ends, [33], moving)}
      ${sink(total)}
    </div></section>`;
}

/** @param {Substation[]} roots */
function sums(roots) {
  const sum = (/** @type {(node: Substation) => number} */ of) => roots.reduce((all, node) => all + of(node), 0);
  return {
    load_w: sum((node) => node.load_w),
    offered_w: sum((node) => node.offered_w ?? 0),
    fallback_w: sum((node) => node.fallback_w ?? 0),
    sessions: sum((node) => node.sessions),
    limit_w: sum(limit),
    base_w: sum((node) => node.base_w ?? 0),
  };
}

/** @param {Substation} node */
const limit = (node) => node.limit_w ?? node.capacity_w;

/** @param {Substation} node */
const fullness = (node) => (limit(node) > 0 ? (node.load_w + (node.base_w ?? 0)) / limit(node) : 1);

/**
 * @param {Optimization | null} told
 * @param {Substation[]} roots
 */
function sources(told, roots) {
  const measured = roots.every((node) => node.measured_w != null) && roots.length > 0;
  const grid_w = roots.reduce((sum, node) => sum + (node.measured_w ?? node.load_w + (node.base_w ?? 0)), 0);
  const of = (/** @type {string} */ what) => ({ fault: told?.fault?.[what], age: told?.age_ms?.[what] });
  return html`<div class="sources">
    ${source(
      "grid",
      "Grid",
      roots.length === 0 ? null : `${kw(grid_w)} kW`,
      measured ? "measured" : "by readings",
      { fault: undefined, age: undefined },
      told?.grid_percent == null ? "" : `${whole(told.grid_percent)} % load`,
    )}
    ${source("sun", "Solar", told?.solar_w == null ? null : `${kw(told.solar_w)} kW`, "", of("solar"), "")}
    ${source("battery", "Battery", told?.battery_percent == null ? null : `${whole(told.battery_percent)} %`, "", of("battery"), "")}
  </div>`;
}

/**
 * @param {string} sign
 * @param {string} label
 * @param {string | null} value
 * @param {string} how
 * @param {{ fault: string | undefined, age: number | null | undefined }} state
 * @param {string} more
 */
function source(sign, label, value, how, { fault, age }, more) {
  const said = [more, how, age == null ? "" : `${duration(age)} old`].filter(Boolean).join(" · ");
  const missing = fault === undefined || fault === "missing" ? "no reading" : fault;
  return html`<div class="source source-${sign} ${value === null ? "none" : ""}">${icon(sign)}
    <span class="source-label">${label}</span><strong>${value ?? missing}</strong>
    <small>${value === null ? nothing : fault ? fault : said}</small></div>`;
}

/**
 * Lines from each of `from` to each of `to`, heights in percent; one of the two is a single place.
 * @param {number[]} from
 * @param {number[]} to
 * @param {boolean} moving
 */
function wires(from, to, moving) {
  const lines = from.flatMap((a) => to.map((b) => svg`<path d="M0 ${a}C50 ${a} 50 ${b} 100 ${b}"></path>`));
  return html`<svg class="wires ${moving ? "moving" : ""}" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">${lines}</svg>`;
}

/**
 * The middles of `of` things that share a height.
 * @param {number} of
 */
const middles = (of) => Array.from({ length: of }, (_, n) => ((n + 0.5) * 100) / of);

/**
 * A node of the tree with its three marks.
 * @param {Substation} node
 * @param {number} depth
 */
export function bar(node, depth) {
  const all = Math.max(node.capacity_w, 1);
  const base = node.base_w ?? 0;
  const share = (/** @type {number} */ watts) => `${Math.min(100, Math.max(0, (100 * watts) / all)).toFixed(2)}%`;
  const [offered, safe] = [base + (node.offered_w ?? 0), base + (node.fallback_w ?? 0)];
  const full = fullness(node);
  const said =
    `${plain(node.substation_id)}: used ${kw(node.load_w)} kW, offered ${kw(node.offered_w ?? 0)} kW, ` +
    `fallback-safe ${kw(node.fallback_w ?? 0)} kW, other load ${kw(base)} kW, limit ${kw(limit(node))} kW`;
  return html`<div class="bar depth-${Math.min(depth, 3)}" data-substation=${plain(node.substation_id)}>
    <div class="bar-head"><strong>${name(node.substation_id)}</strong>${(node.health ?? "UP") === "UP" ? nothing : badge(node.health ?? "UP")}
      <span class="muted">${node.sessions} charging</span>
      <span class="bar-figures"><b class="used">${kw(node.load_w)}</b><b class="offered">${kw(node.offered_w ?? 0)}</b><b class="safe">${kw(node.fallback_w ?? 0)}</b>
        <span class="of">of ${kw(limit(node))} kW</span></span></div>
    <div class="track" role="img" aria-label=${said} title=${said}>
      <i class="base" .style=${`width:${share(base)}`}></i>
      <i class="used ${full > OVER ? "full" : full > FULL ? "near" : ""}" .style=${`left:${share(base)};width:${share(Math.min(node.load_w, all - base))}`}></i>
      <i class="offered" .style=${`left:${share(offered)}`}></i>
      <i class="safe" .style=${`left:${share(safe)}`}></i>
      ${limit(node) < node.capacity_w ? html`<i class="derated" .style=${`left:${share(limit(node))}`}></i>` : nothing}
    </div></div>`;
}

/** @param {ReturnType<typeof sums>} total */
function sink(total) {
  return html`<div class="sink">
    <div class="sink-now">${icon("bolt")}<span class="source-label">Charging</span>
      <strong data-testid="charging-kw">${kw(total.load_w)} <small>kW</small></strong>
      <small>${total.sessions} ${total.sessions === 1 ? "session" : "sessions"} · ${kw(total.offered_w)} kW offered</small></div>
    <div class="sink-safe" data-testid="fallback-kw">${icon("shield")}<span>If Central vanished now</span>
      <strong>${kw(total.fallback_w)} <small>kW</small></strong></div></div>`;
}
