/** What the newest plan gives over the next 24 hours. */

import { age, clock, kw } from "../core/format.js";
import { html, nothing } from "../core/html.js";
import { empty, panel } from "../parts/panel.js";
import { plain } from "../parts/text.js";

/** @import { App } from "../app.js" */
/** @import { Plan } from "../core/types.js" */
/** @import { Data, Spec } from "../parts/chart.js" */

const AHEAD_MS = 24 * 3_600_000;

export class PlanChart {
  #app;
  #chosen = "";
  /** @type {Plan[] | null} */
  #of = null;
  #from = -1;
  /** @type {Data} */
  #data = [[]];

  /** @param {App} app */
  constructor(app) {
    this.#app = app;
  }

  view() {
    const { plan, clock: site, substations } = this.#app.live;
    const now = site.now();
    const shown = plan.find((each) => each.substation_id === this.#chosen) ?? (plan.length > 1 ? all(plan, substations) : plan[0]);
    if (shown === undefined) {
      return panel("Plan, next 24 hours", empty("There is no plan: power is shared as it comes."), { kind: "plan" });
    }
    // A step of five minutes: the chart is not drawn anew for each second that passes.
    const from = Math.floor(now / 300_000) * 300_000;
    if (plan !== this.#of || from !== this.#from) {
      this.#of = plan;
      this.#from = from;
      this.#data = rows(shown, from);
    }
    const peak = Math.max(...shown.target_w, 0);
    const stale = shown.until_ms < now;
    /** @type {Spec} */
    const spec = {
      summary: `Plan for ${plain(shown.substation_id)}: at most ${kw(peak)} kW of ${kw(shown.limit_w)} kW, made ${age(shown.made_ms, now)} ago`,
      unit: "kW",
      from_ms: from,
      until_ms: from + AHEAD_MS,
      series: [
        { label: "plan", token: "--supplying", kind: "step", fill: true },
        { label: "limit", token: "--fault", kind: "line", dashed: true },
      ],
    };
    const aside = html`<span class="aside ${stale ? "tone-fault" : ""}" title="made at ${clock(shown.made_ms)}">${
      stale ? `out of date since ${clock(shown.until_ms)}` : `${age(shown.made_ms, now)} old`
    }</span>
      ${
        plan.length < 2
          ? nothing
          : html`<label><span class="unseen">Plan of</span><select class="small" @change=${(/** @type {Event} */ event) => this.#choose(event)}>
        <option value="" ?selected=${this.#chosen === ""}>all</option>${plan.map((each) => html`<option value=${each.substation_id} ?selected=${each.substation_id === this.#chosen}>${plain(each.substation_id)}</option>`)}</select></label>`
      }`;
    return panel(
      "Plan, next 24 hours",
      html`<ev-chart class="fill" .spec=${spec} .data=${this.#data} data-testid="plan-chart"></ev-chart>`,
      { kind: "plan", aside },
    );
  }

  /** @param {Event} event */
  #choose(event) {
    this.#chosen = /** @type {HTMLSelectElement} */ (event.target).value;
    this.#of = null;
    this.#app.update();
  }
}

/**
 * How far a plan reaches: its last step is as long as the one before. (It is followed no longer than `until_ms`; by then
 * there is a newer one.)
 * @param {Plan} plan
 */
function end(plan) {
  const [last, before] = [plan.starts_ms.at(-1) ?? plan.made_ms, plan.starts_ms.at(-2)];
  return before === undefined ? plan.until_ms : last + (last - before);
}

/**
 * What all nodes get together, against the limits at the top of the trees.
 * @param {Plan[]} plans
 * @param {import("../core/types.js").Substation[]} substations
 * @returns {Plan}
 */
function all(plans, substations) {
  const starts_ms = [...new Set(plans.flatMap((plan) => plan.starts_ms))].sort((a, b) => a - b);
  const at = (/** @type {Plan} */ plan, /** @type {number} */ ms) =>
    plan.target_w[plan.starts_ms.findLastIndex((start) => start <= ms)] ?? 0;
  return {
    substation_id: "all",
    made_ms: Math.min(...plans.map((plan) => plan.made_ms)),
    until_ms: Math.min(...plans.map((plan) => plan.until_ms)),
    starts_ms,
    target_w: starts_ms.map((ms) => plans.reduce((sum, plan) => sum + at(plan, ms), 0)),
    limit_w: substations.filter((node) => !node.parent).reduce((sum, node) => sum + (node.limit_w ?? node.capacity_w), 0),
  };
}

/**
 * @param {Plan} plan
 * @param {number} from
 * @returns {Data}
 */
function rows(plan, from) {
  const until = Math.min(from + AHEAD_MS, end(plan));
  /** @type {number[]} */
  const xs = [];
  /** @type {(number | null)[]} */
  const targets = [];
  plan.starts_ms.forEach((start, n) => {
    if ((plan.starts_ms[n + 1] ?? until) <= from || start >= until) return;
    xs.push(Math.max(start, from));
    targets.push((plan.target_w[n] ?? 0) / 1000);
  });
  if (xs.length > 0) {
    xs.push(until);
    targets.push(targets.at(-1) ?? null);
  }
  return [xs, targets, xs.map(() => plan.limit_w / 1000)];
}
