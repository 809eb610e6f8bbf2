"""Registry records that Central has seen, kept on disk so that known peers get in while the registry is away.

SQLite in the data directory. Every record is stored as it was signed and is verified when it is read, so a changed
file admits nobody. What was verified once stays in memory: to verify it again would be a seventh of a handshake.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from protocol.records import BadRecord, RegistryRecord, SignedRecord, open_record

# Verified records remembered, 0.7 KiB each: a large site with engines and monitors. Others are verified again.
MAX_VERIFIED = 32_768
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    username TEXT PRIMARY KEY, signed TEXT NOT NULL, signature TEXT NOT NULL, rev INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS feed (id INTEGER PRIMARY KEY CHECK (id = 1), rev INTEGER NOT NULL, seen_ms INTEGER NOT NULL);
"""


class Kept(NamedTuple):
    """How far the change feed was followed: ``rev``, and when the registry last answered (steady UTC ms)."""

    rev: int
    seen_ms: int


class BrokenRecords(Exception):
    """The file cannot be used: one sentence that says what to do."""


class KeptRecords:
    """A table of signed records, one per username. Its methods raise sqlite3.Error when the disk fails."""

    def __init__(self, path: Path, registry_public_key: bytes) -> None:
        """Raises BrokenRecords, OSError."""
        self._registry_public_key = registry_public_key
        self._verified: OrderedDict[str, RegistryRecord] = OrderedDict()
        path.touch(mode=0o600, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            # A record that is lost in a crash is asked for again; WAL without a sync per record is enough.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._db.close()
            raise BrokenRecords(
                f"{path} cannot be used ({error}): move it away, it only holds copies of what the registry knows."
            ) from error

    def close(self) -> None:
        """Give the file back."""
        self._db.close()

    def get(self, username: str) -> RegistryRecord | None:
        """The kept record, verified; None when there is none or it does not verify."""
        record = self._verified.get(username)
        if record is not None:
            return record
        row = self._db.execute("SELECT signed, signature FROM records WHERE username = ?", (username,)).fetchone()
        if row is None:
            return None
        try:
            record = open_record(SignedRecord(*row), self._registry_public_key)
        except BadRecord:
            return None
        self._remember(record)
        return record

    def _remember(self, record: RegistryRecord) -> None:
        known = self._verified.get(record.username)
        if known is None or record.rev > known.rev:
            self._verified[record.username] = record
            if len(self._verified) > MAX_VERIFIED:
                self._verified.popitem(last=False)

    def newest(self, record: RegistryRecord) -> RegistryRecord:
        """The newest revision that this process has verified: this one, or another; what a file says is not asked."""
        known = self._verified.get(record.username)
        return record if known is None or known.rev <= record.rev else known

    def verify(self, signed: SignedRecord) -> RegistryRecord:
        """The record. Raises BadRecord when the pinned registry did not sign it."""
        return open_record(signed, self._registry_public_key)

    def put(self, record: RegistryRecord, signed: SignedRecord) -> None:
        """Keep a verified record; an older revision never replaces a newer one. Raises sqlite3.Error.

        What the disk does not take counts all the same, for as long as this process lives.
        """
        self._remember(record)
        self._db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (username) DO UPDATE SET"
            " signed = excluded.signed, signature = excluded.signature, rev = excluded.rev"
            " WHERE excluded.rev > records.rev",
            (record.username, signed.signed, signed.signature, record.rev),
        )

    def followed(self) -> Kept:
        """The position in the change feed."""
        row = self._db.execute("SELECT rev, seen_ms FROM feed").fetchone()
        return Kept(0, 0) if row is None else Kept(*row)

    def follow(self, kept: Kept) -> None:
        """Remember the position."""
        self._db.execute("INSERT OR REPLACE INTO feed VALUES (1, ?, ?)", kept)
