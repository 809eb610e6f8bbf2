"""SPEC.md against the code: every type, field, code, limit and table that it states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol import channel, codec, frames, handshake
from protocol import messages as m
from protocol.cipher import MAX_SKEW_S, max_body
from protocol.credentials import Role
from protocol.errors import CloseCode, RefuseCode
from protocol.events import Limits
from protocol.states import ALLOWED, FROM_CENTRAL, State

ROOT = Path(__file__).parents[2]
SPEC = (ROOT / "protocol" / "SPEC.md").read_text(encoding="utf-8")
SECTIONS = set(re.findall(r"^#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? ", SPEC, re.MULTILINE))


def section(number: str) -> str:
    """The text of one section."""
    return re.split(rf"^###? {re.escape(number)}\.? ", SPEC, flags=re.MULTILINE)[1].split("\n##")[0]


def rows(text: str) -> list[list[str]]:
    """Table rows as cells."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_every_section_that_the_code_cites_exists() -> None:
    cited = set()
    for path in (ROOT / "protocol").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        for run in re.findall(r"SPEC (§[0-9.]+(?:(?:, |-)§[0-9.]+)*)", text):
            cited |= {number.rstrip(".") for number in re.findall(r"§([0-9.]+)", run)}
    assert len(cited) > 20 and cited <= SECTIONS


@pytest.mark.parametrize(
    ("number", "codes"),
    [
        ("5.4", {code.value: code.name for code in CloseCode}),
        ("5.5", {code.value: code.name for code in RefuseCode}),
        ("4.8", {getattr(channel, name): name for name in ("APP", "KEY_UPDATE", "PING", "PONG", "CLOSE", "READY")}),
    ],
)
def test_codes(number: str, codes: dict[int, str]) -> None:
    stated = {int(row[0]): row[1] for row in rows(section(number)) if row[0].isdigit()}
    assert stated == codes


def test_frame_types() -> None:
    stated = {row[1]: int(row[0], 16) for row in rows(section("3.2")) if row[0].startswith("0x")}
    assert stated == {name: getattr(frames, name) for name in stated} and len(stated) == 7


def test_limits() -> None:
    limits, time = Limits(), {row[0]: row[1] for row in rows(section("5.1"))}
    assert float(time["hello"]) == limits.hello_s and float(time["handshake"]) == limits.handshake_s
    assert int(time["ttl_s"]) == limits.ttl_s and MAX_SKEW_S == 60
    assert int(time["tokens per epoch"].replace(",", "")) == limits.epoch_msgs_max
    assert float(time["ping"]) == limits.ping_s and float(time["dead"]) == limits.dead_s
    assert float(time["channel"].replace(",", "")) == limits.channel_s
    assert f"{max_body(frames.MAX_FRAME):,} bytes" in section("3.1")
    assert f"{frames.MAX_HANDSHAKE_FRAME:,}" in section("3.1")
    for value in (handshake.MAX_RETRY_S,):
        assert f"{value:,}" in section("4.6")


def test_legality_table() -> None:
    stated = {}
    for row in rows(section("7.2")):
        if row[0] in {role.label for role in Role} and len(row) == 3:
            stated[row[0], row[1]] = set(row[2].split(", "))
    assert stated == {
        (role.label, state.name): {codec.tag_of(kind) for kind in legal} for (role, state), legal in ALLOWED.items()
    }
    assert {state.name for state in State} == {"READY", "BOOTED"}
    from_central: dict[str, set[str]] = {role.label: set() for role in FROM_CENTRAL}
    for row in rows(section("7.2").split("What Central may send")[1])[2:]:
        for who in from_central if row[0] == "everyone" else row[0].split(", "):
            from_central[who] |= set(row[1].split(", "))
    assert from_central == {role.label: {codec.tag_of(kind) for kind in legal} for role, legal in FROM_CENTRAL.items()}


VIEWS: dict[str, Any] = {
    "session": m.SessionView,
    "charge point": m.ChargePointView,
    "connector": m.ConnectorView,
    "ticket": m.TicketView,
    "substation": m.SubstationView,
    "totals": m.TotalsView,
    "waiting": m.WaitingView,
    "reservation": m.ReservationView,
    "recommendation": m.RecommendationView,
    "vehicle": m.VehicleView,
    "weights": m.Weights,
    "station": m.StationView,
    "legacy": m.LegacyView,
    "why": m.WhyView,
    "input": m.InputView,
    "rejected": m.RejectedView,
    "audit": m.AuditView,
    "record": m.RecordView,
    "proof": m.ProofView,
    "audit state": m.AuditStateView,
    "checkpoint": m.CheckpointView,
    "assignment": m.AssignmentView,
    "alternative": m.AlternativeView,
    "tail": m.TailView,
    "stored": m.StoredView,
    "changes": m.ChangesView,
    "meter": m.MeterView,
    "plan": m.PlanView,
    "alert": m.AlertView,
}


def fields_of(kind: Any) -> set[str]:
    return set(kind.__struct_encode_fields__)


def shared(kind: type[m.Message]) -> set[str]:
    """Fields that are stated once for all commands."""
    return fields_of(m.Order) if issubclass(kind, m.Order) else set()


def test_what_commands_share() -> None:
    (said,) = re.findall(
        r"^A command of the gateway or of a driver \(([^)]*)\) may also\nhave (.*)$", section("7.3"), re.MULTILINE
    )
    assert set(re.findall(r"`([a-z_]+)`", said[0])) == {
        tag for tag, kind in codec.KNOWN.items() if issubclass(kind, m.Order)
    }
    assert set(re.findall(r"`([a-z_]+)`: word\?", said[1])) == fields_of(m.Order)


def test_every_message_and_field() -> None:
    text = section("7.3")
    stated = {row[0].strip("`"): row[1] for row in rows(text) if row[0].startswith("`")}
    assert set(stated) == set(codec.KNOWN)
    for tag, kind in codec.KNOWN.items():
        if kind in (m.Ticket, m.Update, m.Waiting, m.Reservation):
            continue
        named = set(re.findall(r"`([a-z0-9_]+)`:", stated[tag]))
        inner = fields_of(m.ConnectorInfo) if kind is m.Boot else set()
        assert named == fields_of(kind) - shared(kind) | inner, tag
    views = {row[0]: row[1] for row in rows(text.split("**Views**")[1])}
    for name, kind in VIEWS.items():
        assert set(re.findall(r"`([a-z0-9_]+)`[:,]", views[name])) == fields_of(kind), name


def test_required_and_optional_fields() -> None:
    """A field stated with `?` or `=` has a default in the code, and no other has."""
    stated = {row[0].strip("`"): row[1] for row in rows(section("7.3")) if row[0].startswith("`")}
    for tag, kind in codec.KNOWN.items():
        if kind in (m.Ticket, m.Update, m.Waiting, m.Reservation):
            continue
        for field in msgspec.structs.fields(kind):
            if field.encode_name in shared(kind):
                continue
            said = re.search(rf"`{field.encode_name}`: ([^;|]*)", stated[tag])
            assert said is not None
            optional = "?" in said[1] or " = " in said[1]
            assert optional == (not field.required), (tag, field.name)


def test_samples_of_ranges() -> None:
    text = section("7.1")
    assert f"{m.MAX_W:,}" in text and f"1 to {m.MAX_ID}" in text and f"at most {m.MAX_TEXT}" in text
    assert f"0 to {m.MAX_CONNECTORS}" in text and f"at most {m.MAX_ROWS} rows" in text
