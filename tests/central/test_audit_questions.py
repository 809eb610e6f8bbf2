"""The log as a gateway sees it, over the wire: pages, proofs that hold anywhere, and a disk that does what it likes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from evcharge.audit import pages, recovery
from evcharge.audit.checkpoints import CHECKPOINTS
from evcharge.audit.lines import line_of
from evcharge.audit.note import Checkpoint, Note, Verifier, open_checkpoint
from evcharge.audit.pages import Found
from evcharge.audit.record import MAX_BODY, Record, encode
from evcharge.audit.segments import list_segments
from evcharge.audit.tree import TreeDamaged
from evcharge.central import service
from evcharge.central.translate import audit
from evcharge.cli.audit import cli
from evcharge.domain import commands as c
from evcharge.domain import events as e
from evcharge.net.client import RequestRefused
from protocol import codec
from protocol import messages as m
from protocol.cipher import max_body
from protocol.frames import MAX_FRAME
from tests.support.central import DiskInHand, Site, WirePeer, until

FITS = max_body(MAX_FRAME)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few records each, so that every log here has several; and no marks between a question and a look at the log."""
    assert recovery.recover.__kwdefaults__ is not None
    monkeypatch.setitem(recovery.recover.__kwdefaults__, "segment_bytes", 2_048)
    monkeypatch.setattr(service, "MARK_AFTER_S", 3_600.0)


async def page(peer: WirePeer, **fields: Any) -> m.AuditView:
    reply = await peer.ask(m.AuditPage(id=0, **fields))
    assert isinstance(reply.audit, m.AuditView)
    return reply.audit


async def whole(peer: WirePeer, **fields: Any) -> list[m.RecordView]:
    """All pages, one after the other."""
    found: list[m.RecordView] = []
    while True:
        view = await page(peer, **fields)
        found += view.rows
        if view.next_seq is None:
            return found
        fields["before_seq" if fields.get("tail") else "after_seq"] = view.next_seq


async def proof(peer: WirePeer, seq: int) -> m.ProofView:
    """The proof of a record, its body put together."""
    pieces: list[m.ProofView] = []
    start: int | None = 0
    while start is not None:
        reply = await peer.ask(m.AuditProof(id=0, seq=seq, body_from=start))
        assert isinstance(reply, m.Reply) and reply.proof is not None
        assert len(codec.encode(reply)) <= FITS
        pieces.append(reply.proof)
        start = reply.proof.next_from
    return msgspec.structs.replace(pieces[-1], body="".join(one.body for one in pieces))


async def signed(site: Site) -> None:
    """Everything so far is durable and signed: those who wait for a second need not."""
    await site.settled()
    journal, attestor = site.central._journal, site.central._attestor
    with journal._wake:
        # The writer signs, to whom the checkpoints belong: only its second is not waited for.
        attestor.checkpoints._made_s = float("-inf")
        journal._wake.notify()
    await until(lambda: attestor.tree.size == journal.last and not attestor.checkpoints.unsigned)


def size_of(note: bytes) -> int:
    return Checkpoint.parse(Note.parse(note).text).size


def key_of(site: Site) -> Verifier:
    (key,) = site.central._attestor.keys
    return key


def shown_by_check(site: Site, found: m.ProofView, where: Path) -> Any:
    """What ``evcharge-audit check-proof`` says of exactly this, with the log's key and no log."""
    where.write_bytes(msgspec.json.encode(found))
    ran = CliRunner().invoke(cli, ["check-proof", str(where), "--key", str(key_of(site)), "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


# --- pages ---------------------------------------------------------------------------------------------------------


async def test_all_pages_are_the_durable_log(site: Site) -> None:
    _, driver, session_id = await site.charging()
    await driver.ask(m.EndCharge(id=0, session_id=session_id))
    operator = await site.operator()
    await site.settled()
    last = site.central._journal.durable
    assert len(list_segments(site.central.log_dir, site.disk)[0]) > 1
    for limit in (1, 7, 100):
        rows = await whole(operator, limit=limit, before_seq=last + 1)
        assert [row.seq for row in rows] == list(range(1, last + 1))
    backwards = await whole(operator, limit=7, tail=True, before_seq=last + 1)
    assert backwards == rows[::-1]
    for row, record in zip(rows, site.history.records, strict=False):
        assert row.body_bytes == len(record.body)
        assert row.leaf_hash == site.central._attestor.tree.leaf(row.seq).hex()
    (granted,) = [row for row in rows if row.kind == "charge_authorized"]
    assert (granted.actor, granted.source, granted.at_ms) == ("driver:anna", "127.0.0.1", site.clock.site_ms())
    assert granted.details is not None
    assert json.loads(granted.details)["session_id"] == session_id


async def test_the_newest_come_first_with_tail(site: Site) -> None:
    operator = await site.operator()
    await site.settled()
    view = await page(operator, tail=True, limit=3)
    assert [row.seq for row in view.rows] == [view.newest_seq, view.newest_seq - 1, view.newest_seq - 2]
    assert (view.next_seq, view.first_seq) == (view.newest_seq - 2, 1)
    newest = view.newest_seq
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=20_000))
    (row,) = await whole(operator, after_seq=newest, kind="capacity_changed")
    assert row.actor == "operator:sidecar"


async def test_records_of_a_session_a_charge_point_a_kind(site: Site) -> None:
    _, _, session_id = await site.charging()
    await site.charging("CP-2", "ben")
    operator = await site.operator()
    mine = await whole(operator, session_id=session_id, limit=2)
    assert {"charge_authorized", "supply_started"} <= {row.kind for row in mine}
    assert all(session_id in (row.details or "") for row in mine)
    theirs = await whole(operator, cp_id="CP-2")
    assert {"peer_connected", "charge_point_booted", "charge_authorized"} <= {row.kind for row in theirs}
    assert not any("CP-1" in (row.details or "") for row in theirs)
    assert {row.seq for row in mine}.isdisjoint(row.seq for row in theirs)
    (booted,) = await whole(operator, cp_id="CP-2", kind="charge_point_booted")
    assert booted in theirs
    assert {row.kind for row in await whole(operator, kind="mark")} == {"mark"}
    assert await whole(operator, session_id="s-nobody") == []


async def test_an_answer_may_have_no_rows_and_go_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "SCAN_RECORDS", 2)
    await site.charging()
    operator = await site.operator()
    view = await page(operator, kind="supply_started")
    assert (view.rows, view.next_seq) == ([], 2)
    assert [row.kind for row in await whole(operator, kind="supply_started")] == ["supply_started"]
    assert [row.kind for row in await whole(operator, kind="supply_started", tail=True)] == ["supply_started"]


async def test_what_is_not_durable_is_not_shown(site: Site) -> None:
    operator = await site.operator()
    await site.settled()
    durable = site.central._journal.durable
    site.disk.hold()
    operator.send(m.SetCapacity(id=1, substation_id="site", capacity_w=20_000))
    await until(lambda: site.disk.waiting)
    assert site.central._journal.last > durable
    view = await page(operator, tail=True, limit=1)
    assert (view.newest_seq, view.rows[0].seq) == (durable, durable)
    assert await whole(operator, after_seq=durable, before_seq=durable + 100) == []
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.AuditProof(id=0, seq=durable + 1))
    assert no.value.reason == "unknown_record"
    site.disk.release()
    await until(lambda: site.central._journal.durable > durable)
    assert (await page(operator, after_seq=durable)).rows


async def test_long_records_fit_in_frames(site: Site) -> None:
    """What is too long for a page says so; many that are nearly so come in more pages."""
    for size in (audit.MOST_DETAILS - 100, audit.MOST_DETAILS - 200, audit.MOST_DETAILS - 300, 100_000, 10):
        site.central._engine.execute(c.RaiseIncident(code="long", detail="x" * size))
    operator = await site.operator()
    await site.settled()
    assert (await page(operator, kind="incident_raised")).next_seq is not None
    for tail in (False, True):
        rows = await whole(operator, kind="incident_raised", tail=tail)
        lengths = [None if row.details is None else len(json.loads(row.details)["detail"]) for row in rows]
        expected = [audit.MOST_DETAILS - 100, audit.MOST_DETAILS - 200, audit.MOST_DETAILS - 300, None, 10]
        assert lengths == (expected[::-1] if tail else expected)
    assert not operator.downs


@given(
    head=st.sampled_from([b"", b"\x93", b"\x93\xa1k\x01", b"\x93\xa1k\x01\x81\xa4data"]),
    rest=st.binary(max_size=300),
    kind=st.text(max_size=200),
    values=st.recursive(
        st.none() | st.floats() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 9) | st.binary(), inner),
    ),
)
def test_whatever_stands_in_a_log_is_a_row_that_fits(head: bytes, rest: bytes, kind: str, values: object) -> None:
    """Of a log that somebody has changed, too: nothing in it stops Central or the channel."""
    stamp = {"at_ms": 1, "actor": kind * 300, "source": kind * 300, "data": {"all": values}}
    for body in (head + rest, msgspec.msgpack.encode((kind, 1, stamp))):
        record = Record(2**53 - 1, 0, body, bytes(32), 0)
        row = audit._row(Found(record, line_of(record), bytes(32)))
        reply = m.Reply(re="r" * m.MAX_ID, audit=m.AuditView(rows=[row], newest_seq=2**53 - 1))
        assert len(codec.encode(reply)) <= FITS
        assert row.details is None or json.loads(row.details) is not None


# --- proofs --------------------------------------------------------------------------------------------------------


async def test_a_proof_over_the_channel_holds_anywhere(site: Site, tmp_path: Path) -> None:
    """Every record of a charge: checked by the command that has no log and only the key."""
    _, _, session_id = await site.charging()
    operator = await site.operator()
    await signed(site)
    for row in await whole(operator, session_id=session_id):
        found = await proof(operator, row.seq)
        said = shown_by_check(site, found, tmp_path / "proof.json")
        assert said["ok"] and said["shows"] == "inclusion" and said["seq"] == row.seq
        assert said["size"] == size_of(site.central._attestor.checkpoints.newest)
    spoilt = msgspec.structs.replace(found, seq=found.seq - 1)
    (tmp_path / "proof.json").write_bytes(msgspec.json.encode(spoilt))
    ran = CliRunner().invoke(cli, ["check-proof", str(tmp_path / "proof.json"), "--key", str(key_of(site))])
    assert ran.exit_code == 1


async def test_it_is_what_prove_writes(site: Site) -> None:
    operator = await site.operator()
    await signed(site)
    found = await proof(operator, 2)
    ran = CliRunner().invoke(cli, ["prove", str(site.central.log_dir), "2"])
    assert json.loads(ran.stdout) == json.loads(msgspec.json.encode(found))


async def test_the_largest_record_comes_in_pieces(site: Site, tmp_path: Path) -> None:
    detail = "y" * (MAX_BODY - 200)
    site.central._engine.execute(c.RaiseIncident(code="large", detail=detail))
    operator = await site.operator()
    (row,) = await whole(operator, kind="incident_raised")
    assert row.details is None and row.body_bytes > MAX_BODY - 200
    await signed(site)
    assert shown_by_check(site, await proof(operator, row.seq), tmp_path / "proof.json")["seq"] == row.seq
    beyond = await operator.ask(m.AuditProof(id=0, seq=row.seq, body_from=1 << 40))
    assert (beyond.proof.body, beyond.proof.next_from) == ("", None)


def test_a_piece_with_the_longest_proof_fits() -> None:
    """64 hashes, a checkpoint of 4 KiB, the longest names."""
    view = m.ProofView(
        type="evcharge inclusion 1",
        seq=2**53 - 1,
        durable=2**53 - 2,
        body="x" * audit.BODY_PIECE,
        proof=["h" * 44] * 64,
        checkpoint="c" * 4_096,
        next_from=2**53 - 1,
    )
    assert len(codec.encode(m.Reply(re="r" * m.MAX_ID, proof=view))) <= FITS


async def test_what_is_not_signed_yet_will_be_in_a_second(site: Site) -> None:
    operator = await site.operator()
    await signed(site)
    newest = site.central._attestor.checkpoints.newest
    site.central._attestor.signing = False
    await operator.ask(m.SetCapacity(id=0, substation_id="site", capacity_w=20_000))
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.AuditProof(id=0, seq=site.central._journal.durable))
    assert (no.value.reason, no.value.retry_after_s) == ("not_signed", 1)
    assert site.central._attestor.checkpoints.newest == newest
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.AuditProof(id=0, seq=0))
    assert no.value.reason == "unknown_record"


async def test_the_state_of_the_log(site: Site) -> None:
    operator = await site.operator()
    await signed(site)
    state = (await operator.ask(m.AuditState(id=0))).audit_state
    assert (state.newest_seq, state.first_seq, state.suspect) == (site.central._journal.durable, 1, False)
    # A new log: one mark was all that the start could check.
    assert (state.verified_from, state.verified_to) == (1, 1)
    note = state.checkpoint.note.encode()
    told = open_checkpoint(note, [Verifier.parse(state.checkpoint.key)])
    assert note == site.central._attestor.checkpoints.newest
    assert (told.size, told.root.hex()) == (state.checkpoint.size, state.checkpoint.root)
    assert state.checkpoint.key_id == key_of(site).key_id.hex()
    before = site.central._journal.durable
    await site.restart(killed=True)
    await until(lambda: len(operator.ups) == 2)
    state = (await operator.ask(m.AuditState(id=0))).audit_state
    assert state.verified_from == 1 and before < state.verified_to <= state.newest_seq
    site.central._doubts.witnesses.proof = "somebody remembers more"
    assert (await operator.ask(m.AuditState(id=0))).audit_state.suspect is True


async def test_a_log_without_a_checkpoint_has_a_state(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = await site.operator()
    monkeypatch.setattr(site.central._attestor.checkpoints, "newest", b"")
    assert (await operator.ask(m.AuditState(id=0))).audit_state.checkpoint is None


# --- a disk that does what it likes -------------------------------------------------------------------------------


def segment_of(site: Site, seq: int) -> Path:
    return [path for first, path in list_segments(site.central.log_dir, site.disk)[0] if first <= seq][-1]


def no_segment(site: Site) -> None:
    for _, path in list_segments(site.central.log_dir, site.disk)[0]:
        path.unlink()


def first_segment(site: Site) -> None:
    segment_of(site, 3).write_bytes(b"nothing of it")


def changed(site: Site) -> None:
    """One byte of a text, and the checksum right again: only the tree knows."""
    path = segment_of(site, 3)
    data = bytearray(path.read_bytes())
    offset = sum(one.size for one in site.history.records if one.seq < 3)
    record = pages.decode(bytes(data), offset)
    body = bytearray(record.body)
    body[-1] ^= 1
    made, _ = encode(record.seq, record.durable, bytes(body), bytes(32))
    data[offset : offset + len(made)] = made
    path.write_bytes(data)


def unreadable(site: Site) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    site.disk.open = refuse  # type: ignore[method-assign]


@pytest.mark.parametrize("harm", [no_segment, first_segment, changed, unreadable])
async def test_a_damaged_log_is_a_refusal(site: Site, harm: Callable[[Site], None]) -> None:
    operator, driver = await site.operator(), await site.driver()
    await signed(site)
    harm(site)
    for question in (m.AuditPage(id=0, after_seq=2), m.AuditProof(id=0, seq=3)):
        with pytest.raises(RequestRefused) as no:
            await operator.ask(question)
        assert no.value.reason == "log_unreadable"
        assert "evcharge-audit doctor" in no.value.sentence
        assert str(site.directory) not in no.value.sentence, "where it lies is nobody's business"
    assert not site.central.failure.done() and not operator.downs
    assert (await driver.ask(m.List(id=0))).charge_points == []


async def test_a_tree_that_does_not_fit_proves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = await site.operator()
    await signed(site)
    tree = site.central._attestor.tree
    real = tree.inclusion
    monkeypatch.setattr(tree, "inclusion", lambda seq, size: [bytes(32) for _ in real(seq, size)])
    with pytest.raises(RequestRefused) as no:
        await operator.ask(m.AuditProof(id=0, seq=3))
    assert no.value.reason == "log_unreadable"

    def damaged(_seq: int, _size: int = 0) -> list[bytes]:
        raise TreeDamaged("the file of tree nodes is shorter than the log")

    monkeypatch.setattr(tree, "inclusion", damaged)
    with pytest.raises(RequestRefused):
        await operator.ask(m.AuditProof(id=0, seq=3))
    monkeypatch.setattr(tree, "leaf", damaged)
    assert (await page(operator)).rows, "records can be read yet"


async def test_a_checkpoint_file_that_is_gone_takes_no_proof_away(site: Site) -> None:
    operator = await site.operator()
    await signed(site)
    (site.central.log_dir / CHECKPOINTS).unlink()
    assert (await proof(operator, 2)).seq == 2


async def test_central_goes_on_while_a_disk_hangs_and_few_questions_wait(site: Site) -> None:
    operator, driver = await site.operator(), await site.driver()
    await site.engine()
    await site.settled()
    reading, go_on = threading.Event(), threading.Event()
    pread = DiskInHand.pread

    def hanging(handle: int, size: int, offset: int) -> bytes:
        reading.set()
        go_on.wait()
        return pread(site.disk, handle, size, offset)

    site.disk.pread = hanging  # type: ignore[method-assign]
    try:
        operator.send(*(m.AuditPage(id=number) for number in range(1, audit.MOST_WAITING + 2)))
        await until(reading.is_set)
        assert (await site.charge(driver)).startswith("s-"), "nobody else waits for the log's readers"
        refused = await operator.next(m.Refused)
        assert (refused.re, refused.reason, refused.retry_after_s) == (audit.MOST_WAITING + 1, "overloaded", 1)
        assert not operator.got(m.Reply)
    finally:
        go_on.set()
    answers = [await operator.next(m.Reply) for _ in range(audit.MOST_WAITING)]
    assert [reply.re for reply in answers] == list(range(1, audit.MOST_WAITING + 1))
    assert (await page(operator)).rows, "and there is room again"


async def test_whoever_asked_may_be_gone(site: Site) -> None:
    operator = await site.operator()
    await site.settled()
    reading, go_on = threading.Event(), threading.Event()

    class Held:
        def page(self, *_a: Any, **_k: Any) -> pages.Page:
            reading.set()
            go_on.wait()
            return pages.Page([], None)

        def first(self) -> int:
            return 1

    site.central._inbound._answering[m.AuditPage]._pages = Held()  # type: ignore[assignment]
    operator.send(m.AuditPage(id=1))
    await until(reading.is_set)
    operator.cut()
    await site.line(e.PeerDisconnected)
    go_on.set()
    await until(lambda: not site.central._inbound._answering[m.AuditPage]._waiting)
    await asyncio.sleep(0)
    assert not site.central.failure.done()
