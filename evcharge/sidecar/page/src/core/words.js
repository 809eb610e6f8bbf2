/** The words of the wire, in people's words; and one vocabulary of colours and signs for states, used everywhere. */

/** @typedef {{ label: string, tone: string, sign: string, order: number }} Look */

/**
 * `tone` is a colour of tokens.css, `sign` an icon: a state is never told by its colour alone.
 * @type {Record<string, Look>}
 */
export const POINT_STATES = {
  ACTIVATED: { label: "Free", tone: "free", sign: "plug", order: 3 },
  SUPPLYING: { label: "Supplying", tone: "supplying", sign: "bolt", order: 2 },
  STOPPED: { label: "Stopped", tone: "stopped", sign: "pause", order: 1 },
  OUT_OF_ORDER: { label: "Out of order", tone: "fault", sign: "cross", order: 0 },
  DISCONNECTED: { label: "Disconnected", tone: "away", sign: "cut", order: 4 },
};

/** @type {Record<string, Look>} */
const OTHER_STATES = {
  AUTHORIZED: { label: "Authorized", tone: "free", sign: "plug", order: 0 },
  PAUSED: { label: "Paused", tone: "stopped", sign: "pause", order: 0 },
  OFFLINE: { label: "Offline", tone: "away", sign: "cut", order: 0 },
  COMPLETED: { label: "Completed", tone: "supplying", sign: "check", order: 0 },
  INTERRUPTED: { label: "Interrupted", tone: "stopped", sign: "cross", order: 0 },
  EXPIRED: { label: "Expired", tone: "away", sign: "pause", order: 0 },
  UP: { label: "Up", tone: "supplying", sign: "check", order: 0 },
  LOST: { label: "Lost", tone: "fault", sign: "cross", order: 0 },
  PROBING: { label: "Probing", tone: "stopped", sign: "pause", order: 0 },
  WAITING: { label: "Waiting", tone: "stopped", sign: "pause", order: 0 },
  OFFERED: { label: "Offered", tone: "free", sign: "plug", order: 0 },
  active: { label: "Active", tone: "supplying", sign: "check", order: 0 },
  revoked: { label: "Revoked", tone: "fault", sign: "cross", order: 0 },
};

/**
 * @param {string} state
 * @returns {Look}
 */
export function look(state) {
  return POINT_STATES[state] ?? OTHER_STATES[state] ?? { label: words(state), tone: "away", sign: "dot", order: 9 };
}

/** @type {Record<string, { label: string, ok: boolean | null }>} */
const LINKS = {
  up: { label: "up", ok: true },
  lost: { label: "lost", ok: false },
  awaited: { label: "awaited", ok: null },
  never: { label: "never seen", ok: null },
};

/**
 * What an engine's or a monitor's link is; `ok` null: nobody can tell.
 * @param {string} state
 */
export function linkLook(state) {
  return LINKS[state] ?? { label: state === "" ? "not told" : words(state), ok: null };
}

/** @type {Record<string, string>} */
const HOLDS = {
  FAULT: "its monitor reports a fault",
  WEATHER: "closed by the weather",
  ADMIN: "stopped by an operator",
  REVOKED: "its credential was revoked",
  DUPLICATE_ID: "two processes use its credential",
};

/** @param {string} hold */
export const holdText = (hold) => HOLDS[hold] ?? words(hold);

/** @type {Record<string, string>} */
const REASONS = {
  shared: "shares a limit with others",
  connector_rating: "all that the connector can do",
  no_capacity: "no room for the smallest current",
  waiting_for_others: "others have to confirm less first",
  plan: "the plan leaves power for later",
  rule: "a rule of the site",
  need: "needs no more to be full in time",
  steady: "gets more soon",
  ramp: "on its way up",
  operator: "an operator allows no more",
  substation_lost: "its substation is lost",
  target_reached: "target reached",
  vehicle_full: "vehicle full",
  unplugged: "unplugged",
  driver_ended: "ended by the driver",
  stopped: "stopped by an operator",
  fault: "a fault",
  weather: "the weather",
  monitor_lost: "its monitor was lost",
  revoked: "credential revoked",
  expired: "nobody plugged in",
  duplicate_id: "two processes use its credential",
  engine_restart: "the charge point restarted",
  engine_shutdown: "the charge point shut down",
  outbox_lost: "the charge point lost its records",
  silent: "silent for too long",
  busy: "in use",
  reserved: "reserved",
  out_of_order: "out of order",
  disconnected: "disconnected",
};

/** @param {string | null | undefined} reason */
export const reasonText = (reason) => (reason ? (REASONS[reason] ?? words(reason)) : "");

/** @type {Record<string, string>} */
export const ROLES = { cp: "charge point", monitor: "monitor", driver: "driver", debug: "console", gateway: "gateway" };

/** @type {Record<string, string>} */
export const WEATHER = { cold: "Cold", heat: "Heat", wind: "Wind", storm: "Thunderstorm" };

/** @type {Record<string, string>} */
export const MODES = {
  PAUSE_CHARGING: "pause",
  SLOW_CHARGING: "slow",
  NORMAL_CHARGING: "normal",
  FAST_CHARGING: "fast",
};

/**
 * `OUT_OF_ORDER`, `supply_started` → "out of order", "supply started"
 * @param {string} code
 */
export function words(code) {
  return code.replaceAll("_", " ").toLowerCase();
}
