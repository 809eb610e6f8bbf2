"""What a peer remembers of Central's log."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from evcharge.net.witness import Witness


def note(size: int, log: str = "evcharge/a", root: str = "root") -> bytes:
    return f"{log}\n{size}\n{root}\n\nsigned\n".encode()


def test_the_newest_is_kept_beyond_the_program(tmp_path: Path) -> None:
    path = tmp_path / "witness"
    witness = Witness(path)
    assert witness.note is None
    for size in (5, 5, 9):
        witness.see(note(size))
    assert Witness(path).note == witness.note == note(9)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["witness"]


def test_a_shorter_log_is_said_and_does_not_take_the_place_of_the_proof() -> None:
    witness = Witness()
    witness.see(note(9))
    with capture_logs() as logs:
        witness.see(note(8))
    assert witness.note == note(9)
    assert [(line["event"], line["records"], line["seen_before"]) for line in logs] == [
        ("witness.log_is_shorter", 8, 9)
    ]


def test_another_log_is_another_log() -> None:
    witness = Witness()
    witness.see(note(9))
    witness.see(note(1, log="evcharge/b"))
    assert witness.note == note(1, log="evcharge/b")


@pytest.mark.parametrize("junk", [b"", b"x", b"x\n", b"\n5\n", b"x\n-5\n", b"x\n5e3\n", b"x\n" + b"9" * 20 + b"\n"])
def test_what_is_no_checkpoint_is_not_kept(junk: bytes) -> None:
    witness = Witness()
    witness.see(junk)
    assert witness.note is None


def test_a_disk_that_takes_nothing_is_said_and_the_program_goes_on(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "missing" / "witness")
    with capture_logs() as logs:
        witness.see(note(3))
    assert witness.note == note(3) and logs[0]["event"] == "witness.not_kept"
    (tmp_path / "a folder").mkdir()
    with capture_logs() as logs:
        assert Witness(tmp_path / "a folder").note is None
    assert logs[0]["event"] == "witness.unreadable"


def test_a_draft_that_a_crash_left_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".witness.tmp").write_bytes(b"half")
    witness = Witness(tmp_path / "witness")
    witness.see(note(3))
    assert Witness(tmp_path / "witness").note == note(3)
