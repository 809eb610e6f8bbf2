"""The disk of a charge point: a real SQLite file, batches whole or not at all, one owner, clear words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.cp.journal import Journal
from evcharge.cp.store import KEPT_RESULTS, Authorization, Batch, Item, KeptResult, Running, StoreError
from protocol.messages import SupplyEnded, SupplyPaused, SupplyResumed, SupplyStarted
from tests.cp.rig import MemoryStore, Rig, numbers, of, result

ZEROS = bytes
RUNNING = Running(session_id="S1", start_mj=5, started_ms=10, energy_wh=None)
AUTHORIZED = Authorization(session_id="S2", energy_wh=7, depart_by_ms=None, expires_ms=99)


def item(n: int, session_id: str = "S1") -> Item:
    return Item(n, SupplyEnded(session_id=session_id, meter_wh=n, reason="unplugged", at_ms=n))


def open_journal(path: Path, **options: bool) -> Journal:
    return Journal.open(path, "CP-1", ZEROS, **options)


def test_what_was_written_is_read_back_by_the_next_process(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.write(
        Batch(
            at_ms=77,
            meters={1: 3_600_001, 2: 5},
            running={1: RUNNING},
            authorized={2: AUTHORIZED},
            items=(item(0), item(1)),
            results=(KeptResult(3, 9, "done"), KeptResult(3, 10, "rejected", "why")),
        )
    )
    journal.close()
    journal = open_journal(tmp_path)
    saved = journal.load()
    journal.close()
    assert saved.next_n == 2
    assert saved.items == [item(0), item(1)]
    assert saved.meters == {1: 3_600_001, 2: 5}
    assert (saved.meter_wh(1), saved.meter_wh(2), saved.meter_wh(3)) == (1, 0, 0)
    assert saved.meters_at_ms == 77
    assert saved.running == {1: RUNNING}
    assert saved.authorized == {2: AUTHORIZED}
    assert saved.results == [KeptResult(3, 9, "done"), KeptResult(3, 10, "rejected", "why")]
    assert (saved.outbox_epoch, journal.boot_count) == (1, 2)


def test_every_payload_comes_back_as_it_was(tmp_path: Path) -> None:
    payloads = [
        SupplyStarted(session_id="S1", meter_wh=1, connector=2, at_ms=3),
        SupplyPaused(session_id="S1", meter_wh=1, at_ms=3),
        SupplyResumed(session_id="S1", meter_wh=1, at_ms=3),
        SupplyEnded(session_id="S1", meter_wh=1, reason="fault", at_ms=3),
    ]
    journal = open_journal(tmp_path)
    journal.write(Batch(at_ms=0, items=tuple(Item(n, payload) for n, payload in enumerate(payloads))))
    assert [entry.payload for entry in journal.load().items] == payloads
    journal.close()


def test_entries_go_and_numbers_stay(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.write(Batch(at_ms=0, running={1: RUNNING}, authorized={1: AUTHORIZED}, items=(item(0), item(1))))
    journal.write(Batch(at_ms=0, running={1: None}, authorized={1: None}, acked=1, durable=False))
    saved = journal.load()
    assert (saved.running, saved.authorized, saved.items, saved.next_n) == ({}, {}, [], 2)
    journal.write(Batch(at_ms=0, acked=1, items=(item(50),)))
    assert journal.load().next_n == 51
    journal.close()


def test_results_are_kept_for_the_newest_commands(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for number in range(KEPT_RESULTS + 10):
        journal.write(Batch(at_ms=0, results=(KeptResult(1, number, "done"),)))
    kept = journal.load().results
    assert [entry.command_id for entry in kept] == list(range(10, KEPT_RESULTS + 10))
    journal.close()


def test_a_new_disk_has_a_new_epoch(tmp_path: Path) -> None:
    first = Journal.open(tmp_path, "CP-1", lambda size: b"\x01" * size)
    second = Journal.open(tmp_path, "CP-2", lambda size: b"\x02" * size)
    assert 0 < first.load().outbox_epoch < 2**53
    assert first.load().outbox_epoch != second.load().outbox_epoch
    first.close()
    second.close()


def test_ids_that_are_no_file_names_have_files_of_their_own(tmp_path: Path) -> None:
    for cp_id in ("../CP", "a/b", "..", "ü"):
        Journal.open(tmp_path, cp_id, ZEROS).close()
    assert len(list(tmp_path.iterdir())) == 4


def test_durable_batches_are_flushed_and_others_are_not(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, meter_durable=False)
    seen = []
    journal._connection.set_trace_callback(lambda statement: seen.append(statement))
    journal.write(Batch(at_ms=0, meters={1: 1}))
    journal.write(Batch(at_ms=0, meters={1: 1}, items=(item(0),)))
    journal.write(Batch(at_ms=0, acked=0, durable=False))
    assert [statement for statement in seen if "synchronous" in statement] == [
        "PRAGMA synchronous = NORMAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
    ]
    journal.close()
    alone = open_journal(tmp_path)
    alone._connection.set_trace_callback(lambda statement: seen.append(statement))
    seen.clear()
    alone.write(Batch(at_ms=0, meters={1: 1}))
    # It was set to FULL when the file was opened, and stays so.
    assert not [statement for statement in seen if "synchronous" in statement]
    assert alone._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    alone.close()


def test_two_processes_do_not_share_a_charge_point(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(StoreError, match="another process runs this charge point"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()


def test_a_file_that_is_no_journal_is_named_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "CP-1.journal"
    file.write_bytes(b"holiday pictures" * 100)
    with pytest.raises(StoreError, match=r"CP-1\.journal is damaged; move it away"):
        open_journal(tmp_path)
    assert file.read_bytes() == b"holiday pictures" * 100


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the journal"):
        Journal.open(tmp_path / "file" / "below", "CP-1", ZEROS)


def test_a_layout_of_the_future_is_refused(tmp_path: Path) -> None:
    open_journal(tmp_path).close()
    with sqlite3.connect(tmp_path / "CP-1.journal") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StoreError, match="layout 9, this version reads 1"):
        open_journal(tmp_path)


@pytest.mark.parametrize("damage", ["UPDATE outbox SET payload = x'c1'", "DELETE FROM meta", "DROP TABLE meter"])
def test_damage_inside_is_an_error_at_load_not_a_guess(tmp_path: Path, damage: str) -> None:
    journal = open_journal(tmp_path)
    journal.write(Batch(at_ms=0, items=(item(0),)))
    journal._connection.execute(damage)
    with pytest.raises(StoreError, match=r"CP-1\.journal failed"):
        journal.load()
    journal.close()


def test_a_full_disk_keeps_nothing_of_the_batch_and_works_again_with_room(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.write(Batch(at_ms=0, items=(item(0),)))
    (pages,) = journal._connection.execute("PRAGMA page_count").fetchone()
    journal._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = tuple(item(n, "x" * 64) for n in range(1, 500))
    with pytest.raises(StoreError) as caught:
        journal.write(Batch(at_ms=9, meters={1: 1}, items=big))
    assert caught.value.transient
    saved = journal.load()
    assert (saved.items, saved.meters, saved.next_n) == ([item(0)], {}, 1)
    journal._connection.execute("PRAGMA max_page_count = 100000")
    journal.write(Batch(at_ms=9, meters={1: 1}, items=big))
    assert journal.load().next_n == 500
    journal.close()


def test_a_write_that_fails_otherwise_is_not_transient(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.close()
    with pytest.raises(StoreError) as caught:
        journal.write(Batch(at_ms=0, meters={1: 1}))
    assert not caught.value.transient


def test_an_engine_on_a_real_file_survives_its_process(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    rig = Rig(journal).charging()  # type: ignore[arg-type] # any Store will do
    rig.wait(1_000)
    told = max(update.meter_wh for update in of(SupplyStarted, rig.sent))
    journal.close()
    rig.store = open_journal(tmp_path)  # type: ignore[assignment]
    rig.boot()
    sent = rig.connect()
    (ended,) = of(SupplyEnded, sent)
    assert numbers(sent) == [0, 1]
    assert ended.reason == "engine_restart"
    assert ended.meter_wh == rig.register_wh > told
    rig.authorize("S2")
    rig.plug()
    assert result(rig.start("S2")) == "done"
    rig.store.close()  # type: ignore[attr-defined]


batches = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "meters": st.dictionaries(st.integers(1, 3), st.integers(0, 2**60), max_size=2),
            "running": st.dictionaries(st.integers(1, 3), st.sampled_from([None, RUNNING]), max_size=2),
            "authorized": st.dictionaries(st.integers(1, 3), st.sampled_from([None, AUTHORIZED]), max_size=2),
            "new": st.integers(0, 3),
            "acked": st.integers(0, 12),
            "durable": st.booleans(),
        },
    ),
    max_size=8,
)


@given(batches)
def test_file_and_memory_agree_after_any_batches(tmp_path_factory: pytest.TempPathFactory, batches: list[dict]) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("journal"), "CP-1", ZEROS)
    memory = MemoryStore(outbox_epoch=1)
    n = 0
    for at_ms, fields in enumerate(batches):
        new = fields.pop("new", 0)
        batch = Batch(at_ms=at_ms, items=tuple(item(n + i) for i in range(new)), **fields)
        n += new
        journal.write(batch)
        memory.write(batch)
    assert msgspec.to_builtins(journal.load(), str_keys=True) == msgspec.to_builtins(memory.load(), str_keys=True)
    journal.close()
