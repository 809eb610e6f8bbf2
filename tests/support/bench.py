"""Central's inside without a network: messages go in as bytes, and what Central says is checked for legality."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, ClassVar

from evcharge.central.changes import Changes
from evcharge.central.deadlines import Deadlines
from evcharge.central.decisions import Decisions
from evcharge.central.engine import CENTRAL, Engine
from evcharge.central.inbound import Inbound
from evcharge.central.outbound import Outbound
from evcharge.central.peers import Directory, Peer
from evcharge.central.planning import Planning
from evcharge.central.ruling import RuleWatch
from evcharge.central.sensors import Sensors
from evcharge.central.site_entries import EnergyEntry
from evcharge.central.substations import Substations
from evcharge.central.surroundings import Surroundings
from evcharge.central.telemetry import Telemetry
from evcharge.central.translate.advice import Advice
from evcharge.central.translate.incoming import ROLES
from evcharge.central.translate.tables import Questions
from evcharge.domain import commands as c
from evcharge.domain.refusals import RefusalReason, sentence
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.ids import ChargePointId, Fence, NodeId
from evcharge.net.timers import TimerWheel
from evcharge.units import Watts
from protocol import codec
from protocol import messages as m
from protocol.credentials import Role
from protocol.dialogue import Dialogue
from protocol.errors import CloseCode, ProtocolError
from tests.support.clock import ManualClock
from tests.support.wire import seeded


class MemoryLog:
    """A log whose records are durable when the bench says so."""

    durable = 0

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def append(self, body: bytes) -> int:
        self.bodies.append(body)
        return len(self.bodies)


class NoFiles:
    """Stands for those who read the log's files: here it has none."""

    KINDS: ClassVar = (m.AuditPage, m.AuditProof, m.AuditState, m.Follow)

    def answer(self, peer: Peer, message: Any) -> None:
        reason = RefusalReason.LOG_UNREADABLE
        peer.send(m.Refused(re=message.id, reason=reason.value, sentence=sentence(reason, "its files")))


class Line:
    """Stands for an adapter: both directions go through the wire's own codec and legality table."""

    reading = True
    address = "192.0.2.1"

    def __init__(self, role: Role) -> None:
        self.conn = SimpleNamespace(closed=False, last_received=0.0)
        self.dialogue = Dialogue(role, central=True)
        self.sent: list[m.Message] = []
        self.code: CloseCode | None = None

    def send(self, message: m.Message) -> bool:
        if not self.conn.closed:
            self.dialogue.write(message)
            self.sent.append(message)
        return not self.conn.closed

    def silent_s(self, now: float) -> float:
        return now - self.conn.last_received

    def close(self, code: CloseCode) -> None:
        self.conn.closed = True
        self.code = code


class Bench:
    """Central with two substations of one charge point each; every sentence is durable at once."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = State()
        self.log = MemoryLog()
        self.failures: list[BaseException] = []
        self.dirty: list[NodeId] = []
        self.directory = Directory()
        self.telemetry = Telemetry()
        self.decisions = Decisions()
        self.deadlines = Deadlines(self.clock, lambda sid: self.execute(c.PassDeadline(session_id=sid)))
        self.outbound = Outbound(
            self.directory,
            self.telemetry,
            self.clock,
            decisions=self.decisions,
            dirty=self.dirty.append,
            urgent=self.dirty.append,
            wake=self.deadlines.add,
            revoke=lambda peer: peer.adapter.close(CloseCode.REVOKED),
        )
        loop: Any = None
        self.engine = Engine(self.state, self.log, self.clock, self.outbound.release, self.failures.append, loop=loop)
        self.outbound.attach(self.engine)
        advice = Advice(self.decisions, {})
        self.sensors = Sensors(self.clock)
        rules = RuleWatch(self.sensors, self.clock, self.execute, limiting=False)
        planning = Planning(lambda: self.state, self.sensors, EnergyEntry(), self.clock, self.execute)
        surroundings = Surroundings(self.engine, self.sensors, planning, self.dirty.append)
        substations = Substations(
            TimerWheel(self.clock), self.clock, 10.0, lambda command: self.engine.execute(command)
        )
        changes = Changes("run", lambda: self.state.charge_points, lambda: self.state.sessions)
        self.engine.on_change = changes.touched
        questions = Questions(
            *(self.engine, self.directory, self.telemetry, rules, substations, self.clock, advice),
            self.sensors.measured_w,
            changes,
        )
        self.inbound = Inbound(
            self.engine,
            self.outbound,
            self.telemetry,
            surroundings,
            substations,
            self.clock,
            changes,
            questions,
            NoFiles(),
            entropy=seeded(1),
        )
        self.fence = 0
        north, south = NodeId("north"), NodeId("south")
        self.execute(
            c.StartCentral(
                site=SiteConfig(
                    capacities={north: Watts(22_000), south: Watts(22_000)},
                    assignments={ChargePointId("CP-1"): north, ChargePointId("CP-2"): south},
                )
            )
        )

    def execute(self, command: Any) -> None:
        """A command of Central's own."""
        self.engine.execute(command, CENTRAL)
        self.settle()

    def settle(self) -> None:
        """Everything is durable, and power is shared where something changed."""
        self.engine._became_durable(len(self.log.bodies))
        while self.dirty:
            dirty, self.dirty[:] = list(dict.fromkeys(self.dirty)), []
            for substation_id in dirty:
                self.engine.execute(c.Reallocate(node_id=substation_id))
            self.engine._became_durable(len(self.log.bodies))

    def join(self, role: Role, entity: str, *, outbox_epoch: int | None = None) -> Peer:
        """A peer is in; an older one of the same name is out."""
        self.fence += 1
        line: Any = Line(role)
        peer = Peer(
            line,
            role=ROLES[role],
            entity=entity,
            username=f"{role.label}-{entity}",
            public_key=bytes(32),
            fence=Fence(self.fence),
            boot_id=bytes(16),
            outbox_epoch=outbox_epoch,
            stale=False,
        )
        older = self.directory.take_over(peer)
        self.engine.execute(
            c.PeerReady(
                role=peer.role,
                entity=entity,
                username=peer.username,
                fence=peer.fence,
                boot_id=peer.boot_id,
                outbox_epoch=outbox_epoch,
            ),
            peer.origin,
        )
        if older is not None:
            older.adapter.close(CloseCode.SUPERSEDED)
            self.engine.execute(
                c.PeerGone(role=older.role, entity=entity, fence=older.fence, cause="superseded"), older.origin
            )
        self.settle()
        return peer

    def say(self, peer: Peer, message: m.Message) -> bool:
        """The peer says this; False: it is not legal for this peer now, and the real wire would end the channel."""
        try:
            read = line_of(peer).dialogue.read(codec.encode(message))
        except ProtocolError:
            return False
        self.inbound.message(peer, read)
        self.settle()
        return True


def line_of(peer: Peer) -> Line:
    """The bench's stand-in for the adapter of a peer."""
    line: Any = peer.adapter
    assert isinstance(line, Line)
    return line
