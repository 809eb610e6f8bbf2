/** The tree of limits, with what flows through each node of it. */

import { age, duration, kw, NOTHING } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { bar } from "../overview/flow.js";
import { badge } from "../parts/badges.js";
import { pageHead, table } from "../parts/blocks.js";
import { empty, loading, panel } from "../parts/panel.js";
import { name, plain } from "../parts/text.js";

/** @import { Opener } from "../app.js" */
/** @import { Substation } from "../core/types.js" */

/** @typedef {{ node: Substation, depth: number }} Placed */

/**
 * The tree in the order in which it is read: each node before those below it.
 * @param {Substation[]} nodes
 * @returns {Placed[]}
 */
export function placed(nodes) {
  /** @type {Map<string, Substation[]>} */
  const below = new Map();
  const known = new Set(nodes.map((node) => node.substation_id));
  for (const node of nodes) {
    // A parent that is not there makes a root, so that nothing is ever left out.
    const parent = node.parent && known.has(node.parent) ? node.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), node]);
  }
  /** @type {Placed[]} */
  const rows = [];
  const seen = new Set();
  const add = (/** @type {string} */ parent, /** @type {number} */ depth) => {
    for (const node of below.get(parent) ?? []) {
      if (seen.has(node.substation_id)) continue;
      seen.add(node.substation_id);
      rows.push({ node, depth });
      add(node.substation_id, depth + 1);
    }
  };
  add("", 0);
  return rows;
}

/** @type {Opener} */
export function substationsPage(app) {
  const { live } = app;
  return {
    title: "Substations",
    view() {
      const rows = placed(live.substations);
      const now = live.clock.now();
      if (rows.length === 0)
        return html`<div class="page">${pageHead("Substations")}${live.drawn ? empty("No substation is known.") : loading()}</div>`;
      return html`<div class="page">${pageHead(
        "Substations",
        html`<ul class="legend"><li><i class="mark used"></i>used</li><li><i class="mark offered"></i>offered</li>
          <li><i class="mark safe"></i>fallback-safe</li><li><i class="mark base"></i>other load</li></ul>`,
      )}
        ${panel("Tree of limits", html`<div class="tree" data-testid="tree">${rows.map(({ node, depth }) => bar(node, depth))}</div>`)}
        ${panel(
          "Figures",
          table(
            "Substations",
            [
              ["Substation"],
              ["State"],
              ["Limit", "number"],
              ["Other load", "number"],
              ["Used", "number"],
              ["Offered", "number"],
              ["Fallback-safe", "number"],
              ["At worst", "number"],
              ["Measured", "number"],
              ["Reserved", "number"],
              ["Sessions", "number"],
              ["Go to"],
            ],
            rows.map(({ node, depth }) => [
              html`<span class="indent-${Math.min(depth, 3)}">${name(node.substation_id)}</span>`,
              html`${badge(node.health ?? "UP")}${node.health && node.health !== "UP" ? html` <small class="muted">${age(node.since_ms, now)}</small>` : nothing}`,
              html`${kw(node.limit_w ?? node.capacity_w)}${node.limit_w != null && node.limit_w < node.capacity_w ? html` <small class="muted">of ${kw(node.capacity_w)}, heat</small>` : nothing}`,
              kw(node.base_w ?? 0),
              html`<strong>${kw(node.load_w)}</strong>`,
              kw(node.offered_w),
              kw(node.fallback_w),
              kw(node.worst_case_w),
              node.measured_w == null
                ? NOTHING
                : html`${kw(node.measured_w)} <small class="muted">${node.measured_age_ms == null ? nothing : `${duration(node.measured_age_ms)} old`}</small>`,
              node.utilisation === undefined ? NOTHING : `${node.utilisation} %`,
              node.sessions,
              html`<a href="/ui/?substation=${encodeURIComponent(node.substation_id)}" aria-label="Charge points of ${plain(node.substation_id)}">charge points</a>`,
            ]),
          ),
        )}
        <p class="hint">kW. <em>Fallback-safe</em> is what would flow if Central vanished now and every set-point ran out; <em>at worst</em> what could flow if all messages were lost this moment.</p></div>`;
    },
  };
}
