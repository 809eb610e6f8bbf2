/** What is wrong at the site now, worst first: from states, health, weather, incidents and the log's own proof. */

import { holdText, linkLook, WEATHER, words } from "./words.js";
import { href } from "./router.js";

/** @import { ChargePoint } from "./types.js" */
/** @import { Live } from "./live.js" */

/**
 * @typedef {object} Fault
 * @property {string} key the same while it is the same fault
 * @property {"fault" | "stopped" | "away"} tone
 * @property {string} title
 * @property {string} detail
 * @property {number | null} since_ms
 * @property {string} to
 */

/** More disconnected charge points than these are one line: then it is a switch or a cable. */
const SINGLE = 6;
/** Incidents that are shown: older ones stand in the audit log. */
const INCIDENTS = 8;
const RANK = { fault: 0, stopped: 1, away: 2 };

/**
 * @param {ChargePoint} point
 * @returns {string} why it is not in service
 */
export function cause(point) {
  const held = point.holds.map(holdText);
  if (point.state !== "DISCONNECTED") return held.join(", ") || "one of its connectors reports an error";
  const links = [];
  if (point.engine !== "up") links.push(`engine ${linkLook(point.engine).label}`);
  if (point.monitor !== "up") links.push(`monitor ${linkLook(point.monitor).label}`);
  return [...links, ...held].join(", ");
}

/** @param {ChargePoint} point @returns {Fault} */
function ofPoint(point) {
  const out = point.state === "OUT_OF_ORDER";
  return {
    key: `${point.cp_id} ${point.state}`,
    tone: out ? "fault" : "away",
    title: `${point.cp_id} ${out ? "out of order" : "disconnected"}`,
    detail: cause(point),
    since_ms: out ? null : (point.last_seen_ms ?? null),
    to: href("charge-points", point.cp_id),
  };
}

/** @param {Live} live @returns {Fault[]} */
function points(live) {
  const away = [];
  const faults = [];
  for (const point of live.points.values()) {
    if (point.state === "OUT_OF_ORDER") faults.push(ofPoint(point));
    else if (point.state === "DISCONNECTED") away.push(point);
  }
  if (away.length <= SINGLE) return [...faults, ...away.map(ofPoint)];
  return [
    ...faults,
    {
      key: "many disconnected",
      tone: "away",
      title: `${away.length} charge points disconnected`,
      detail: "a cable, a switch, or the power of a part of the site?",
      since_ms: null,
      to: "/ui/?state=DISCONNECTED",
    },
  ];
}

/** @param {Live} live @returns {Fault[]} */
function nodes(live) {
  return live.substations
    .filter((node) => (node.health ?? "UP") !== "UP")
    .map((node) => ({
      key: `${node.substation_id} ${node.health}`,
      tone: node.health === "LOST" ? "fault" : "stopped",
      title: `Substation ${node.substation_id} ${node.health === "LOST" ? "lost" : "on trial"}`,
      detail:
        node.health === "LOST" ? "nothing new is admitted there" : "one session at a time may show that it is well",
      since_ms: node.since_ms ?? null,
      to: href("substations"),
    }));
}

/** @param {Live} live @returns {Fault[]} */
function weather(live) {
  return live.alerts.map((alert) => ({
    key: `alert ${alert.alert_id}`,
    tone: "stopped",
    title: `${WEATHER[alert.kind] ?? words(alert.kind)} alert${alert.simulated ? " (simulated)" : ""}`,
    detail: [
      alert.cp_id ?? alert.substation_id ?? "whole site",
      alert.detail,
      alert.temperature_c == null ? "" : `${alert.temperature_c.toFixed(1)} °C`,
    ]
      .filter(Boolean)
      .join(" · "),
    since_ms: alert.since_ms,
    to: href("weather"),
  }));
}

/** @param {Live} live @returns {Fault[]} */
function incidents(live) {
  return live.incidents.slice(-INCIDENTS).map((incident, n) => ({
    key: `incident ${incident.seq ?? `${incident.code} ${n}`}`,
    tone: "stopped",
    title: `Incident: ${words(incident.code)}`,
    detail: incident.detail ?? "",
    since_ms: incident.at_ms ?? null,
    to: incident.seq === undefined ? href("audit") : `${href("audit")}?seq=${incident.seq}`,
  }));
}

/** @param {Live} live @returns {Fault[]} */
function log(live) {
  if (live.chain?.ok !== false) return [];
  const detail = live.chain.sentence ?? "run evcharge-audit verify before anybody relies on it";
  return [
    { key: "chain", tone: "fault", title: "The audit log does not verify", detail, since_ms: null, to: href("audit") },
  ];
}

/**
 * All of it; cheap to ask for again while nothing but meters changed.
 * @param {Live} live
 * @returns {() => Fault[]}
 */
export function faultsOf(live) {
  let shape = -1;
  /** @type {Fault[]} */
  let ofPoints = [];
  return () => {
    if (shape !== live.shape) {
      shape = live.shape;
      ofPoints = points(live);
    }
    return [...log(live), ...nodes(live), ...ofPoints, ...weather(live), ...incidents(live)].sort(
      (a, b) => RANK[a.tone] - RANK[b.tone],
    );
  };
}
