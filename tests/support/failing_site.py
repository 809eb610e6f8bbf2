"""A site whose substations fail, and what may flow at each of its nodes meanwhile."""

from __future__ import annotations

from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.digest import Digest, fingerprint
from evcharge.domain.headroom import worst_case_w
from evcharge.domain.site import NodeConfig, SiteConfig
from evcharge.domain.words import Health, Stamp
from evcharge.ids import ChargePointId, NodeId, SessionId
from evcharge.units import Watts
from tests.support.scenario import CP, OTHER, Scenario, connected, plug, request, started

NORTH, SOUTH, ROW, TOP = NodeId("north"), NodeId("south"), NodeId("row"), NodeId("top")
THIRD = ChargePointId("cp-3")


def a_site(
    north_w: int = 30_000,
    south_w: int = 30_000,
    backups: dict[NodeId, tuple[NodeId, ...]] | None = None,
    **more: object,
) -> c.StartCentral:
    """CP and THIRD at north, OTHER at south; unless told otherwise, south stands in for north."""
    config = {
        "capacities": {NORTH: Watts(north_w), SOUTH: Watts(south_w)},
        "assignments": {CP: NORTH, THIRD: NORTH, OTHER: SOUTH},
        "nodes": {name: NodeConfig(backups=by) for name, by in (backups or {NORTH: (SOUTH,)}).items()},
    }
    return c.StartCentral(site=SiteConfig(**{**config, **more}))  # type: ignore[arg-type]


class Power(Scenario):
    """Looks at nodes, acknowledges what is sent, and checks the sum at every node at every step, and after every event
    that its fingerprint is that of the whole state.
    """

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list[fx.Effect]:
        digest = Digest(self.state)
        digest.value()
        digest.touch(event)
        effects = super().apply(event, stamp)
        assert digest.value() == fingerprint(self.state), event
        return effects

    def execute(self, command, source=""):  # type: ignore[no-untyped-def]
        done = super().execute(command, source)
        for node_id, watts in worst_case_w(self.state, self.clock_ms).items():
            node = self.state.nodes[node_id]
            assert watts <= node.capacity_w - node.base_w, f"{watts} W at {node_id}"
        return done

    def look(self, node_id: NodeId = NORTH, *, acknowledge: bool = True) -> list[e.Event]:
        """Share anew once; what is sent is applied."""
        self.when(c.Reallocate(node_id=node_id))
        events = self.events
        for event in events if acknowledge else ():
            if isinstance(event, e.SetPointIssued):
                session = self.state.sessions[event.session_id]
                self.given(c.ReportResult(cp_id=session.cp_id, command_id=event.grant.command_id, outcome="done"))
        return events

    def settle(self, seconds: int = 0) -> list[e.Event]:
        """Share anew every 3 s, until nothing changes and ``seconds`` have passed; all that happened."""
        found: list[e.Event] = []
        until_ms = self.at_ms + seconds * 1_000
        while True:
            happened = self.look()
            found += happened
            if not happened and self.at_ms >= until_ms:
                return found
            if not happened:
                self.pass_time(3_000)

    def health(self, node_id: NodeId = NORTH) -> Health:
        return self.state.nodes[node_id].health

    def supplied(self, session_id: str, power_w: int = 5_000) -> None:
        """The meter shows power."""
        session = self.session(session_id)
        self.given(
            c.ReportMeter(
                cp_id=session.cp_id, session_id=SessionId(session_id), meter_wh=session.meter_wh, power_w=Watts(power_w)
            )
        )

    def limit_w(self, session_id: str) -> int:
        newest = self.session(session_id).lease.newest
        return 0 if newest is None else newest.limit_w


def moves(events: list[e.Event]) -> list[tuple[str, str]]:
    return [(event.cp_id, event.to_id) for event in events if isinstance(event, e.ChargePointMoved)]


def begin(power: Power, session_id: str, cp_id: ChargePointId) -> None:
    """A session that is supplied."""
    power.given(request(session_id, cp_id), plug(cp_id))
    power.settle()
    power.given(started(session_id, cp_id=cp_id))


def charging(*session_cps: ChargePointId, **site: object) -> Power:
    """One session at each of these, s-1, s-2 …, all supplied; all three charge points are up."""
    power = Power().given(a_site(**site))  # type: ignore[arg-type]
    for fence, cp_id in enumerate((CP, OTHER, THIRD), 1):
        power.given(*connected(cp_id, fence))
    for number, cp_id in enumerate(session_cps, 1):
        begin(power, f"s-{number}", cp_id)
    power.settle(120)
    return power  # type: ignore[return-value]
