/** Figures and instants for people. Units of the wire go in; kW, kWh and local time come out. */

const KW = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const CLOCK_S = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

/** What stands where nothing is known. */
export const NOTHING = "–";

/** @typedef {number | null | undefined} Maybe */

/**
 * A figure in thousands: one decimal below 1,000, none above.
 * @param {Maybe} value
 */
function thousands(value) {
  if (value === null || value === undefined) return NOTHING;
  const shown = value / 1000;
  return (Math.abs(shown) < 999.95 ? KW : WHOLE).format(shown);
}

/** @param {Maybe} watts */
export const kw = thousands;

/** @param {Maybe} watt_hours */
export const kwh = thousands;

/** @param {Maybe} value */
export const whole = (value) => (value === null || value === undefined ? NOTHING : WHOLE.format(value));

/** @param {Maybe} grams */
export const kg = thousands;

/**
 * @param {Maybe} minor minor units
 * @param {string} currency ISO 4217; what is none of it stands behind the figure as it is
 */
export function money(minor, currency) {
  if (minor === null || minor === undefined) return NOTHING;
  try {
    return new Intl.NumberFormat(undefined, { style: "currency", currency }).format(major(minor, currency));
  } catch {
    return `${(minor / 100).toFixed(2)} ${currency}`.trim();
  }
}

/**
 * Minor units as the currency itself: what a chart's axis shows.
 * @param {number} minor
 * @param {string} currency
 */
export function major(minor, currency) {
  try {
    const { maximumFractionDigits } = new Intl.NumberFormat(undefined, {
      style: "currency",
      currency,
    }).resolvedOptions();
    return minor / 10 ** (maximumFractionDigits ?? 2);
  } catch {
    return minor / 100;
  }
}

/** The last instant that a `Date` knows; a figure beyond is no time, and must not take the page down. */
const LAST_MS = 8.64e15;

/** @param {Intl.DateTimeFormat} format @param {Maybe} at_ms */
const instant = (format, at_ms) => (at_ms && Math.abs(at_ms) <= LAST_MS ? format.format(at_ms) : NOTHING);

/** @param {Maybe} at_ms */
export const clock = (at_ms) => instant(CLOCK, at_ms);

/** @param {Maybe} at_ms */
export const clockSeconds = (at_ms) => instant(CLOCK_S, at_ms);

/** @param {Maybe} at_ms */
export const full = (at_ms) => instant(FULL, at_ms);

/**
 * The time of today, with the day where it is another one.
 * @param {Maybe} at_ms
 * @param {number} now_ms
 */
export function when(at_ms, now_ms) {
  if (!at_ms || Math.abs(at_ms) > LAST_MS) return NOTHING;
  const same = DAY.format(at_ms) === DAY.format(now_ms);
  return same ? CLOCK_S.format(at_ms) : `${DAY.format(at_ms)} ${CLOCK.format(at_ms)}`;
}

const STEPS = /** @type {const} */ ([
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
]);

/**
 * A duration in its largest fitting unit, and the next one where it says something: `4 s`, `12 min`, `3 h 20 min`.
 * @param {number} ms
 */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  for (const [size, unit] of STEPS) {
    if (seconds < size) continue;
    const count = Math.floor(seconds / size);
    const rest = Math.floor((seconds % size) / (size === 86_400 ? 3_600 : 60));
    if (unit === "min" || rest === 0) return `${count} ${unit}`;
    return `${count} ${unit} ${rest} ${unit === "d" ? "h" : "min"}`;
  }
  return `${seconds} s`;
}

/**
 * @param {Maybe} at_ms
 * @param {number} now_ms
 */
export function age(at_ms, now_ms) {
  return at_ms === null || at_ms === undefined ? NOTHING : duration(now_ms - at_ms);
}

/**
 * `YYYY-MM-DD`, the days of history's addresses.
 * @param {Date} date
 */
export function isoDay(date) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
