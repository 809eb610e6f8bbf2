"""Central's no, or its silence, as a problem: which status each belongs to, in one table."""

from __future__ import annotations

from http import HTTPStatus

from evcharge.net.answers import CentralAway, RequestFailed, RequestRefused, TooManyRequests, Unanswered
from evcharge.sidecar.web.problem import Problem, not_found, unavailable

# When to ask again, in seconds: while the channel is away (the link's first attempts take as long), while too many ask
# already (an answer takes milliseconds), and when everything is taken or Central cannot serve, and has not said when.
RETRY_AWAY_S = 5
RETRY_BUSY_S = 1
RETRY_FULL_S = 30

# What every route that asks Central may refuse with: also a plain no, for a reason that only a newer Central has.
ASKING = (HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)

_NOT_FOUND = HTTPStatus.NOT_FOUND
_CONFLICT = HTTPStatus.CONFLICT
_BAD = HTTPStatus.UNPROCESSABLE_ENTITY
_LATER = HTTPStatus.SERVICE_UNAVAILABLE

# Code of a refusal (SPEC §7.5) → status.
STATUS: dict[str, HTTPStatus] = {
    "unknown_charge_point": _NOT_FOUND,
    "unknown_connector": _NOT_FOUND,
    "unknown_session": _NOT_FOUND,
    "not_your_session": _NOT_FOUND,
    "unknown_substation": _NOT_FOUND,
    "unknown_waiting": _NOT_FOUND,
    "unknown_reservation": _NOT_FOUND,
    "unknown_ticket": _NOT_FOUND,
    "unknown_record": _NOT_FOUND,
    "already_charging": _CONFLICT,
    "out_of_order": _CONFLICT,
    "stopped": _CONFLICT,
    "limited": _CONFLICT,
    "weather": _CONFLICT,
    "disconnected": _CONFLICT,
    "duplicate_id": _CONFLICT,
    "reserved": _CONFLICT,
    "too_many_sessions": _CONFLICT,
    "too_many_reservations": _CONFLICT,
    "energy_out_of_range": _BAD,
    "departure_in_past": _BAD,
    "reservation_out_of_range": _BAD,
    "reading_out_of_range": _BAD,
    "capacity_out_of_range": _BAD,
    "limit_out_of_range": _BAD,
    "weights_out_of_range": _BAD,
    "unknown_kind": _NOT_FOUND,
    "busy": _LATER,
    "no_capacity": _LATER,
    "substation_lost": _LATER,
    "queue_full": _LATER,
    "overloaded": _LATER,
    "draining": _LATER,
    "log_rollback": _LATER,
    "disk_low": _LATER,
    "not_signed": _LATER,
    "log_unreadable": _LATER,
}


# Central's sentences speak of its own messages; where somebody here would look is said in other words.
HERE: dict[str, str] = {
    "unknown_charge_point": "There is no such charge point; GET /api/cps lists them.",
    "unknown_substation": "There is no such substation; GET /substations lists them.",
    "unknown_ticket": "There is no such ticket; GET /api/tickets lists them.",
    "unknown_record": "There is no such record yet, or it was archived; GET /api/audit/state says which there are.",
}


def of_refusal(error: RequestRefused) -> Problem:
    """Central's no, with its own code and sentence; a code that is not known is a plain no (SPEC §7.5)."""
    if error.reason in ("not_your_session", "unknown_session"):
        return no_session()
    if error.reason in HERE:
        return Problem(_NOT_FOUND, error.reason, HERE[error.reason])
    status = STATUS.get(error.reason, _CONFLICT)
    if status is _LATER:
        return unavailable(error.reason, error.sentence, max(1, error.retry_after_s or RETRY_FULL_S))
    return Problem(status, error.reason, error.sentence)


def of_failure(error: RequestFailed) -> Problem:
    """No answer, or none that can be used."""
    if isinstance(error, CentralAway):
        return away()
    if isinstance(error, TooManyRequests):
        return unavailable("busy", "Too many requests wait for Central already; ask again soon.", RETRY_BUSY_S)
    if isinstance(error, Unanswered):
        detail = "Central did not answer in time; whether it did what was asked is not known: look before asking again."
        return Problem(HTTPStatus.GATEWAY_TIMEOUT, "central_timeout", detail)
    return unexpected()


def away() -> Problem:
    """There is no channel to Central."""
    return unavailable("central_away", "Central is away; ask again soon.", RETRY_AWAY_S)


def unexpected() -> Problem:
    """Central answered something that does not belong to the question."""
    detail = "Central's answer was not understood; one of the two programs is probably older."
    return Problem(HTTPStatus.BAD_GATEWAY, "central_answer", detail)


def no_session() -> Problem:
    """Whether it is somebody else's, or nobody's, is nobody's business."""
    return Problem(HTTPStatus.NOT_FOUND, "unknown_session", "You have no open session with this id.")


def no_driver() -> Problem:
    """The client may ask for charges, and nobody would pay."""
    detail = "No driver is registered for this client, so nobody can be charged; its operator has to name one."
    return Problem(HTTPStatus.FORBIDDEN, "no_driver", detail)


def driver_refused() -> Problem:
    """Central will not have the client's driver."""
    detail = "Central does not admit the driver of this client any more; its operator has to register it again."
    return Problem(HTTPStatus.FORBIDDEN, "driver_refused", detail)


def no_such(what: str) -> Problem:
    """What a path names is not there."""
    return not_found(f"There is no such {what}.")
