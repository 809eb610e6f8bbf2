"""The life of a signing key: announced, signing, verifying only, gone; and its file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from evcharge.sidecar.bootstrap import BootstrapError
from evcharge.sidecar.oauth.keys import ANNOUNCE_S, LEEWAY_S, ROTATE_S, TOKEN_LIFE_MAX_S, KeyFolder, published, signs

MADE_MS = 1_763_683_200_000


def test_rotation_overlaps(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "jwt")
    folder.refresh()
    assert folder.due(MADE_MS)
    with pytest.raises(ValueError, match="no signing key"):
        signs(folder.keys.values(), MADE_MS)
    old = folder.add(MADE_MS)
    assert not folder.due(MADE_MS + ROTATE_S * 1000 - 1)
    assert signs(folder.keys.values(), MADE_MS).kid == old.kid, "the first signs at once"

    second_ms = MADE_MS + ROTATE_S * 1000
    new = folder.add(second_ms)
    keys = list(folder.keys.values())
    signs_ms = second_ms + ANNOUNCE_S * 1000
    assert signs(keys, signs_ms - 1).kid == old.kid, "the new one is published first"
    assert signs(keys, signs_ms).kid == new.kid
    over_ms = signs_ms + (TOKEN_LIFE_MAX_S + LEEWAY_S) * 1000
    assert [key.kid for key in published(keys, over_ms - 1)] == [old.kid, new.kid], "a token may still live"
    assert [key.kid for key in published(keys, over_ms)] == [new.kid]

    third = folder.add(over_ms)
    assert set(folder.keys) == {new.kid, third.kid}
    assert len(list((tmp_path / "jwt").iterdir())) == 2


def test_another_process_sees_it_and_nobody_else_does(tmp_path: Path) -> None:
    mine, theirs = KeyFolder(tmp_path / "jwt"), KeyFolder(tmp_path / "jwt")
    made = mine.add(MADE_MS)
    theirs.refresh()
    assert theirs.keys[made.kid].public == made.public
    (file,) = (tmp_path / "jwt").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "jwt").stat().st_mode) == 0o700
    assert str(made.key.as_dict(private=True)["d"]) not in repr(made)


def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "jwt")
    made = folder.add(MADE_MS)
    (file,) = (tmp_path / "jwt").iterdir()
    whole = file.read_bytes()
    for damage in (b"", whole[:100], whole.replace(b'"n":"', b'"n":"A'), b'{"created_ms": 1, "jwk": {}}'):
        file.write_bytes(damage)
        with pytest.raises(BootstrapError, match="damaged; restore it"):
            KeyFolder(tmp_path / "jwt").refresh()
    file.write_bytes(whole)
    file.chmod(0o644)
    with pytest.raises(BootstrapError, match="chmod 600"):
        KeyFolder(tmp_path / "jwt").refresh()
    assert made.kid in folder.keys


def test_a_key_that_was_begun_and_not_written_is_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = KeyFolder(tmp_path / "jwt")
    good = folder.add(MADE_MS)

    def dies(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evcharge.sidecar.bootstrap.os.fsync", dies)
    with pytest.raises(OSError, match="No space left"):
        folder.add(MADE_MS + 1_000)
    monkeypatch.undo()
    (tmp_path / "jwt" / "0001763683201000-x.json.draft").write_bytes(b"{")
    fresh = KeyFolder(tmp_path / "jwt")
    fresh.refresh()
    assert set(fresh.keys) == {good.kid}
