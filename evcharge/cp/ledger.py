"""Disk and outbox as one: nothing is sent before it is kept, nothing that happened is forgotten when the disk fails."""

from __future__ import annotations

from evcharge.cp.outbox import OutboxQueue
from evcharge.cp.store import Batch, Item, Saved, Store, StoreError
from protocol.messages import Outbox, OutboxPayload, SupplyEnded

# Code of a failed disk, for status and health.
STORAGE_FAILED = "storage_failed"
# Items that the outbox holds at most before no new session starts and pauses are no longer reported; a session needs
# two. Bounds the disk when Central takes nothing for days. SPEC §6.3
MAX_ITEMS = 10_000


class Ledger:
    """What goes to the store, in order; after a failure facts wait in memory and the charge point must not supply."""

    def __init__(self, store: Store, saved: Saved) -> None:
        self._store = store
        self._outbox = OutboxQueue(saved.next_n, saved.items)
        self.broken: str | None = None
        """What the disk said when it failed; None: it works."""
        self._retryable = False
        self._unsaved: list[Batch] = []
        self._acked: int | None = None

    @property
    def waiting(self) -> int:
        """Items that Central has not acknowledged."""
        return len(self._outbox) + sum(len(batch.items) for batch in self._unsaved)

    @property
    def crowded(self) -> bool:
        """Too much is waiting for anything new."""
        return self.waiting >= MAX_ITEMS

    def has_ended(self, session_id: str) -> bool:
        """Whether the end of this session still waits for Central: it must not begin a second time meanwhile."""
        waiting = (*self._outbox.items, *(item for batch in self._unsaved for item in batch.items))
        return any(isinstance(i.payload, SupplyEnded) and i.payload.session_id == session_id for i in waiting)

    def item(self, payload: OutboxPayload) -> Item:
        """Number a payload; it has to go into the very next batch."""
        return self._outbox.number(payload)

    def settle(self, batch: Batch) -> None:
        """Keep a batch or raise StoreError: at start there is nobody to tell about a failed disk."""
        self._store.write(batch)
        for item in batch.items:
            self._outbox.append(item)

    def fact(self, batch: Batch) -> None:
        """Keep what has happened already. A failing disk leaves it waiting in memory, not sent, in order."""
        if self.broken or not self._write(batch):
            self._unsaved.append(batch)

    def intent(self, batch: Batch) -> bool:
        """Keep what is to happen only if it is kept. False: nothing was kept, do not act."""
        if self.broken or not self._write(batch):
            self._outbox.give_back(len(batch.items))
            return False
        return True

    def retry(self, probe: Batch) -> bool:
        """After a failure: write what waits, then ``probe``. True when the disk works again.

        Only a full disk is tried again. After any other error what the system says about the file cannot be trusted
        (a failed flush is reported once), so a person has to look and start the process anew.
        """
        if not self._retryable:
            return False
        while self._unsaved:
            if not self._write(self._unsaved[0]):
                return False
            self._unsaved.pop(0)
        if not self._write(probe):
            return False
        self.broken = None
        return True

    def flush(self, at_ms: int) -> None:
        """Take acknowledged items off the disk; losing this costs one more sending."""
        if self._acked is not None and not self.broken:
            acked, self._acked = self._acked, None
            self._write(Batch(at_ms=at_ms, acked=acked, durable=False))

    def channel_up(self, next_n: int, at_ms: int) -> None:
        """Central expects ``next_n``; what waits goes out with ``due``.

        When Central has seen more of this epoch than the disk remembers, the disk went back in time (a write that it
        had promised was lost): under their old numbers items would be taken for repeats. When Central expects less
        than the disk still holds, Central's log was replaced: the old numbers would be a gap for ever. Either way the
        items get the numbers that Central expects.
        """
        if not self._outbox.first_n <= next_n <= self._outbox.next_n and not self._unsaved:
            last_n = self._outbox.next_n - 1
            items = self._outbox.renumbered(next_n)
            if items:
                batch = Batch(at_ms=at_ms, acked=last_n, items=items)
                if self.broken or not self._write(batch, new=False):
                    return
            self._outbox.replace(items, next_n + len(items))
        self._note(self._outbox.channel_up(next_n))

    def channel_down(self) -> None:
        """Nothing is in flight any more."""
        self._outbox.channel_down()

    def acked(self, n: int) -> None:
        """Central has n, and all before it, durably."""
        self._note(self._outbox.acked(n))

    def due(self) -> list[Outbox]:
        """What to send now."""
        return self._outbox.due()

    def _note(self, n: int | None) -> None:
        if n is not None:
            self._acked = n

    def _write(self, batch: Batch, *, new: bool = True) -> bool:
        try:
            self._store.write(batch)
        except StoreError as error:
            self.broken = str(error)
            self._retryable = error.transient
            return False
        if new:
            for item in batch.items:
                self._outbox.append(item)
        return True


def restart_items(ledger: Ledger, saved: Saved) -> Batch:
    """The batch that settles what an earlier process left running: ended, with the last meter on disk.

    A session that started has its meter on disk; the instant is the last one at which a meter was written.
    """
    items = []
    for connector, running in saved.running.items():
        ended = SupplyEnded(
            session_id=running.session_id,
            meter_wh=saved.meter_wh(connector),
            reason="engine_restart",
            at_ms=max(saved.meters_at_ms, running.started_ms),
        )
        items.append(ledger.item(ended))
    return Batch(at_ms=saved.meters_at_ms, running=dict.fromkeys(saved.running), items=tuple(items))
