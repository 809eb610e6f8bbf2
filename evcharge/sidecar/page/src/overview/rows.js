/** Which charge points the table shows, and in which order. Pure, and quick enough for thousands, five times a second. */

import { holdText, look, reasonText } from "../core/words.js";

/** @import { ChargePoint, Connector } from "../core/types.js" */

/** @typedef {"state" | "cp" | "seen" | "driver" | "power" | "energy"} SortKey */
/** @typedef {{ key: SortKey, down: boolean }} Sort */
/** @typedef {{ text: string, state: string, substation: string }} Filter */

const NATURAL = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * What a charge point does, over its connectors.
 * @typedef {object} Doing
 * @property {number} power_w
 * @property {number | null} energy_wh null: nobody charges
 * @property {string[]} drivers
 * @property {Connector | null} main the connector whose reason is shown
 */

/** @param {ChargePoint} point @returns {Doing} */
export function doing(point) {
  let power_w = 0;
  /** @type {number | null} */
  let energy_wh = null;
  /** @type {string[]} */
  const drivers = [];
  /** @type {Connector | null} */
  let main = null;
  for (const connector of point.connectors) {
    power_w += connector.power_w;
    if (!connector.session_id) continue;
    energy_wh = (energy_wh ?? 0) + connector.energy_wh;
    if (connector.driver) drivers.push(connector.driver);
    if (main === null || (!main.why && connector.why)) main = connector;
  }
  return { power_w, energy_wh, drivers, main };
}

/** Where ids stand in their natural order: CP-9 before CP-10. Comparing them anew for each picture costs too much. */
class Ranks {
  /** @type {Map<string, number>} */
  #rank = new Map();

  /** @param {Map<string, ChargePoint>} points */
  look(points) {
    let same = this.#rank.size === points.size;
    if (same)
      for (const id of points.keys())
        if (!this.#rank.has(id)) {
          same = false;
          break;
        }
    if (same) return;
    const ids = [...points.keys()].sort(NATURAL.compare);
    this.#rank = new Map(ids.map((id, n) => [id, n]));
  }

  /** @param {string} id */
  of(id) {
    return this.#rank.get(id) ?? 0;
  }
}

/** What a filter looks at, lower case; rows are replaced when anything but their meter changes. @type {WeakMap<ChargePoint, string>} */
const haystacks = new WeakMap();

/** @param {ChargePoint} point */
function haystack(point) {
  let text = haystacks.get(point);
  if (text === undefined) {
    const words = [
      point.cp_id,
      point.substation_id,
      look(point.state).label,
      ...point.holds,
      ...point.holds.map(holdText),
    ];
    for (const each of point.connectors) {
      words.push(each.driver ?? "", each.session_id ?? "", each.why ?? "", reasonText(each.reason));
    }
    text = words.join("\n").toLowerCase();
    haystacks.set(point, text);
  }
  return text;
}

/** @param {Filter} filter @returns {(point: ChargePoint) => boolean} */
function accepts(filter) {
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return (point) =>
    (filter.state === "" || point.state === filter.state) &&
    (filter.substation === "" || point.substation_id === filter.substation) &&
    words.every((word) => haystack(point).includes(word));
}

/** @param {SortKey} key @returns {(point: ChargePoint) => number | string} */
function value(key) {
  switch (key) {
    case "state":
      return (point) => look(point.state).order;
    case "seen":
      return (point) => (point.engine === "up" ? -Infinity : -(point.last_seen_ms ?? 0));
    case "power":
      return (point) => -doing(point).power_w;
    case "energy":
      return (point) => -(doing(point).energy_wh ?? -1);
    // Nobody comes last.
    case "driver":
      return (point) => doing(point).drivers[0] ?? "\uffff";
    case "cp":
      return () => 0;
  }
}

export class Rows {
  #ranks = new Ranks();
  #key = "";
  /** @type {ChargePoint[]} */
  #rows = [];

  /**
   * The rows to show; worked out again only when something changed that they rest on.
   * @param {Map<string, ChargePoint>} points
   * @param {{ version: number, shape: number }} at
   * @param {Filter} filter
   * @param {Sort} sort
   */
  view(points, at, filter, sort) {
    const metered = sort.key === "power" || sort.key === "energy";
    const key = JSON.stringify([metered ? at.version : at.shape, filter, sort]);
    if (key === this.#key) return this.#rows;
    this.#key = key;
    this.#ranks.look(points);
    const of = value(sort.key);
    const sign = sort.down ? -1 : 1;
    const keyed = [];
    const accept = accepts(filter);
    for (const point of points.values()) {
      if (accept(point)) keyed.push({ point, value: of(point), rank: this.#ranks.of(point.cp_id) });
    }
    keyed.sort((a, b) => sign * (a.value < b.value ? -1 : a.value > b.value ? 1 : a.rank - b.rank));
    this.#rows = keyed.map((each) => each.point);
    return this.#rows;
  }
}

/**
 * @param {Iterable<ChargePoint>} points
 * @returns {Record<string, number>} how many are in each state
 */
export function counts(points) {
  /** @type {Record<string, number>} */
  const found = {};
  for (const { state } of points) found[state] = (found[state] ?? 0) + 1;
  return found;
}
