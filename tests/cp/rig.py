"""A charge point on a bench: memory for a disk, clocks that tests move, and Central's side of the wire by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from evcharge.cp.engine import EngineCore
from evcharge.cp.slot import Now
from evcharge.cp.store import KEPT_RESULTS, Batch, Item, Saved, StoreError
from evcharge.cp.vehicle import Vehicle, VehicleSpec
from protocol.messages import (
    Ack,
    Authorize,
    ConnectorInfo,
    Message,
    Outbox,
    Result,
    SetLimit,
    StartSupply,
    StopSupply,
)

M = TypeVar("M", bound=Message)
SITE_MS = 1_700_000_000_000
CHANNEL_MS = 5_000_000


class Crash(BaseException):
    """The process dies here."""


class MemoryStore:
    """A disk that survives the engine. ``before`` is called with each batch and may raise; ``after`` likewise."""

    def __init__(self, outbox_epoch: int = 7) -> None:
        self.saved = Saved(outbox_epoch=outbox_epoch)
        self.before: Callable[[Batch], None] = lambda batch: None
        self.after: Callable[[Batch], None] = lambda batch: None
        self.writes: list[Batch] = []

    def load(self) -> Saved:
        # Through bytes and back, so that nothing is shared with the engine that died.
        return msgspec.msgpack.decode(msgspec.msgpack.encode(self.saved), type=Saved)

    def write(self, batch: Batch) -> None:
        self.before(batch)
        self.writes.append(batch)
        saved = self.saved
        if batch.meters:
            saved.meters.update(batch.meters)
            saved.meters_at_ms = batch.at_ms
        for changes, table in ((batch.running, saved.running), (batch.authorized, saved.authorized)):
            for connector, entry in changes.items():
                if entry is None:
                    table.pop(connector, None)
                else:
                    table[connector] = entry
        if batch.acked is not None:
            saved.items = [item for item in saved.items if item.n > batch.acked]
        if batch.items:
            saved.items.extend(batch.items)
            saved.next_n = batch.items[-1].n + 1
        saved.results = (saved.results + list(batch.results))[-KEPT_RESULTS:]
        self.after(batch)

    def fill_up(self, *, transient: bool = True) -> None:
        """From now on the disk is full (or broken)."""

        def refuse(batch: Batch) -> None:
            raise StoreError("the disk is full", transient=transient)

        self.before = refuse

    def empty(self) -> None:
        """Room again."""
        self.before = lambda batch: None


class Rig:
    """One engine with its clocks; ``sent`` holds all messages that it sent while a channel was up."""

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        connectors: int = 1,
        speed: float = 1.0,
        min_w: int = 1_380,
        max_w: int = 7_360,
        fine_meter: bool = False,
    ) -> None:
        self.store = store or MemoryStore()
        self.ratings = [ConnectorInfo(connector=n, min_w=min_w, max_w=max_w) for n in range(1, connectors + 1)]
        self.speed = speed
        self.wall_s = 1000.0
        self.site_ms = SITE_MS
        self.channel = False
        self.channel_offset_ms = CHANNEL_MS
        self.sent: list[Message] = []
        self.trace: list[tuple[int, int, int]] = []
        self.command_id = 0
        self.fence = 1
        self.fine_meter = fine_meter
        self.boot()

    def boot(self) -> None:
        """A new process on the same disk."""
        self.channel = False
        self.engine = EngineCore(
            self.ratings,
            self.store,
            self.now,
            sink=lambda *change: self.trace.append(change),
            firmware="test",
            fine_meter=self.fine_meter,
        )

    @property
    def now(self) -> Now:
        return Now(self.site_ms, self.wall_s, self.channel_ms if self.channel else None)

    @property
    def channel_ms(self) -> int:
        return self.channel_offset_ms + round((self.wall_s - 1000.0) * 1000)

    def take(self, messages: list[Message]) -> list[Message]:
        self.sent += messages
        return messages

    def wait(self, wall_s: float, *, tick_s: float = 0.1) -> list[Message]:
        """Let wall time pass in ticks; site time passes ``speed`` times as fast."""
        start = len(self.sent)
        end = self.wall_s + wall_s
        site_start, wall_start = self.site_ms, self.wall_s
        while self.wall_s < end - 1e-9:
            self.wall_s = min(end, self.wall_s + tick_s)
            self.site_ms = site_start + round((self.wall_s - wall_start) * 1000 * self.speed)
            self.take(self.engine.tick(self.now))
        return self.sent[start:]

    def connect(self, next_n: int = 0, fence: int | None = None) -> list[Message]:
        self.fence = fence if fence is not None else self.fence + 1
        self.channel = True
        return self.take(self.engine.on_channel_up(self.fence, next_n, self.now))

    def disconnect(self) -> None:
        self.channel = False
        assert self.engine.on_channel_down(self.now) == []

    def plug(self, connector: int = 1, *, vehicle: Vehicle | None = None, **spec: object) -> list[Message]:
        car = vehicle or Vehicle.from_spec(msgspec.convert(spec, VehicleSpec), self.ratings[connector - 1].max_w)
        return self.take(self.engine.plug(connector, car, self.now))

    def unplug(self, connector: int = 1) -> list[Message]:
        return self.take(self.engine.unplug(connector, self.now))

    def command(self, shape: type[M], **fields: object) -> list[Message]:
        """Central sends a command with the next number, on this channel, unless the fields say otherwise."""
        self.command_id += 1
        fields = {"command_id": self.command_id, "fence": self.fence, "connector": 1, **fields}
        return self.take(self.engine.on_message(shape(**fields), self.now))

    def authorize(self, session_id: str = "S1", **fields: object) -> list[Message]:
        return self.command(Authorize, session_id=session_id, **fields)

    def start(self, session_id: str = "S1", *, lease_s: float = 86_400.0, **fields: object) -> list[Message]:
        fields = {
            "limit_w": 7_360,
            "expires_ms": self.channel_ms + int(lease_s * 1000),
            "fallback_w": 1_380,
            "reason": "equal share",
            "valid_until_ms": self.channel_ms + 10_000,
            **fields,
        }
        return self.command(StartSupply, session_id=session_id, **fields)

    def limit(self, limit_w: int, *, lease_s: float = 86_400.0, **fields: object) -> list[Message]:
        fields = {
            "limit_w": limit_w,
            "expires_ms": self.channel_ms + int(lease_s * 1000),
            "fallback_w": 1_380,
            "reason": "equal share",
            **fields,
        }
        return self.command(SetLimit, **fields)

    def stop(self, reason: str = "driver_ended", **fields: object) -> list[Message]:
        return self.command(StopSupply, reason=reason, **fields)

    def ack(self, n: int) -> list[Message]:
        return self.take(self.engine.on_message(Ack(n=n), self.now))

    def charging(self, energy_wh: int | None = None, *, lease_s: float = 86_400.0, **spec: object) -> Rig:
        """Given: online, a vehicle plugged in, session S1 supplying."""
        self.connect()
        self.authorize(energy_wh=energy_wh)
        self.plug(**spec)
        assert result(self.start(lease_s=lease_s)) == "done"
        return self

    @property
    def power_w(self) -> int:
        return self.engine.slots[0].connector.power_w

    @property
    def register_wh(self) -> int:
        return self.engine.meters()[1]


def result(messages: list[Message]) -> str:
    """The outcome of the one result among messages."""
    (found,) = (message for message in messages if isinstance(message, Result))
    return found.outcome


def of(shape: type[M], messages: list[Message]) -> list[M]:
    """Messages of one shape; payloads of the outbox count as what they are."""
    bare = [message.payload if isinstance(message, Outbox) else message for message in messages]
    return [message for message in bare if isinstance(message, shape)]


def numbers(messages: list[Message]) -> list[int]:
    """Numbers of the outbox items among messages."""
    return [message.n for message in messages if isinstance(message, Outbox)]


def kept(store: MemoryStore) -> list[Item]:
    return store.saved.items
