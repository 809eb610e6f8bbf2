"""The checker of the crash drills: nothing is found in a true history, everything in a doctored one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evcharge.audit.files import OsFiles
from evcharge.audit.recovery import recover
from evcharge.domain import commands as c
from evcharge.domain.words import StopCause
from evcharge.ids import SessionId
from evcharge.net.clock import SystemClock
from evcharge.units import WattHours
from protocol import messages as m
from protocol.credentials import Credential, Role, encode_password
from tests.support.scenario import ANNA, BEN, CP, Scenario, charging, connected, request, site
from tools.drill.history import Ack, History, Kind, RecordingClient, read_history
from tools.drill.log_check import LogFacts
from tools.drill.power_trace import delivered_wh

# Small segments: a log of 64 MiB takes its time to look through.
SEGMENT_BYTES = 64 * 1024


def one_charge() -> Scenario:
    """Anna charges 500 Wh at cp-1, Ben is refused meanwhile."""
    scenario = Scenario().given(site(), *connected(), *charging()[:3])
    scenario.given(
        c.ReportStarted(cp_id=CP, session_id=SessionId("s-1"), meter_wh=WattHours(1_000), at_ms=None, n=0),
    )
    scenario.when(request("s-2", driver_id=BEN))
    scenario.given(
        c.ReportEnded(
            cp_id=CP,
            session_id=SessionId("s-1"),
            meter_wh=WattHours(1_500),
            reason=StopCause.TARGET_REACHED,
            at_ms=None,
            n=1,
        )
    )
    return scenario


def told() -> list[Ack]:
    """What Anna, Ben and the charge point were told of it."""

    def ack(peer: str, kind: Kind, **fields: Any) -> Ack:
        return Ack(at_s=0.0, peer=peer, kind=kind, **fields)

    return [
        ack(CP, "channel", number=1),
        ack(ANNA, "channel", number=2),
        ack(ANNA, "asked", number=1),
        ack(ANNA, "granted", number=1, session="s-1"),
        ack(ANNA, "news", session="s-1", text="SUPPLYING"),
        ack(CP, "order", number=1, session="s-1", text="Authorize"),
        ack(CP, "order", number=2, session="s-1", text="StartSupply"),
        ack(CP, "outbox", number=0, epoch=7),
        ack(BEN, "asked", number=1),
        ack(BEN, "refused", number=1, text="busy"),
        ack(CP, "outbox", number=1, epoch=7),
        ack(CP, "next_n", number=2, epoch=7),
        ack(ANNA, "ticket", session="s-1", text="t-s-1", energy_wh=500, amount_minor=15),
    ]


def written(scenario: Scenario, folder: Path) -> Path:
    """The scenario's events as a real log of two lives of Central: the second one knows that the first is durable."""
    for part in (scenario.log[:3], scenario.log[3:]):
        journal = recover(folder, OsFiles(), lambda _seq, _body: None, segment_bytes=SEGMENT_BYTES)
        for body in part:
            journal.append(body)
        journal.close()
    return folder


def checked(scenario: Scenario, folder: Path, acks: Sequence[Ack], meter_wh: int = 500) -> dict[str, int]:
    """What the checker finds, by kind."""
    facts = LogFacts.read(written(scenario, folder))
    facts.compare(acks)
    facts.settle({CP: meter_wh}, acks)
    return facts.findings.counts


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    scenario = one_charge()
    assert checked(scenario, tmp_path / "log", told()) == {}
    facts = LogFacts.read(tmp_path / "log")
    assert facts.compare(told()) == len(told()) - 2, "requests are no acknowledgements"
    assert facts.energy_wh() == 500
    assert facts.state_hash() == LogFacts.read(tmp_path / "log").state_hash()


@pytest.mark.parametrize(
    ("kind", "change", "found"),
    [
        ("granted", {"session": "s-9"}, "lost"),
        ("granted", {"peer": BEN}, "lost"),
        ("news", {"text": "EXPIRED"}, "lost"),
        ("news", {"session": "s-9"}, "lost"),
        ("order", {"number": 77}, "lost"),
        ("outbox", {"number": 2}, "lost"),
        ("outbox", {"epoch": 8}, "lost"),
        ("next_n", {"number": 3}, "lost"),
        ("refused", {"text": "out_of_order"}, "lost"),
        ("asked", {"peer": "cleo"}, "doubled"),
        ("ticket", {"session": "s-9"}, "lost_ticket"),
        ("ticket", {"energy_wh": 501}, "doubled_ticket"),
        ("ticket", {"amount_minor": 16}, "doubled_ticket"),
        ("ticket", {"adjustments": [5]}, "doubled_ticket"),
        ("channel", {"number": 0}, "fence"),
    ],
)
def test_an_acknowledgement_that_the_log_does_not_have(
    kind: Kind, change: dict[str, Any], found: str, tmp_path: Path
) -> None:
    acks = told()
    place = next(number for number, ack in enumerate(acks) if ack.kind == kind)
    acks[place] = msgspec.structs.replace(acks[place], **change)
    assert checked(one_charge(), tmp_path / "log", acks).get(found, 0) >= 1


def test_a_record_that_was_lost(tmp_path: Path) -> None:
    """Whatever is missing at the end of the log, somebody was told of it."""
    scenario = one_charge()
    whole = list(scenario.log)
    for kept in range(3, len(whole)):
        scenario.log = whole[:kept]
        assert checked(scenario, tmp_path / str(kept), told()), f"{len(whole) - kept} records less and nothing found"


def test_a_refusal_that_goes_into_no_log_is_not_missed(tmp_path: Path) -> None:
    more = [Ack(at_s=0.0, peer=BEN, kind="asked", number=2), Ack(at_s=0.0, peer=BEN, kind="refused", text="draining")]
    assert checked(one_charge(), tmp_path / "log", [*told(), *more]) == {}


def test_a_doubled_ticket(tmp_path: Path) -> None:
    scenario = one_charge()
    scenario.log.append(next(body for body in scenario.log if b"ticket_issued" in body))
    facts = LogFacts.read(written(scenario, tmp_path / "log"))
    assert facts.findings.counts["doubled_ticket"] == 1


def test_a_session_without_ticket_is_lost_and_stuck(tmp_path: Path) -> None:
    scenario = Scenario().given(site(), *connected(), *charging())
    found = checked(scenario, tmp_path / "log", [], meter_wh=0)
    assert found["lost_ticket"] == 1
    assert found["stuck"] == 1


def test_energy_has_to_agree(tmp_path: Path) -> None:
    assert checked(one_charge(), tmp_path / "log", told(), meter_wh=499) == {"energy": 1}


def test_steady_time_that_goes_back_is_found(tmp_path: Path) -> None:
    scenario = one_charge()
    scenario.clock_ms -= 1
    scenario.given(request("s-3"))
    facts = LogFacts.read(written(scenario, tmp_path / "log"))
    assert facts.findings.counts == {"clock_back": 1}


def test_a_damaged_log_is_found(tmp_path: Path) -> None:
    file = next(written(one_charge(), tmp_path / "log").glob("audit-*.log"))
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    assert LogFacts.read(tmp_path / "log").findings.counts == {"damaged": 1}


# --- the history --------------------------------------------------------------------------------------------------


class Witness:
    """A listener that looks whether what it is told is on file already."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.on_file: list[list[Ack]] = []

    def channel_up(self, info: object) -> None:
        """Part of ``Listener``."""

    def channel_down(self, why: str) -> None:
        """Part of ``Listener``."""

    def message(self, message: m.Message) -> None:  # part of the interface
        """Part of ``Listener``."""
        self.on_file.append(list(read_history(self._file)))


async def test_what_central_says_is_on_file_before_anybody_acts_on_it(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    witness = Witness(tmp_path / "history.jsonl")
    credential = Credential(
        username="cp",
        password=encode_password(bytes(32)),
        role=Role.CP,
        entity="cp-1",
        epoch=1,
        central_public_key=bytes(32),
    )
    client = RecordingClient(
        credential,
        "127.0.0.1",
        1,
        history=history,
        clock=SystemClock(),
        listener=witness,
        boot_id=bytes(16),
        outbox_epoch=7,
    )
    client.take(m.Ack(n=4))
    client.take(m.StopSupply(command_id=9, fence=1, connector=1, reason="fault", session_id="s-1"))
    client.take(m.Ack(re=None, time_ms=1))
    history.close()
    assert [(ack.kind, ack.number, ack.epoch) for ack in witness.on_file[0]] == [("outbox", 4, 7)]
    assert [(ack.kind, ack.number, ack.session) for ack in witness.on_file[1][1:]] == [("order", 9, "s-1")]
    assert len(witness.on_file[2]) == 2, "a heartbeat's ack promises nothing"


def test_a_history_that_was_cut_ends_before_the_cut(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for number in (1, 2):
        history = History(file)
        history.note("cp-1", "outbox", number=number)
        history.close()
    file.write_bytes(file.read_bytes()[:-3])
    assert [ack.number for ack in read_history(file)] == [1]
    file.write_bytes(b"nonsense\n")
    with pytest.raises(ValueError, match=r"history\.jsonl:1: not a line"):
        list(read_history(file))


# --- true energy --------------------------------------------------------------------------------------------------


def trace(folder: Path, *points: tuple[int, str, int]) -> Path:
    file = folder / "trace"
    lines = [json.dumps({"t": at_ms, "cp": cp_id, "c": 1, "w": watts}) for at_ms, cp_id, watts in points]
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_true_energy_ends_at_a_kill(tmp_path: Path) -> None:
    hour = 3_600_000
    file = trace(tmp_path, (0, "a", 0), (hour, "a", 1_000), (hour, "b", 500), (4 * hour, "a", 0), (4 * hour, "b", 200))
    assert delivered_wh(file, [], 5 * hour) == 3_000 + 1_500 + 200
    assert delivered_wh(file, [2 * hour], 5 * hour) == 1_000 + 500 + 200
    assert delivered_wh(file, [hour // 2, 2 * hour, 4 * hour + hour // 2], 5 * hour) == 1_000 + 500 + 100
