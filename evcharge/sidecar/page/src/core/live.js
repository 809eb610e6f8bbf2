/**
 * What the site looks like now: the newest picture and everything that has changed since. A picture is replaced as a
 * whole when Central came back, so nothing that was lost in between stays.
 */

import { Connection } from "./connection.js";
import { Records } from "./records.js";
import { SiteClock } from "./site-clock.js";

/** @import { Alert, Chain, ChargePoint, Incident, Link, LogRecord, Optimization, Plan, Reservation, Substation,
 *   Totals, Waiting } from "./types.js" */
/** @import { StreamEvent } from "./stream.js" */

/** @typedef {{ at_ms: number, power_w: number, energy_wh: number }} Sample */

/** Readings that are kept of a charge point somebody looks at: an hour, once a second. */
const SAMPLES = 3_600;

/** Of the picture, what `site` replaces part by part. */
const PARTS = /** @type {const} */ ([
  "substations",
  "optimization",
  "totals",
  "waiting",
  "reservations",
  "alerts",
  "plan",
  "incidents",
]);

export class Live {
  clock = new SiteClock();
  records = new Records();
  /** @type {Map<string, ChargePoint>} */
  points = new Map();
  /** Rises with every change of a row, a meter's too: whoever derives something from `points` compares it. */
  version = 0;
  /** Rises only when a row changed otherwise than by its meter. */
  shape = 0;
  /** @type {Substation[]} */
  substations = [];
  /** @type {Optimization | null} */
  optimization = null;
  /** @type {Totals | null} */
  totals = null;
  /** @type {Waiting[]} */
  waiting = [];
  /** @type {Reservation[]} */
  reservations = [];
  /** @type {Alert[]} */
  alerts = [];
  /** @type {Plan[]} */
  plan = [];
  /** @type {Incident[]} */
  incidents = [];
  /** @type {Chain | null} */
  chain = null;
  /** The sidecar's channel to Central. @type {Link} */
  link = { state: "connected", since_ms: null };
  /** Version of the server. */
  server = "";
  /** Rises with every whole picture: what was asked of history before may have missed something. */
  generation = 0;
  /** Whether there is a picture at all. */
  drawn = false;
  /** Site time of the newest news; it stays when the stream is lost. */
  news_ms = 0;
  /** Site time at which the stream was lost; null: it is there. @type {number | null} */
  lost_ms = null;

  /** @type {Map<string, Sample[]>} */
  #watched = new Map();
  /** @type {Set<(record: LogRecord) => void>} */
  #listeners = new Set();
  #changed;
  #connection;

  /** @param {{ changed: () => void, unauthorized: () => void }} on */
  constructor(on) {
    this.#changed = on.changed;
    this.#connection = new Connection("/api/live", () => this.#last(), {
      event: (event) => this.#take(event),
      state: () => this.#state(),
      unauthorized: on.unauthorized,
    });
  }

  close() {
    this.#connection.close();
  }

  /** connecting, live or lost: the way to the sidecar. */
  get stream() {
    return this.#connection.state;
  }

  /** Whether what is shown is what is. */
  get fresh() {
    return this.drawn && this.stream === "live" && this.link.state === "connected";
  }

  /** @returns {number} how old the picture is, milliseconds of the site */
  get age_ms() {
    return Math.max(0, this.clock.now() - this.news_ms);
  }

  /**
   * Hear each new record.
   * @param {(record: LogRecord) => void} listener
   * @returns {() => void} ends it
   */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Keep the readings of one charge point for its chart.
   * @param {string} cp_id
   * @returns {Sample[]} grows while it is watched
   */
  watch(cp_id) {
    const samples = this.#watched.get(cp_id) ?? [];
    this.#watched.set(cp_id, samples);
    this.#sample(cp_id);
    return samples;
  }

  /** @param {string} cp_id */
  unwatch(cp_id) {
    this.#watched.delete(cp_id);
  }

  /** Whether the stream was asked to go on where the last one ended. */
  #resuming = false;

  #last() {
    this.#resuming = this.records.last !== null;
    return this.#resuming ? String(this.records.last) : null;
  }

  #state() {
    this.lost_ms = this.stream === "live" ? null : (this.lost_ms ?? this.clock.now());
    this.#changed();
  }

  /** @param {StreamEvent} event */
  #take(event) {
    const said = JSON.parse(event.data);
    switch (event.name) {
      case "hello":
        this.clock.set(said.now_ms, said.speed ?? 1);
        this.link = said.link ?? this.link;
        this.server = said.version ?? "";
        if (this.#resuming && said.resumed === false) this.records.gap();
        break;
      case "picture":
        this.#picture(said);
        break;
      case "points":
        for (const row of said.rows) this.#row(row);
        this.shape += 1;
        this.version += 1;
        break;
      case "meters":
        this.#meters(said.rows);
        break;
      case "site":
        this.#parts(said);
        break;
      case "record":
        this.#record(said);
        break;
      case "gap":
        // What was seen ends before a hole, or is of another log; pages ask history for what they show of it.
        this.records.gap(said.to_seq);
        this.generation += 1;
        break;
      case "chain":
        this.chain = said;
        this.#rolledBack();
        break;
      case "link":
        this.link = said;
        break;
      default:
        // A newer server tells more than this page knows.
        return;
    }
    if (this.link.state === "connected") this.news_ms = this.clock.now();
    this.#changed();
  }

  /** @param {Record<string, any>} said */
  #picture(said) {
    this.generation += 1;
    this.points = new Map((said["charge_points"] ?? []).map((/** @type {ChargePoint} */ row) => [row.cp_id, row]));
    this.shape += 1;
    this.version += 1;
    this.#parts(said);
    this.chain = said["chain"] ?? this.chain;
    this.drawn = true;
    this.#rolledBack();
    for (const cp_id of this.#watched.keys()) this.#sample(cp_id);
  }

  /** @param {Record<string, any>} said */
  #parts(said) {
    for (const part of PARTS) {
      if (!(part in said)) continue;
      // null: nobody has told it yet.
      const nothing = part === "optimization" || part === "totals" ? null : [];
      /** @type {Record<string, unknown>} */ (/** @type {unknown} */ (this))[part] = said[part] ?? nothing;
    }
  }

  /** @param {ChargePoint} row */
  #row(row) {
    this.points.set(row.cp_id, row);
    if (this.#watched.has(row.cp_id)) this.#sample(row.cp_id);
  }

  /** @param {[string, number, number, number][]} rows */
  #meters(rows) {
    /** @type {Set<string>} */
    const seen = new Set();
    for (const [cp_id, no, power_w, energy_wh] of rows) {
      const connector = this.points.get(cp_id)?.connectors.find((each) => each.connector === no);
      if (connector === undefined) continue;
      connector.power_w = power_w;
      connector.energy_wh = energy_wh;
      if (this.#watched.has(cp_id)) seen.add(cp_id);
    }
    this.version += 1;
    for (const cp_id of seen) this.#sample(cp_id);
  }

  /** @param {string} cp_id */
  #sample(cp_id) {
    const samples = this.#watched.get(cp_id);
    const point = this.points.get(cp_id);
    if (samples === undefined || point === undefined) return;
    const at_ms = Math.round(this.clock.now());
    const last = samples.at(-1);
    // A chart's time only goes forward, also when the site's clock was set again.
    if (last !== undefined && at_ms <= last.at_ms) samples.length = 0;
    let power_w = 0;
    let energy_wh = 0;
    for (const connector of point.connectors) {
      power_w += connector.power_w;
      energy_wh += connector.session_id ? connector.energy_wh : 0;
    }
    samples.push({ at_ms, power_w, energy_wh });
    if (samples.length > SAMPLES * 1.1) samples.splice(0, samples.length - SAMPLES);
  }

  /** @param {LogRecord} record */
  #record(record) {
    if (!this.records.add(record)) return;
    for (const listener of this.#listeners) listener(record);
  }

  /** A log that ends before what was seen is another one, or lost its end: what comes now is new all the same. */
  #rolledBack() {
    const newest = this.chain?.newest_seq;
    const last = this.records.last;
    if (newest === undefined || last === null || newest >= last || this.chain?.ok === null) return;
    // The two travel in one order, but a record may be told before the chain has counted it.
    if (last - newest < ROLLED_BACK) return;
    this.records.last = newest;
    this.records.all = [];
  }
}

/** Records by which `newest_seq` may be behind in an honest stream. */
const ROLLED_BACK = 20_000;
