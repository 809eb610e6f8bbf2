"""The engine of a charge point: what Central orders, what the vehicle does and what the disk holds, made one.

No I/O and no clock: every input carries ``Now`` and returns the messages to send, in order. What must not be lost goes
through the injected ``Store`` before it is sent or acted on. SPEC §6, §7; offline rules: features.md.

The rules in short. The contactor closes only for an authorized session, by a valid ``start_supply``, with a vehicle
plugged in, no fault and a disk that works. It opens first and is written down after. A running session needs nobody:
without Central it goes on under its lease, then at its fallback, to its normal end, and nothing new starts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from evcharge.cp.ledger import Ledger, restart_items
from evcharge.cp.model import PowerSink
from evcharge.cp.orders import Answer, Order, check_set_limit, countable
from evcharge.cp.sessions import FAULT, REVOKED, SHUTDOWN, Sessions
from evcharge.cp.slot import Now, Slot
from evcharge.cp.store import KEPT_RESULTS, Batch, KeptResult, Store
from evcharge.cp.vehicle import Vehicle
from protocol.messages import (
    Ack,
    Authorize,
    Boot,
    ConnectorInfo,
    Heartbeat,
    Message,
    Plugged,
    Result,
    SetLimit,
    StartSupply,
    Status,
    StopSupply,
    SupplyUpdate,
    Unplugged,
)

# Seconds between heartbeats, supply updates and writes of a running meter: Central takes 5 s of silence as loss.
# features.md, Timings
BEAT_S = 1.0
# Seconds between attempts to write what a full disk refused.
RETRY_S = 1.0


class EngineCore:
    """One charge point. The instance starts by settling what an earlier process left running."""

    def __init__(
        self,
        ratings: Sequence[ConnectorInfo],
        store: Store,
        now: Now,
        *,
        sink: PowerSink | None = None,
        model: str = "evcharge simulated",
        firmware: str = "",
        fine_meter: bool = False,
    ) -> None:
        """``fine_meter``: a moving register goes to the store at every tick, as a real meter counts on whatever
        becomes of this process. Raises StoreError when the disk does not even give or take the state at start.
        """
        saved = store.load()
        self.outbox_epoch = saved.outbox_epoch
        self._ratings = list(ratings)
        self._model = model
        self._firmware = firmware
        self._ledger = Ledger(store, saved)
        if saved.running:
            self._ledger.settle(restart_items(self._ledger, saved))
        self._sessions = Sessions(ratings, saved, self._ledger, now, sink)
        self._results = OrderedDict(((kept.fence, kept.command_id), kept) for kept in saved.results)
        self._fence = 0
        self._online = False
        self._out: list[Message] = []
        self._disk_told = False
        self._fine_meter = fine_meter
        self._noted_mj = dict(saved.meters)
        self._next_beat = now.monotonic
        self._next_retry = now.monotonic

    # --- inputs: the channel ----------------------------------------------------------------------------------------

    def on_channel_up(self, fence: int | None, next_n: int | None, now: Now) -> list[Message]:
        """A channel to Central is ready: introduce the charge point, then send what Central does not have yet."""
        self._sessions.advance(now)
        self._online = True
        self._fence = fence or 0
        self._next_beat = now.monotonic
        self._say(Boot(connectors=self._ratings, model=self._model, firmware=self._firmware))
        for slot in self._sessions.slots.values():
            self._say_status(slot)
        self._ledger.channel_up(next_n or 0, now.site_ms)
        return self._take()

    def on_channel_down(self, now: Now) -> list[Message]:
        """The channel is gone; leases go on by the monotonic clock. Returns nothing to send."""
        self._sessions.advance(now)
        self._online = False
        self._ledger.channel_down()
        return self._take()

    def on_message(self, message: Message, now: Now) -> list[Message]:
        """A message of Central. Nothing that it can say raises; what makes no sense is refused or ignored."""
        self._sessions.advance(now)
        if self._online:
            if isinstance(message, Authorize | StartSupply | StopSupply | SetLimit):
                self._order(message, now)
            elif isinstance(message, Ack) and message.n is not None:
                self._ledger.acked(message.n)
        return self._take()

    # --- inputs: the world ------------------------------------------------------------------------------------------

    def plug(self, number: int, vehicle: Vehicle, now: Now) -> list[Message]:
        """A vehicle is plugged in; if another one stands there it leaves first. KeyError: no such connector."""
        slot = self._sessions.slots[number]
        self._sessions.advance(now)
        if slot.occupied:
            self._unplug(slot)
        slot.connector.plug(vehicle)
        self._say(Plugged(connector=number))
        return self._take()

    def unplug(self, number: int, now: Now) -> list[Message]:
        """The vehicle leaves; a running session ends. KeyError: no such connector."""
        slot = self._sessions.slots[number]
        self._sessions.advance(now)
        if slot.occupied:
            self._unplug(slot)
        return self._take()

    def fail(self, code: str, now: Now, number: int = 0) -> list[Message]:
        """A connector (0: all of them) is broken: stop at once, say so, start nothing until ``recover``."""
        self._sessions.advance(now)
        for slot in self._sessions.chosen(number):
            slot.error = code
            self._sessions.end_if_running(slot, FAULT)
            self._say_status(slot)
        return self._take()

    def recover(self, now: Now, number: int = 0) -> list[Message]:
        """A connector (0: all) is well again. A failed disk is not cured by this."""
        self._sessions.advance(now)
        for slot in self._sessions.chosen(number):
            if slot.error is not None:
                slot.error = None
                self._say_status(slot)
        return self._take()

    def emergency_stop(self, now: Now) -> list[Message]:
        """The red button: everything off until ``recover``."""
        return self.fail("emergency_stop", now)

    def shutdown(self, now: Now) -> list[Message]:
        """A planned end of this process: running sessions end with their final meter, none starts any more."""
        self._sessions.advance(now)
        self._sessions.closing = True
        for slot in self._sessions.slots.values():
            self._sessions.end_if_running(slot, SHUTDOWN)
        return self._take()

    def revoked(self, now: Now) -> list[Message]:
        """Central says that this credential is void: running sessions end here, as nobody can steer them any more.

        Their results wait in the outbox for a new credential.
        """
        self._sessions.advance(now)
        for slot in self._sessions.slots.values():
            self._sessions.end_if_running(slot, REVOKED)
        return self._take()

    def tick(self, now: Now) -> list[Message]:
        """Let time pass: physics, leases, meters on disk, telemetry. Call it about ten times a second."""
        self._sessions.advance(now)
        if self._ledger.broken and now.monotonic >= self._next_retry:
            self._next_retry = now.monotonic + RETRY_S
            registers = {number: slot.connector.register_mj for number, slot in self._sessions.slots.items()}
            if self._ledger.retry(Batch(at_ms=now.site_ms, meters=registers)):
                self._sessions.kept_mj.update(registers)
        self._ledger.flush(now.site_ms)
        if now.monotonic >= self._next_beat:
            # Keep the rhythm after a late tick, but do not catch up on beats that were missed.
            self._next_beat = max(self._next_beat + BEAT_S, now.monotonic + BEAT_S / 2)
            self._beat(now)
        elif self._fine_meter:
            self._note_meters(now)
        return self._take()

    # --- what others may know ---------------------------------------------------------------------------------------

    def health(self) -> str | None:
        """None: well. Otherwise the code that the monitor reports: the disk's, or that no connector works."""
        troubles = [self._sessions.trouble(slot) for slot in self._sessions.slots.values()]
        return troubles[0] if all(troubles) else None

    def meters(self) -> dict[int, int]:
        """Cumulative registers in Wh, by connector."""
        return {number: slot.connector.register_wh for number, slot in self._sessions.slots.items()}

    @property
    def slots(self) -> Sequence[Slot]:
        """The connectors, for display."""
        return tuple(self._sessions.slots.values())

    @property
    def waiting(self) -> int:
        """Outbox items that Central has not acknowledged."""
        return self._ledger.waiting

    @property
    def disk_error(self) -> str | None:
        """The sentence of a failed disk; None: it works."""
        return self._ledger.broken

    @property
    def online(self) -> bool:
        """A channel to Central is up."""
        return self._online

    # --- orders -----------------------------------------------------------------------------------------------------

    def _order(self, order: Order, now: Now) -> None:
        """Carry out an order once; its repeat on the same channel gets the kept answer. SPEC §6.4"""
        if order.fence < self._fence:
            return
        key = (order.fence, order.command_id)
        kept = self._results.get(key)
        if kept is None:
            answer = self._obey(order, now)
            if not (countable(order.command_id) and countable(order.fence)):
                return
            kept = KeptResult(order.fence, order.command_id, answer.outcome, answer.detail)
            if answer.outcome != "failed":
                self._results[key] = kept
                if len(self._results) > KEPT_RESULTS:
                    self._results.popitem(last=False)
        self._say(Result(command_id=kept.command_id, fence=kept.fence, outcome=kept.outcome, detail=kept.detail))

    def _obey(self, order: Order, now: Now) -> Answer:
        # A stop is carried out whatever its numbers are; everything else needs numbers that can be answered.
        usable = countable(order.command_id) and countable(order.fence)
        done = (KeptResult(order.fence, order.command_id, "done"),) if usable else ()
        if isinstance(order, StopSupply):
            return self._sessions.stop(order, done, now)
        slot = self._sessions.slots.get(order.connector)
        if slot is None or not usable:
            return Answer("rejected", "no such connector")
        if isinstance(order, Authorize):
            return self._sessions.authorize(order, slot, done, now)
        if isinstance(order, StartSupply):
            return self._sessions.start(order, slot, done, now)
        refusal = check_set_limit(order, slot)
        return refusal or self._sessions.set_point(order, slot, now)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _unplug(self, slot: Slot) -> None:
        self._sessions.end_if_running(slot, "unplugged")
        slot.connector.unplug()
        self._sessions.lapse_authorization(slot)
        self._out.extend(self._ledger.due())
        self._say(Unplugged(connector=slot.number))

    def _beat(self, now: Now) -> None:
        """Meters go to disk before Central hears of them: after a crash no register is below what was told."""
        moved = {
            number: slot.connector.register_mj
            for number, slot in self._sessions.slots.items()
            if slot.connector.register_mj != self._sessions.kept_mj.get(number, 0)
        }
        if moved and self._ledger.intent(Batch(at_ms=now.site_ms, meters=moved)):
            self._sessions.kept_mj.update(moved)
        self._guard_disk()
        self._say(Heartbeat())
        for slot in self._sessions.slots.values():
            vehicle = slot.connector.vehicle
            if slot.running is not None and vehicle is not None:
                self._say(
                    SupplyUpdate(
                        session_id=slot.running.session_id,
                        meter_wh=slot.connector.register_wh,
                        power_w=slot.connector.power_w,
                        soc=vehicle.soc_percent,
                    )
                )

    def _note_meters(self, now: Now) -> None:
        """Between two beats: without a flush, so it survives the process; the next beat makes it durable."""
        registers = {number: slot.connector.register_mj for number, slot in self._sessions.slots.items()}
        moved = {number: mj for number, mj in registers.items() if mj != self._noted_mj.get(number, 0)}
        if moved and self._ledger.intent(Batch(at_ms=now.site_ms, meters=moved, durable=False)):
            self._noted_mj.update(moved)

    def _guard_disk(self) -> None:
        """Without a disk nothing may be supplied, for its result could be lost: stop, and say so once."""
        broken = self._ledger.broken is not None
        if broken == self._disk_told:
            return
        self._disk_told = broken
        for slot in self._sessions.slots.values():
            if broken:
                self._sessions.end_if_running(slot, FAULT)
            self._say_status(slot)

    def _say(self, message: Message) -> None:
        if self._online:
            self._out.append(message)

    def _say_status(self, slot: Slot) -> None:
        self._say(Status(connector=slot.number, occupied=slot.occupied, error=self._sessions.trouble(slot)))

    def _take(self) -> list[Message]:
        """What is to be sent, newest outbox items last."""
        self._guard_disk()
        self._out.extend(self._ledger.due())
        out, self._out = self._out, []
        return out
