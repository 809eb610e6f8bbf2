"""What follows from each outcome, and the signature that receivers check."""

from __future__ import annotations

import base64
import hashlib
import hmac
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.authority.retry import Dead, Delivered, Later, Outcome, after
from evcharge.sidecar.authority.rules import bad_station, bad_token, station_key
from evcharge.sidecar.authority.settings import AuthoritySettings
from evcharge.sidecar.authority.signing import parse_secrets, signed

SETTINGS = AuthoritySettings()
NOW_MS = 1_763_683_200_000


def then(status: int | None, tries: int = 1, random: float = 0.5, retry_after: str | None = None) -> object:
    said = "timeout" if status is None else str(status)
    return after(Outcome(said, status, retry_after), tries, NOW_MS, random, SETTINGS)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_what_arrived(status: int) -> None:
    assert all(then(status, tries) == Delivered() for tries in (1, 4))


@pytest.mark.parametrize("status", [400, 404, 409, 410, 451, 499])
def test_what_is_refused_for_good(status: int) -> None:
    assert then(status) == Dead()


@pytest.mark.parametrize("status", [None, 100, 301, 307, 408, 425, 429, 500, 502, 503, 599])
def test_what_may_heal_is_tried_three_times_more(status: int | None) -> None:
    assert [then(status, tries) for tries in (1, 2, 3)] == [Later(NOW_MS + ms) for ms in (1_500, 7_500, 37_500)]
    assert then(status, 4) == Dead()


def test_a_target_that_may_not_be_called_is_dead_at_once() -> None:
    assert after(Outcome("refused"), 1, NOW_MS, 0.5, SETTINGS) == Dead()
    assert after(Outcome("dns"), 1, NOW_MS, 0.5, SETTINGS) != Dead()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        (" 7 ", 7),
        ("300", 300),
        ("301", 300),
        ("999999999", 300),
        ("9" * 5000, 0),
        ("-5", 0),
        ("7.5", 0),
        ("soon", 0),
        ("", 0),
        ("٣", 0),
        (formatdate(NOW_MS / 1000 + 60, usegmt=True), 60),
        (formatdate(NOW_MS / 1000 - 60, usegmt=True), 0),
        (formatdate(NOW_MS / 1000 + 9_999, usegmt=True), 300),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("Fri, 99 Dec 2025 23:59:59 GMT", 0),
        ("Fri, 21 Nov 2025 00:00:30 -0000", 30),
    ],
)
def test_retry_after(header: str, seconds: int) -> None:
    assert then(503, 1, 0.0, header) == Later(NOW_MS + max(1, seconds) * 1000), "half of two seconds at least"


@given(
    st.integers(100, 599) | st.none(),
    st.integers(1, 9),
    st.floats(0, 1, exclude_max=True),
    st.text(max_size=40) | st.none(),
)
def test_a_next_try_is_never_in_the_past_nor_far_away(
    status: int | None, tries: int, random: float, header: str | None
) -> None:
    said = then(status, tries, random, header)
    if isinstance(said, Later):
        assert tries <= SETTINGS.retries
        assert NOW_MS + 1_000 <= said.at_ms <= NOW_MS + SETTINGS.retry_after_s * 1000


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # The example of the specification's own libraries.
    (secret,) = parse_secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    head = signed([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, b'{"test": 2432232314}')
    assert head == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_two_secrets_sign_side_by_side() -> None:
    head = signed([b"new" * 8, b"old" * 8], "r", 5_999, b"{}")
    assert head["webhook-timestamp"] == "5"
    wanted = [
        "v1," + base64.b64encode(hmac.digest(secret, b"r.5.{}", hashlib.sha256)).decode()
        for secret in (b"new" * 8, b"old" * 8)
    ]
    assert head["webhook-signature"].split(" ") == wanted


def test_secrets_of_an_environment_variable() -> None:
    words = ["whsec_" + base64.b64encode(bytes([number]) * 24).decode() for number in range(5)]
    assert parse_secrets(f" {words[0]}  {words[1]}\n") == (bytes(24), b"\1" * 24)
    short = "whsec_" + base64.b64encode(b"x" * 23).decode()
    long = "whsec_" + base64.b64encode(b"x" * 65).decode()
    for text in ("", words[0][6:], "whsec_****", "whsec_", short, long, " ".join(words)):
        with pytest.raises(ValueError, match="signing secret") as error:
            parse_secrets(text)
        assert len(text) < 8 or text not in str(error.value)


@given(st.uuids(), st.booleans(), st.booleans())
def test_a_uuid_is_one_station_however_it_is_written(station: object, upper: bool, hyphens: bool) -> None:
    text = str(station).upper() if upper else str(station)
    text = text if hyphens else text.replace("-", "")
    assert bad_station(text) is None
    assert station_key(text) == str(station).replace("-", "")


@given(st.text("0123456789abcdefABCDEFxyz", min_size=36, max_size=36))
def test_letters_and_digits_are_a_station_of_their_own(text: str) -> None:
    assert bad_station(text) is None and station_key(text) == text


@given(st.text(max_size=90))
def test_any_text_is_a_token_or_is_not(text: str) -> None:
    fits = 20 <= len(text) <= 80 and set(text) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-"
    )
    assert (bad_token(text) is None) == fits
