/** A record of the log as one sentence. What is not known here, from a newer server, is told by its name. */

import { kw, kwh, money, whole } from "./format.js";
import { holdText, reasonText, words } from "./words.js";

/** @import { LogRecord } from "./types.js" */

/** @param {any} data */
const at = (data) => (data.connector ? `${data.cp_id}/${data.connector}` : data.cp_id);

/** @param {LogRecord} record */
const who = (record) => record.driver_id || record.data?.driver_id || "a driver";

/** @type {Record<string, (data: any, record: LogRecord) => string>} */
const TELL = {
  central_started: () => "Central started",
  central_stopped: () => "Central stopped on purpose",
  peer_connected: (d) => `${words(String(d.role))} ${d.entity} connected`,
  peer_disconnected: (d) => `${words(String(d.role))} ${d.entity} disconnected: ${words(String(d.cause))}`,
  peer_refused: (d) => `a peer was refused${d.username ? ` (${d.username})` : ""}: ${words(String(d.code))}`,
  peer_revoked: (d) => `the credential of ${words(String(d.role))} ${d.entity} was revoked`,
  incident_raised: (d) => `incident ${words(String(d.code))}: ${d.detail}`,
  anomaly_seen: (d) => `${d.cp_id} reported something odd (${words(String(d.code))}): ${d.detail}`,
  charge_point_booted: (d) => `${d.cp_id} booted${d.model ? `: ${d.model}` : ""}`,
  connector_changed: (d) => `${at(d)} is ${d.error ? `in error: ${d.error}` : d.occupied ? "plugged in" : "unplugged"}`,
  hold_placed: (d) => `${d.cp_id} is held: ${holdText(d.hold)}${d.detail ? ` (${d.detail})` : ""}`,
  hold_lifted: (d) =>
    `${d.cp_id}: no longer ${d.hold === "ADMIN" ? "stopped by an operator" : `held (${words(d.hold)})`}`,
  weather_alerted: (d) => `weather alert: ${d.kind}${place(d)}${d.simulated ? " (simulated)" : ""}`,
  weather_cleared: (d) => `weather alert over: ${d.kind}${place(d)}`,
  charge_authorized: (d, r) => `${who(r)} was authorized at ${at(d)}`,
  charge_refused: (d, r) => `${who(r)} was refused at ${d.cp_id}: ${reasonText(d.reason)}`,
  request_refused: (d) => `${d.request} was refused: ${reasonText(d.reason)}`,
  charge_queued: (d, r) => `${who(r)} waits at ${d.cp_id === "*" ? "any charge point" : d.cp_id}, place ${d.place}`,
  charge_offered: () => "it is its turn: the connector is held for it",
  offer_ended: (d) => `an offer ended: ${reasonText(d.cause)}`,
  queue_left: (d, r) => `${who(r)} waits no longer: ${reasonText(d.cause)}`,
  reservation_made: (d, r) => `${who(r)} reserved ${at(d)}`,
  reservation_ended: (d, r) => `the reservation of ${who(r)} at ${at(d)} ended: ${reasonText(d.cause)}`,
  authorization_expired: (d, r) => `the authorization of ${who(r)} at ${at(d)} lapsed: ${reasonText(d.cause)}`,
  set_point_issued: (d) =>
    `set-point ${kw(d.grant?.limit_w)} kW (${kw(d.grant?.fallback_w)} kW if Central is lost): ` + reasonText(d.reason),
  set_point_acknowledged: () => "the charge point applied the set-point",
  set_point_rejected: (d) => `the charge point did not apply a set-point: ${d.outcome} ${d.detail ?? ""}`.trim(),
  authorization_acknowledged: () => "the charge point knows the authorization",
  supply_started: (d) => `supply started at ${kwh(d.meter_wh)} kWh`,
  meter_sampled: (d) => `meter ${kwh(d.meter_wh)} kWh, ${kw(d.power_w)} kW`,
  supply_paused: () => "supply paused",
  supply_resumed: () => "supply goes on",
  session_online: () => "its charge point is back",
  stop_ordered: (d) => `Central ordered the end: ${reasonText(d.cause)}`,
  stop_confirmed: () => "the charge point opened its contactor",
  supply_ended: (d) => `supply ended: ${reasonText(d.cause)}`,
  ticket_issued: (d) => ticket(d.ticket ?? d),
  ticket_adjusted: (d) => `the ticket was adjusted by ${whole(d.energy_wh)} Wh`,
  ticket_delivered: () => "the driver has the ticket",
  capacity_changed: (d) => `${d.substation_id} was given ${kw(d.capacity_w)} kW`,
  charge_point_limited: (d) =>
    `${d.cp_id} was ${d.limit_w == null ? "given its rating again" : `limited to ${kw(d.limit_w)} kW`}`,
  node_lost: (d) => `${d.node_id} was lost: ${words(String(d.cause))}`,
  node_probing: (d) => `${d.node_id} is on trial`,
  node_recovered: (d) => `${d.node_id} is well again`,
  charge_point_moved: (d) => `${d.cp_id} is fed from ${d.to_id} now, not from ${d.from_id}`,
  plan_adopted: (d) => `a new plan for ${d.root_id}`,
  checkpoint_signed: (d) => `checkpoint of ${whole(d.size)} records signed`,
};

/** @param {any} d */
function place(d) {
  if (d.cp_id) return ` at ${d.cp_id}`;
  return d.node_id ? ` at ${d.node_id}` : "";
}

/** @param {any} t */
function ticket(t) {
  const cost = t.amount_minor === undefined ? "" : `, ${money(t.amount_minor, t.currency ?? "")}`;
  return `ticket: ${kwh(t.energy_wh)} kWh${cost}`;
}

/**
 * @param {LogRecord} record
 * @returns {string}
 */
export function tell(record) {
  const teller = TELL[record.kind];
  try {
    if (teller !== undefined) return teller(record.data ?? {}, record);
  } catch {
    // Data of another shape than this page knows: its name still says what happened.
  }
  return words(record.kind);
}

/** Records that an operator's eye should rest on. */
const BAD = new Set([
  "incident_raised",
  "anomaly_seen",
  "hold_placed",
  "node_lost",
  "peer_refused",
  "weather_alerted",
  "set_point_rejected",
]);
const REFUSED = new Set(["charge_refused", "request_refused", "authorization_expired", "peer_disconnected"]);

/**
 * @param {string} kind
 * @returns {"bad" | "mild" | "plain"}
 */
export const weight = (kind) => (BAD.has(kind) ? "bad" : REFUSED.has(kind) ? "mild" : "plain");
