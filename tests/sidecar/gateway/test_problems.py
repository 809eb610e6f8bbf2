"""Each no of Central, and each silence, has its status."""

from __future__ import annotations

import pytest

from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.net.answers import BadAnswer, CentralAway, RequestRefused, TooManyRequests, Unanswered
from evcharge.sidecar.gateway.problems import HERE, STATUS, of_refusal
from tests.sidecar.gateway.support import FakeLink, Http, served

# A charge point's own business: no client of the gateway can be told so.
NOT_FOR_CLIENTS = {RefusalReason.OUTBOX_GAP}


def test_every_code_of_central_is_in_the_table() -> None:
    assert set(STATUS) == {reason.value for reason in set(RefusalReason) - NOT_FOR_CLIENTS}


@pytest.mark.parametrize("reason", sorted(set(RefusalReason) - NOT_FOR_CLIENTS))
def test_centrals_sentence_is_shown_and_later_says_when(reason: RefusalReason) -> None:
    said = sentence(reason, "X")
    problem = of_refusal(RequestRefused(reason.value, said, 7))
    assert problem.headers == ({"Retry-After": "7"} if problem.status == 503 else {})
    if reason in (RefusalReason.UNKNOWN_SESSION, RefusalReason.NOT_YOUR_SESSION):
        assert (problem.status, problem.code, "X" in problem.detail) == (404, "unknown_session", False)
    else:
        shown = HERE.get(reason.value, said)
        assert (problem.status, problem.code, problem.detail) == (STATUS[reason.value], reason.value, shown)


def test_a_wait_that_central_does_not_know_or_that_is_over_is_still_one() -> None:
    for told, header in ((None, "30"), (0, "30"), (-5, "1")):
        assert of_refusal(RequestRefused("busy", "s", told)).headers == {"Retry-After": header}


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (CentralAway("secret"), 503, "central_away", "5"),
        (TooManyRequests("secret"), 503, "busy", "1"),
        (Unanswered("secret"), 504, "central_timeout", None),
        (BadAnswer("secret"), 502, "central_answer", None),
        (RequestRefused("of_a_newer_central", "Not now."), 409, "of_a_newer_central", None),
    ],
)
@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/orchestrator/recommend?battery_percent=50"),
        ("GET", "/optimize-charging"),
        ("GET", "/substations"),
        ("GET", "/api/cps/CP-1"),
        ("POST", "/api/cps/stop"),
        ("POST", "/api/cps/CP-1/resume"),
        ("GET", "/api/sessions/s-1"),
        ("GET", "/api/sessions/s-1/why"),
        ("GET", "/api/tickets"),
    ],
)
async def test_no_answer_is_no_secret(
    link: FakeLink, http: Http, asked: tuple[str, str], error: Exception, status: int, code: str, retry: str | None
) -> None:
    link.fail(error)
    got, body, headers = await http.ask(*asked)
    assert (got, body["code"], headers.get("Retry-After")) == (status, code, retry)
    assert "secret" not in str(body)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/orchestrator/recommend?battery_percent=50"),
        ("GET", "/grid-load"),
        ("GET", "/substations"),
        ("GET", "/api/cps"),
        ("GET", "/api/cps/CP-1"),
        ("POST", "/api/cps/CP-1/stop"),
        ("POST", "/api/cps/resume"),
        ("GET", "/api/sessions"),
        ("GET", "/api/sessions/s-1"),
        ("GET", "/api/tickets"),
    ],
)
async def test_an_answer_without_what_was_asked_for_is_502(http: Http, method: str, path: str) -> None:
    assert await http.refusal(method, path) == (502, "central_answer")


async def test_a_sidecar_without_a_central_says_so() -> None:
    async with served(None, None) as http:
        assert await http.refusal("GET", "/grid-load") == (503, "central_away")
        assert await http.refusal("DELETE", "/sessions/s-1") == (403, "no_driver")
        assert await http.get("/status") == {"version": "1.2.3", "central": "unset", "totals": None}
