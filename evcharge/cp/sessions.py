"""The sessions of a charge point: how one begins, changes and ends, in physics, on disk and in words.

Every method acts at the instant that the connectors have reached; ``advance`` comes first. No I/O but the ledger's.
"""

from __future__ import annotations

from collections.abc import Sequence

from evcharge.cp.ledger import STORAGE_FAILED, Ledger
from evcharge.cp.model import Connector, Finished, PowerSink
from evcharge.cp.orders import DONE, ENDED, Answer, check_authorize, check_limit, check_start
from evcharge.cp.slot import Lease, Now, Slot
from evcharge.cp.store import Authorization, Batch, KeptResult, Running, Saved
from protocol.messages import (
    MAX_TEXT,
    Authorize,
    ConnectorInfo,
    SetLimit,
    StartSupply,
    StopSupply,
    SupplyEnded,
    SupplyPaused,
    SupplyResumed,
    SupplyStarted,
)

# Why a session ends, and why none starts, when the process is ended on purpose. SPEC §7.4
SHUTDOWN = "engine_shutdown"
REVOKED = "revoked"
# Why a session ends when its connector, the red button or the disk stops it; the status says which. SPEC §7.4
FAULT = "fault"
# How long past its instant an authorization waits for Central's word when a vehicle is there, site milliseconds.
LAPSE_GRACE_MS = 60_000

Results = tuple[KeptResult, ...]
"""The kept answer of the order that caused a change, written with it."""


class Sessions:
    """Connectors with their sessions. Facts and intents go through the ledger."""

    def __init__(
        self, ratings: Sequence[ConnectorInfo], saved: Saved, ledger: Ledger, now: Now, sink: PowerSink | None
    ) -> None:
        self.ledger = ledger
        self.slots: dict[int, Slot] = {}
        # Registers as they are on disk.
        self.kept_mj = dict(saved.meters)
        # The process is about to end: nothing new starts.
        self.closing = False
        self._last = now
        for rating in ratings:
            number = rating.connector
            register_mj = saved.meters.get(number, 0)
            connector = Connector(
                number, rating.min_w, rating.max_w, at_ms=now.site_ms, register_mj=register_mj, sink=sink
            )
            self.slots[number] = Slot(connector)
            self.slots[number].authorized = saved.authorized.get(number)

    # --- orders of Central ------------------------------------------------------------------------------------------

    def authorize(self, order: Authorize, slot: Slot, done: Results, now: Now) -> Answer:
        """A session may start here; the newest word of Central counts."""
        refusal = check_authorize(order, slot, self.trouble(slot), self.ledger.has_ended(order.session_id))
        if refusal is not None:
            return refusal
        if slot.running is not None:
            return DONE
        authorization = Authorization(
            session_id=order.session_id,
            energy_wh=order.energy_wh,
            depart_by_ms=order.depart_by_ms,
            expires_ms=order.expires_ms,
        )
        batch = Batch(at_ms=now.site_ms, authorized={slot.number: authorization}, results=done)
        if not self.ledger.intent(batch):
            return Answer("failed", STORAGE_FAILED)
        slot.authorized = authorization
        return DONE

    def start(self, order: StartSupply, slot: Slot, done: Results, now: Now) -> Answer:
        """Close the contactor, if everything that ``check_start`` asks for holds."""
        if slot.running is not None and slot.running.session_id == order.session_id:
            # A second START for a running session is a retry, not an error; its set-point is the newest.
            return check_limit(order) or self.set_point(order, slot, now)
        if self.ledger.has_ended(order.session_id):
            return ENDED
        refusal = check_start(order, slot, self.trouble(slot), self.ledger.crowded, now)
        if refusal is not None:
            return refusal
        assert slot.authorized is not None
        connector = slot.connector
        running = Running(
            session_id=order.session_id,
            start_mj=connector.register_mj,
            started_ms=connector.at_ms,
            energy_wh=slot.authorized.energy_wh,
        )
        started = SupplyStarted(
            session_id=order.session_id,
            meter_wh=connector.register_wh,
            connector=slot.number,
            at_ms=connector.at_ms,
        )
        batch = Batch(
            at_ms=connector.at_ms,
            meters={slot.number: connector.register_mj},
            running={slot.number: running},
            authorized={slot.number: None},
            items=(self.ledger.item(started),),
            results=done,
        )
        # Written first: a crash between disk and contactor leaves a session that ends with no energy.
        if not self.ledger.intent(batch):
            return Answer("failed", STORAGE_FAILED)
        slot.running = running
        slot.authorized = None
        slot.paused = False
        connector.close(0, running.energy_wh)
        # A vehicle that is full, or a session that asked for nothing, ends here and now.
        self._finish(slot, connector.advance(connector.at_ms))
        return self.set_point(order, slot, now) if slot.running is not None else DONE

    def set_point(self, order: SetLimit | StartSupply, slot: Slot, now: Now) -> Answer:
        """Apply a set-point from this instant on; one that is over already leaves its fallback."""
        slot.lease = Lease.until(order.limit_w, order.fallback_w, order.expires_ms, now, order.reason)
        if slot.lease.deadline <= now.monotonic:
            slot.lapse()
        else:
            slot.connector.set_limit(order.limit_w)
        self.note_pause(slot)
        return DONE

    def stop(self, order: StopSupply, done: Results, now: Now) -> Answer:
        """Open the contactor; always possible. Connector 0 is the whole charge point."""
        if order.connector != 0 and order.connector not in self.slots:
            return Answer("rejected", "no such connector")
        for slot in self.chosen(order.connector):
            if slot.running is not None and order.session_id in (None, slot.running.session_id):
                self.end(slot, order.reason[:MAX_TEXT], slot.connector.at_ms, done)
            elif slot.authorized is not None and order.session_id in (None, slot.authorized.session_id):
                slot.authorized = None
                self.ledger.fact(Batch(at_ms=now.site_ms, authorized={slot.number: None}, results=done))
        return DONE

    # --- what happens by itself -------------------------------------------------------------------------------------

    def advance(self, now: Now) -> None:
        """Everything that happened by itself since the last input, at the instant at which it happened."""
        since, self._last = self._last, now
        for slot in self.slots.values():
            if slot.running is not None:
                lapse_ms = slot.lapses_at(since, now)
                if lapse_ms is not None:
                    self._finish(slot, slot.connector.advance(lapse_ms))
                    if slot.running is not None:
                        slot.lapse()
                        self.note_pause(slot)
            self._finish(slot, slot.connector.advance(now.site_ms))
            self.lapse_authorization(slot)

    def lapse_authorization(self, slot: Slot) -> None:
        """An authorization is over at its instant. With a vehicle there Central decides, if it says so soon enough.

        Central lets it expire at the same instant, started or not; on a lost line its word never comes.
        """
        expires_ms = None if slot.authorized is None else slot.authorized.expires_ms
        if expires_ms is not None and slot.connector.at_ms >= expires_ms + (LAPSE_GRACE_MS if slot.occupied else 0):
            slot.authorized = None
            self.ledger.fact(Batch(at_ms=slot.connector.at_ms, authorized={slot.number: None}, durable=False))

    def _finish(self, slot: Slot, finished: Finished | None) -> None:
        if finished is not None:
            self.end(slot, finished.reason, finished.at_ms)

    def end_if_running(self, slot: Slot, reason: str) -> None:
        """End the session of a connector, if there is one, at this instant."""
        if slot.running is not None:
            self.end(slot, reason, slot.connector.at_ms)

    def end(self, slot: Slot, reason: str, at_ms: int, results: Results = ()) -> None:
        """End a session: contactor first, then the disk, then Central."""
        assert slot.running is not None
        slot.connector.open()
        ended = SupplyEnded(
            session_id=slot.running.session_id,
            meter_wh=slot.connector.register_wh,
            reason=reason,
            at_ms=at_ms,
        )
        slot.running = slot.lease = None
        batch = Batch(
            at_ms=at_ms,
            meters={slot.number: slot.connector.register_mj},
            running={slot.number: None},
            items=(self.ledger.item(ended),),
            results=results,
        )
        self.kept_mj[slot.number] = slot.connector.register_mj
        self.ledger.fact(batch)

    def note_pause(self, slot: Slot) -> None:
        """Report when a running session begins or ceases to get power."""
        paused = slot.connector.power_w == 0
        if slot.running is None or paused == slot.paused or self.ledger.crowded:
            return
        slot.paused = paused
        told = SupplyPaused if paused else SupplyResumed
        payload = told(
            session_id=slot.running.session_id,
            meter_wh=slot.connector.register_wh,
            at_ms=slot.connector.at_ms,
        )
        meters = {slot.number: slot.connector.register_mj}
        self.ledger.fact(Batch(at_ms=slot.connector.at_ms, meters=meters, items=(self.ledger.item(payload),)))

    def chosen(self, number: int) -> list[Slot]:
        """One connector, or all for 0. KeyError: no such connector."""
        return list(self.slots.values()) if number == 0 else [self.slots[number]]

    def trouble(self, slot: Slot) -> str | None:
        """Why the connector must not supply; None: it may."""
        if slot.error is not None:
            return slot.error
        if self.ledger.broken is not None:
            return STORAGE_FAILED
        return SHUTDOWN if self.closing else None
