"""The charge point's own disk: one SQLite file per charge point.

Durable batches are committed with ``synchronous=FULL`` in WAL mode: on return they survive kill -9 and a power cut.
Batches that may be lost with the power (deleted outbox items, and the meter in processes that simulate many charge
points) use ``NORMAL``: they survive the process. The file is locked for its process, so that no two engines ever
speak for one charge point from one disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from evcharge.cp.store import KEPT_RESULTS, Authorization, Batch, Item, KeptResult, Running, Saved, StoreError
from protocol.messages import MAX_COUNT, OutboxPayload

Entry = TypeVar("Entry", Running, Authorization)

# Layout of the file; another number is refused, never guessed at.
_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE meter (connector INTEGER PRIMARY KEY, register_mj INTEGER NOT NULL);
CREATE TABLE running (connector INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE authorized (connector INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE outbox (n INTEGER PRIMARY KEY, session_id TEXT, payload BLOB NOT NULL);
CREATE TABLE result (fence INTEGER, command_id INTEGER, outcome TEXT NOT NULL, detail TEXT NOT NULL,
                     PRIMARY KEY (fence, command_id));
"""
# SQLite's primary codes after which trying again makes sense: no room, or a lock that will go.
_TRANSIENT: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY})


class Journal:
    """A ``Store`` on one SQLite file. Not for several threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, meter_durable: bool) -> None:
        self._connection = connection
        self._path = path
        self._meter_durable = meter_durable
        self._full: bool | None = None
        self.boot_count = 0

    @classmethod
    def open(
        cls, directory: Path, cp_id: str, entropy: Callable[[int], bytes], *, meter_durable: bool = True
    ) -> Journal:
        """Open or make the file of a charge point and count this boot.

        ``meter_durable=False`` spares the disk flush of batches that hold nothing but meters. Raises StoreError.
        """
        path = directory / f"{quote(cp_id, safe='')}.journal"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            # No waiting for locks: the owner of the file keeps it for as long as it lives.
            connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot open the journal {path}: {error}") from error
        journal = cls(connection, path, meter_durable=meter_durable)
        try:
            journal._prepare(entropy)
        except StoreError:
            connection.close()
            raise
        return journal

    def _prepare(self, entropy: Callable[[int], bytes]) -> None:
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._sync(full=True)
            self._connection.execute("BEGIN IMMEDIATE")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                # A fresh disk has a fresh epoch, so that Central does not take its n for those of the lost one.
                epoch = 1 + int.from_bytes(entropy(8), "big") % MAX_COUNT
                self._set_meta(outbox_epoch=epoch, next_n=0, meters_at_ms=0, boot_count=0)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StoreError(f"the journal {self._path} has layout {version}, this version reads {_VERSION}")
            self.boot_count = self._meta()["boot_count"] + 1
            self._set_meta(boot_count=self.boot_count)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def load(self) -> Saved:
        """Read everything back. Raises StoreError."""
        try:
            meta = self._meta()
            return Saved(
                outbox_epoch=meta["outbox_epoch"],
                next_n=meta["next_n"],
                meters_at_ms=meta["meters_at_ms"],
                meters=dict(self._connection.execute("SELECT connector, register_mj FROM meter")),
                items=[
                    Item(n, msgspec.msgpack.decode(payload, type=OutboxPayload))
                    for n, payload in self._connection.execute("SELECT n, payload FROM outbox ORDER BY n")
                ],
                running=self._read("running", Running),
                authorized=self._read("authorized", Authorization),
                results=[
                    KeptResult(*row)
                    for row in self._connection.execute(
                        "SELECT fence, command_id, outcome, detail FROM result ORDER BY rowid"
                    )
                ],
            )
        except (sqlite3.Error, msgspec.MsgspecError, KeyError) as error:
            raise self._failed(error) from error

    def write(self, batch: Batch) -> None:
        """Commit a batch whole. Raises StoreError, and then nothing of it was kept."""
        only_meters = not (batch.running or batch.authorized or batch.items or batch.results)
        try:
            self._sync(full=batch.durable and (self._meter_durable or not only_meters))
            self._connection.execute("BEGIN IMMEDIATE")
            self._apply(batch)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def _apply(self, batch: Batch) -> None:
        run = self._connection.execute
        many = self._connection.executemany
        if batch.meters:
            many("INSERT OR REPLACE INTO meter VALUES (?, ?)", batch.meters.items())
            self._set_meta(meters_at_ms=batch.at_ms)
        for table, changes in (("running", batch.running), ("authorized", batch.authorized)):
            for connector, entry in changes.items():
                if entry is None:
                    run(f"DELETE FROM {table} WHERE connector = ?", (connector,))  # noqa: S608 two fixed names
                else:
                    body = msgspec.msgpack.encode(entry)
                    run(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (connector, body))  # noqa: S608
        if batch.acked is not None:
            run("DELETE FROM outbox WHERE n <= ?", (batch.acked,))
        if batch.items:
            rows = [(item.n, item.session_id, msgspec.msgpack.encode(item.payload)) for item in batch.items]
            many("INSERT OR REPLACE INTO outbox VALUES (?, ?, ?)", rows)
            self._set_meta(next_n=batch.items[-1].n + 1)
        if batch.results:
            rows_of_results = [msgspec.structs.astuple(result) for result in batch.results]
            many("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", rows_of_results)
            run(
                "DELETE FROM result WHERE rowid <= (SELECT max(rowid) FROM result) - ?",
                (KEPT_RESULTS,),
            )

    def _sync(self, *, full: bool) -> None:
        if full != self._full:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self._full = full

    def _meta(self) -> dict[str, int]:
        return dict(self._connection.execute("SELECT key, value FROM meta"))

    def _set_meta(self, **values: int) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def _read(self, table: str, shape: type[Entry]) -> dict[int, Entry]:
        rows = self._connection.execute(f"SELECT connector, body FROM {table}")  # noqa: S608 two fixed names
        return {connector: msgspec.msgpack.decode(body, type=shape) for connector, body in rows}

    def _failed(self, error: Exception) -> StoreError:
        """Undo what was begun and say what to do."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # The first error is the one to report; SQLite undoes the rest when the file is opened again.
            code = 0
        if code == sqlite3.SQLITE_BUSY:
            return StoreError(f"another process runs this charge point: {self._path} is locked", transient=True)
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return StoreError(f"the journal {self._path} is damaged; move it away and look at its outbox first")
        return StoreError(f"the journal {self._path} failed: {error}", transient=code in _TRANSIENT)
