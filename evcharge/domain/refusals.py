"""Why Central says no: a code for programs, a sentence for people, made when it is shown."""

from __future__ import annotations

from enum import StrEnum


class RefusalReason(StrEnum):
    """Codes of ``refused`` (SPEC §7.5)."""

    UNKNOWN_CHARGE_POINT = "unknown_charge_point"
    UNKNOWN_CONNECTOR = "unknown_connector"
    BUSY = "busy"
    ALREADY_CHARGING = "already_charging"
    OUT_OF_ORDER = "out_of_order"
    STOPPED = "stopped"
    LIMITED = "limited"
    WEATHER = "weather"
    DISCONNECTED = "disconnected"
    DUPLICATE_ID = "duplicate_id"
    ENERGY_OUT_OF_RANGE = "energy_out_of_range"
    DEPARTURE_IN_PAST = "departure_in_past"
    TOO_MANY_SESSIONS = "too_many_sessions"
    NO_CAPACITY = "no_capacity"
    SUBSTATION_LOST = "substation_lost"
    RESERVED = "reserved"
    QUEUE_FULL = "queue_full"
    RESERVATION_OUT_OF_RANGE = "reservation_out_of_range"
    TOO_MANY_RESERVATIONS = "too_many_reservations"
    UNKNOWN_WAITING = "unknown_waiting"
    UNKNOWN_RESERVATION = "unknown_reservation"
    UNKNOWN_SESSION = "unknown_session"
    NOT_YOUR_SESSION = "not_your_session"
    UNKNOWN_SUBSTATION = "unknown_substation"
    READING_OUT_OF_RANGE = "reading_out_of_range"
    CAPACITY_OUT_OF_RANGE = "capacity_out_of_range"
    LIMIT_OUT_OF_RANGE = "limit_out_of_range"
    WEIGHTS_OUT_OF_RANGE = "weights_out_of_range"
    OUTBOX_GAP = "outbox_gap"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    LOG_ROLLBACK = "log_rollback"
    DISK_LOW = "disk_low"
    UNKNOWN_TICKET = "unknown_ticket"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_RECORD = "unknown_record"
    NOT_SIGNED = "not_signed"
    LOG_UNREADABLE = "log_unreadable"


_SENTENCES = {
    RefusalReason.UNKNOWN_CHARGE_POINT: "There is no charge point {subject}; `list` shows those there are.",
    RefusalReason.UNKNOWN_CONNECTOR: "{subject} has no such connector; `list` shows its connectors.",
    RefusalReason.BUSY: "{subject} is in use; try another one, or again when it is free.",
    RefusalReason.ALREADY_CHARGING: "Your own session has {subject} already; plug in there if it has not begun.",
    RefusalReason.OUT_OF_ORDER: "{subject} is out of order; try another one.",
    RefusalReason.STOPPED: "{subject} was taken out of service by the operator; try another one.",
    RefusalReason.LIMITED: "An operator limits {subject} to less than it charges with; try another one.",
    RefusalReason.WEATHER: "{subject} is closed for the weather; try another one, or again when that is over.",
    RefusalReason.DISCONNECTED: "{subject} is not connected at the moment; try another one, or again soon.",
    RefusalReason.DUPLICATE_ID: "Two programs use the credential of {subject}; its operator has to stop one.",
    RefusalReason.ENERGY_OUT_OF_RANGE: "Ask for more than 0 and at most 1,000 kWh.",
    RefusalReason.DEPARTURE_IN_PAST: "The departure lies in the past; give a later one or leave it out.",
    RefusalReason.TOO_MANY_SESSIONS: "This account has as many open sessions as it may have; end one first.",
    RefusalReason.NO_CAPACITY: "The substation of {subject} cannot serve one more vehicle now; try again later.",
    RefusalReason.SUBSTATION_LOST: "What feeds {subject} has failed; try another one, or again soon.",
    RefusalReason.RESERVED: "{subject} is reserved for somebody else; depart before that begins, or try another one.",
    RefusalReason.QUEUE_FULL: "As many wait at this site as may; try again later.",
    RefusalReason.RESERVATION_OUT_OF_RANGE: (
        "A reservation begins in the future, at most 7 days ahead, and lasts from 1 minute to 24 hours."
    ),
    RefusalReason.TOO_MANY_RESERVATIONS: (
        "No more connectors are kept free for you now; give one of those back, or try again later."
    ),
    RefusalReason.UNKNOWN_WAITING: "You do not wait as {subject}; `queue` shows where you wait.",
    RefusalReason.UNKNOWN_RESERVATION: "You have no reservation {subject}; `reservations` shows those you have.",
    RefusalReason.UNKNOWN_SESSION: "There is no open session {subject}; `tickets` shows those that ended.",
    RefusalReason.NOT_YOUR_SESSION: "Session {subject} belongs to someone else.",
    RefusalReason.UNKNOWN_SUBSTATION: "There is no substation {subject}.",
    RefusalReason.READING_OUT_OF_RANGE: "The reading {subject} cannot be true; it was not used.",
    RefusalReason.CAPACITY_OUT_OF_RANGE: "A capacity is between 0 and 1,000,000 kW.",
    RefusalReason.LIMIT_OUT_OF_RANGE: "A limit is between 0 and 10,000 kW; null lifts it.",
    RefusalReason.WEIGHTS_OUT_OF_RANGE: "The four weights are shares of 1: their sum has to be 1.",
    RefusalReason.OUTBOX_GAP: "Outbox item {subject} came out of order; send from the number that Central expects.",
    RefusalReason.OVERLOADED: "Central has too much to do right now; try again in a second.",
    RefusalReason.DRAINING: "Central is going down on purpose; try again in a minute.",
    RefusalReason.LOG_ROLLBACK: "Central's log is older than a witness remembers; the operator has to look at it.",
    RefusalReason.DISK_LOW: "Central's disk is nearly full: its operator has to free some room; try again later.",
    RefusalReason.UNKNOWN_TICKET: "There is no ticket {subject}, or its driver has had many since; the log has all.",
    RefusalReason.UNKNOWN_KIND: "There is no kind of record {subject}; kinds are names of events in snake case.",
    RefusalReason.UNKNOWN_RECORD: "There is no record {subject} here; `audit_state` shows from which to which.",
    RefusalReason.NOT_SIGNED: "Record {subject} is not signed yet; ask again in a second.",
    RefusalReason.LOG_UNREADABLE: "The log cannot be read at {subject}; `evcharge-audit doctor` says what is wrong.",
}

_ANYWHERE = {
    RefusalReason.BUSY: "No charge point that is well (its substation too) is free and has no vehicle (name the one "
    "where yours stands)",
    RefusalReason.NO_CAPACITY: "No substation can serve one more vehicle now",
    RefusalReason.SUBSTATION_LOST: "All substations that have a free charge point have failed",
}


def sentence(reason: RefusalReason, subject: str = "", retry_after_s: int | None = None) -> str:
    """One sentence that says what to do; ``subject`` is what was asked for, ``*`` any charge point."""
    if subject == "*" and reason in _ANYWHERE:
        return f"{_ANYWHERE[reason]}; try again {'later' if retry_after_s is None else f'in {retry_after_s} s'}."
    if not subject and reason is RefusalReason.UNKNOWN_SESSION:
        return "You have no open session; `tickets` shows those that ended, `queue` where you wait."
    return _SENTENCES[reason].format(subject=subject or "it")
