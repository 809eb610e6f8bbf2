"""A Central in this process, a registry to ask, and peers on the real wire that are led by the test.

Nothing here waits for time: peers wait for facts, and a ``ManualClock`` stands still until a test moves it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from evcharge.audit.event_codec import LoggedEvent, decode
from evcharge.audit.files import OsFiles
from evcharge.central.registry import Bootstrap, RegistryAccess
from evcharge.central.service import Central
from evcharge.central.settings import Settings
from evcharge.domain import events as e
from evcharge.domain.evolve import evolve
from evcharge.domain.state import ChargePoint, Session, State, shown_state
from evcharge.domain.words import Shown
from evcharge.ids import ChargePointId, SessionId
from evcharge.net.ports import held_port
from evcharge.net.timers import TimerWheel
from protocol import messages as m
from protocol.credentials import Credential, Role
from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry
from tests.support.history import History
from tests.support.wire import CENTRAL
from tests.support.wire_peers import EnginePeer, WirePeer, turns, until

__all__ = ["EnginePeer", "Site", "WirePeer", "canonical", "copy_of", "turns", "until"]

# Bytes of a segment on the tests' disk: nobody has to look through 64 MiB of zeros.
SEGMENT = 1 << 18

E = TypeVar("E", bound=e.Event)


class DiskInHand(OsFiles):
    """A disk whose syncs wait for the test, or fail."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waiting = 0
        """Syncs that wait now."""
        self.failing: dict[str, int] = {}
        """Call → the errno with which it fails from now on."""
        self.room: int | None = None
        """Bytes that are free; None: what the machine says."""

    def hold(self) -> None:
        """From now on a sync does not return."""
        self._open.clear()

    def release(self) -> None:
        """The syncs go on."""
        self._open.set()

    def free(self, path: Path) -> int:
        self._check("free")
        return super().free(path) if self.room is None else self.room

    def allocate(self, handle: int, size: int) -> None:
        self._check("allocate")
        super().allocate(handle, min(size, SEGMENT))

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        self._check("pwrite")
        return super().pwrite(handle, data, offset)

    def fdatasync(self, handle: int) -> None:
        self.waiting += 1
        self._open.wait()
        self.waiting -= 1
        self._check("fdatasync")
        super().fdatasync(handle)

    def _check(self, call: str) -> None:
        number = self.failing.get(call)
        if number is not None:
            raise OSError(number, os.strerror(number))


class Site:
    """Central, its registry and its peers. Use as ``async with``; ``settings`` are Central's."""

    def __init__(self, directory: Path, clock: ManualClock | None = None, **settings: Any) -> None:
        self.directory = directory
        self.clock = clock or ManualClock()
        self.timers = self.clock.watch(TimerWheel(self.clock))
        self.registry = FakeRegistry()
        self.disk = DiskInHand()
        self.central: Central
        self.peers: list[WirePeer] = []
        # A registry in this process that is slow to answer is not away.
        kept = {"port": 0, "drain_s": 0.0, "capacity_kw": 22.0, "ballast_mib": 0, "lookup_s": 9.0}
        self._settings = kept | settings
        self._running = False

    async def __aenter__(self) -> Site:
        await self.registry.start()
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.disk.release()
        for peer in self.peers:
            await peer.leave()
        if self._running:
            await self.stop()
        await self.registry.stop()
        self.timers.close()

    # --- Central --------------------------------------------------------------------------------------------------

    def make(self, **settings: Any) -> Central:
        """A Central on this directory, not started."""
        access = RegistryAccess(self.registry.url, self.registry.public_key, self.registry.token)
        values = {"data_dir": self.directory / "central", "registry_url": str(access.url)}
        return Central(
            Settings(**(values | self._settings | settings)),  # type: ignore[arg-type]  # a test's own mixture
            Bootstrap(CENTRAL, access),
            self.clock,
            files=self.disk,
        )

    async def start(self, *, followed: bool = True, **settings: Any) -> None:
        """Start Central, by default with a registry that it has asked already."""
        self.central = self.make(**settings)
        await self.central.start()
        self.clock.watch(self.central._server.timers)
        self.clock.watch(self.central._server.lanes.timers)
        self._running = True
        self.history = History(self.central.log_dir)
        if followed:
            await until(lambda: self.central._registry.live)

    async def stop(self) -> None:
        """Drain. Closing connections linger until the clock moves on, when a peer takes nothing."""
        self._running = False
        stopping = asyncio.create_task(self.central.stop())
        while not stopping.done():
            await asyncio.sleep(0.001)
            if self.central._server.draining and self.central._journal._lock is None:
                self.clock.advance(0.1)
        await stopping

    async def kill(self) -> None:
        """Central dies: nothing is said any more, not even to the log. Its disk keeps what was synced."""
        self._running = False
        central = self.central
        central._reception.stopping = True
        central._engine.close()
        central._server.stop_listening()
        await central._tasks.stop()
        await asyncio.to_thread(central._journal.close)
        for adapter in list(central._server.adapters):
            assert adapter._transport is not None
            adapter._transport.abort()
        await until(lambda: not central._server.adapters)
        central._server.timers.close()
        central._kept.close()

    async def restart(self, *, killed: bool = False) -> None:
        """Another Central on the same directory, and the same port so that peers find it."""
        self._settings["port"] = self.central.port
        if self._running:
            await (self.kill() if killed else self.stop())
        with held_port("127.0.0.1", self.central.port):
            await self.start()

    # --- peers ----------------------------------------------------------------------------------------------------

    def credential(self, role: Role, entity: str, username: str | None = None, **record: Any) -> Credential:
        """A registered credential."""
        return self.registry.register(role, entity, username, **record)

    def join(self, credential: Credential, **client: Any) -> WirePeer:
        """A program with this credential; it is on its way."""
        kind = EnginePeer if credential.role is Role.CP else WirePeer
        peer = kind(self, credential, **client)
        self.peers.append(peer)
        return peer

    async def engine(
        self, cp_id: str = "CP-1", *, connectors: int = 1, plugged: bool = True, **boot: int
    ) -> EnginePeer:
        """An engine that is connected and known, by default with a vehicle at its first connector."""
        engine = self.join(self.credential(Role.CP, cp_id))
        assert isinstance(engine, EnginePeer)
        await engine.up()
        await engine.boot(connectors, **boot)
        if plugged:
            engine.send(m.Plugged(connector=1))
        await engine.heard()
        return engine

    async def monitor(self, cp_id: str = "CP-1") -> WirePeer:
        """A monitor that is connected."""
        return await self._joined(self.credential(Role.MONITOR, cp_id))

    async def driver(self, name: str = "anna") -> WirePeer:
        """A driver that is connected."""
        return await self._joined(self.credential(Role.DRIVER, name))

    async def operator(self, name: str = "sidecar") -> WirePeer:
        """The sidecar, connected; by another name a second one."""
        return await self._joined(self.credential(Role.GATEWAY, name))

    async def console(self) -> WirePeer:
        """The netcat-like console, connected."""
        return await self._joined(self.credential(Role.DEBUG, "console"))

    async def _joined(self, credential: Credential) -> WirePeer:
        peer = self.join(credential)
        await peer.up()
        return peer

    async def charge(
        self, driver: WirePeer, cp_id: str = "CP-1", *, connector: int = 0, energy_wh: int | None = None
    ) -> str:
        """A granted charge request; the session's id."""
        reply = await driver.ask(m.ChargeRequest(id=0, cp_id=cp_id, connector=connector, energy_wh=energy_wh))
        assert isinstance(reply.session_id, str)
        return reply.session_id

    async def charging(self, cp_id: str = "CP-1", name: str = "anna") -> tuple[EnginePeer, WirePeer, str]:
        """An engine that supplies, its driver and the session."""
        engine, driver = await self.engine(cp_id), await self.driver(name)
        session_id = await self.charge(driver, cp_id)
        await engine.start(session_id)
        return engine, driver, session_id

    async def beat(self, seconds: float, *peers: WirePeer) -> None:
        """Time passes; these peers are heard meanwhile."""
        while seconds > 0:
            step = min(seconds, 1.0)
            self.clock.advance(step)
            seconds -= step
            for peer in peers:
                await peer.heard()

    async def settled(self) -> None:
        """Everything so far is durable, and nothing of it waits to be marked."""
        await until(lambda: self.central._journal.last == self.central._journal.durable)

    async def followed(self) -> None:
        """Wait until Central has taken every change of the registry so far."""
        await until(lambda: self.central._kept.followed().rev == self.registry.rev and self.central._registry.live)

    async def lost_the_feed(self) -> None:
        """The change feed is cut and Central knows it; look-ups are answered."""
        self.registry.cut_feed()
        await until(lambda: not self.central._registry.live)

    # --- facts ----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.central.state

    def cp(self, cp_id: str = "CP-1") -> ChargePoint:
        return self.state.charge_points[ChargePointId(cp_id)]

    def shown(self, cp_id: str = "CP-1") -> Shown:
        return shown_state(self.state, self.cp(cp_id))

    def session(self, session_id: str) -> Session:
        return self.state.sessions[SessionId(session_id)]

    def logged(self, kind: type[E]) -> list[E]:
        """Durable events of a kind."""
        return self.history.all(kind)

    def lines(self, kind: type[e.Event]) -> list[LoggedEvent]:
        """Durable events of a kind with their stamps."""
        return [line for line in self.history.logged if isinstance(line.event, kind)]

    def state_at(self, seq: int) -> State:
        """The state that the first ``seq`` records of the log tell."""
        state = State()
        for record in self.history.records:
            logged = decode(record.body)
            if record.seq <= seq and logged is not None:
                evolve(state, logged.event, logged.stamp)
        return state

    def state_behind(self, kind: type[e.Event]) -> State:
        """The state that the log tells up to its newest event of this kind: whatever has come since."""
        found = [(record.seq, decode(record.body)) for record in self.history.records]
        return self.state_at(max(seq for seq, it in found if it is not None and isinstance(it.event, kind)))

    async def line(self, kind: type[E], **fields: object) -> E:
        """Wait until the log has an event of this kind with these fields."""

        def found() -> E | None:
            return next((it for it in self.logged(kind) if fields.items() <= msgspec.structs.asdict(it).items()), None)

        try:
            await until(found)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} with {fields}; there are {self.logged(kind)}") from None
        event = found()
        assert event is not None
        return event


def canonical(state: State) -> bytes:
    """A state as bytes; the order of its tables counts, that of its sets does not."""
    copy = copy_of(state)
    for charge_point in copy.charge_points.values():
        charge_point.holds = sorted(charge_point.holds)  # type: ignore[assignment]  # only to be written
    return msgspec.msgpack.encode(copy)


def copy_of(state: State) -> State:
    """A state that shares nothing with the other; what follows from the rest of it is left out."""
    bare = msgspec.structs.replace(state, spots=None)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(bare), type=State)
