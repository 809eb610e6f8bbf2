/**
 * What the sidecar sends, in the wire's words: watts, watt-hours, UTC milliseconds of the site, minor units of money.
 * Whatever a newer server adds is ignored; whatever an older one leaves out is optional here.
 */

/**
 * @typedef {object} Connector
 * @property {number} connector
 * @property {string} state
 * @property {boolean} occupied
 * @property {string | null} [session_id]
 * @property {string | null} [driver] masked for who may not control the site
 * @property {number} min_w
 * @property {number} max_w
 * @property {number | null} [limit_w]
 * @property {number} power_w
 * @property {number} energy_wh
 * @property {string | null} [reason]
 * @property {string | null} [why]
 * @property {number | null} [decided_ms]
 * @property {number | null} [inputs_ms]
 */

/**
 * @typedef {object} ChargePoint
 * @property {string} cp_id
 * @property {string} state ACTIVATED, SUPPLYING, STOPPED, OUT_OF_ORDER or DISCONNECTED
 * @property {string} substation_id
 * @property {string[]} holds
 * @property {string} engine
 * @property {string} monitor
 * @property {number | null} [last_seen_ms]
 * @property {number} [waiting]
 * @property {number | null} [limit_w]
 * @property {Connector[]} connectors
 */

/**
 * @typedef {object} Substation
 * @property {string} substation_id
 * @property {string | null} [parent]
 * @property {number} capacity_w
 * @property {number | null} [limit_w]
 * @property {number} worst_case_w
 * @property {number} load_w
 * @property {number} [offered_w]
 * @property {number} [fallback_w]
 * @property {number} sessions
 * @property {number} [home_sessions]
 * @property {number} [base_w]
 * @property {string} [health] UP, LOST or PROBING
 * @property {number | null} [since_ms]
 * @property {number} [utilisation]
 * @property {number | null} [measured_w]
 * @property {number | null} [measured_age_ms]
 */

/**
 * @typedef {object} Optimization
 * @property {string} mode
 * @property {number} power_w
 * @property {string} rule
 * @property {string} reason
 * @property {number | null} [solar_w]
 * @property {number | null} [battery_percent]
 * @property {number | null} [grid_percent]
 * @property {Record<string, number | null>} [age_ms]
 * @property {Record<string, string>} [fault]
 * @property {boolean} [in_force]
 */

/**
 * @typedef {object} Waiting
 * @property {string} waiting_id
 * @property {string} state
 * @property {string} cp_id
 * @property {number} [connector]
 * @property {string} [driver_id]
 * @property {number} [place]
 * @property {number | null} [eta_ms]
 * @property {number | null} [since_ms]
 * @property {number | null} [offered_until_ms]
 * @property {string | null} [reason]
 */

/**
 * @typedef {object} Reservation
 * @property {string} reservation_id
 * @property {string} state
 * @property {string} cp_id
 * @property {number} connector
 * @property {number} from_ms
 * @property {number} until_ms
 * @property {string} [driver_id]
 * @property {string | null} [reason]
 */

/**
 * @typedef {object} Alert
 * @property {string} alert_id
 * @property {string} kind
 * @property {number} since_ms
 * @property {string | null} [cp_id]
 * @property {string | null} [substation_id]
 * @property {number | null} [temperature_c]
 * @property {string} [detail]
 * @property {boolean} [simulated]
 */

/**
 * @typedef {object} Plan
 * @property {string} substation_id
 * @property {number} made_ms
 * @property {number} until_ms
 * @property {number[]} starts_ms
 * @property {number[]} target_w
 * @property {number} limit_w
 */

/**
 * @typedef {object} Incident
 * @property {number} [seq]
 * @property {number} [at_ms]
 * @property {string} code
 * @property {string} [detail]
 */

/**
 * @typedef {object} Chain
 * @property {boolean | null} ok null: nothing was compared yet
 * @property {number} seq records 1 to this one are those that were signed
 * @property {number} [newest_seq]
 * @property {number} [signed_seq]
 * @property {string} [sentence]
 * @property {string} [by] whose word it is: sidecar or central
 */

/**
 * @typedef {object} Totals
 * @property {number} [sessions]
 * @property {number} [energy_wh]
 * @property {number} [amount_minor]
 * @property {number} [refused]
 */

/**
 * @typedef {object} Picture
 * @property {ChargePoint[]} charge_points
 * @property {Substation[]} substations
 * @property {Optimization | null} [optimization]
 * @property {Totals | null} [totals]
 * @property {Waiting[]} [waiting]
 * @property {Reservation[]} [reservations]
 * @property {Alert[]} [alerts]
 * @property {Plan[]} [plan]
 * @property {Incident[]} [incidents]
 * @property {Chain | null} [chain]
 * @property {number} [at_ms]
 */

/**
 * @typedef {object} LogRecord
 * @property {number} seq
 * @property {string} kind
 * @property {number | null} [at_ms]
 * @property {string | null} [actor]
 * @property {string | null} [source]
 * @property {string | null} [by]
 * @property {string | null} [trace]
 * @property {string | null} [cp_id]
 * @property {string | null} [session_id]
 * @property {string | null} [driver_id]
 * @property {Record<string, any> | null} [data]
 */

/**
 * @typedef {object} Link
 * @property {string} state connected or disconnected: the sidecar's channel to Central
 * @property {number | null} [since_ms] site time
 */

/**
 * @typedef {object} Ticket
 * @property {string} ticket_id
 * @property {string} session_id
 * @property {string} cp_id
 * @property {string} driver_id
 * @property {string} [substation_id]
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} [duration_s]
 * @property {number} energy_wh
 * @property {number} price_e4
 * @property {number} amount_minor
 * @property {string} currency
 * @property {string} status
 * @property {string} reason
 * @property {number} [average_w]
 * @property {number} [co2_g]
 * @property {(number | { energy_wh: number })[]} [adjustments]
 */

/**
 * @typedef {object} TimelineRow
 * @property {number} seq
 * @property {string} kind
 * @property {number | null} at_ms
 * @property {string} text
 * @property {number | null} [limit_w]
 * @property {string | null} [reason]
 * @property {string | null} [why]
 */

/**
 * @typedef {object} Today
 * @property {string} [day]
 * @property {number} energy_wh
 * @property {number} amount_minor
 * @property {string | null} currency
 * @property {number} sessions
 * @property {number} [co2_g]
 * @property {number} [co2_avoided_g]
 */

/**
 * @typedef {object} User
 * @property {string} name
 * @property {string} role viewer, operator, admin or custom
 * @property {string[]} scopes
 * @property {string} csrf
 * @property {number} expires_ms
 * @property {number} [now_ms]
 */

/**
 * A page: what the address shows. `view` is called for every picture drawn and must be cheap.
 * @typedef {object} Page
 * @property {string} title
 * @property {() => unknown} view
 * @property {() => void} [close] end what it started
 * @property {() => HTMLElement | null} [filter] where the key "/" goes
 */

export {};
