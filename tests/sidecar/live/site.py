"""Central as the live picture hears it: a log that grows, charge points that change, tables that the test fills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from evcharge.net.answers import CentralAway
from protocol import messages as m
from tests.sidecar.live.chains import event_body

# Rows and records of one answer: few, so that short tests have pages.
PAGE = 3


class FakeSite:
    """A link and the Central behind it."""

    def __init__(self) -> None:
        self.state = "connected"
        self.asked: list[m.Message] = []
        self.bodies: list[bytes] = []
        self.first_seq = 1
        self.run = "run-1"
        self.rows: dict[str, m.ChargePointView] = {}
        self.tables: dict[str, Any] = {
            "substations": [],
            "waiting": [],
            "reservations": [],
            "alerts": [],
            "plan": [],
            "optimization": m.OptimizationView(mode="NORMAL_CHARGING", power_w=11_000, rule="r", reason="It is so."),
            "totals": m.TotalsView(),
        }
        self.checkpoint: m.CheckpointView | None = None
        self.suspect = False
        self.page = PAGE
        self._numbers: dict[str, int] = {}
        self._upto = 0
        self._ups: list[Callable[[], None]] = []
        self._grown = asyncio.Event()

    # --- what happens -------------------------------------------------------------------------------------------------

    def log(self, *bodies: bytes) -> None:
        """Records become durable."""
        self.bodies += bodies
        self._grown.set()
        self._grown = asyncio.Event()

    def happen(self, kind: str, **data: object) -> None:
        """One event."""
        self.log(event_body(kind, 1_000, actor="driver:d-anna-0001", source="192.0.2.7", **data))

    def grow(self, count: int) -> None:
        """So many records of which no picture changes."""
        self.log(*[event_body("meter_sampled", number, session_id="s-1") for number in range(count)])

    def put(self, row: m.ChargePointView) -> None:
        """A charge point is like this now."""
        self._upto += 1
        self.rows[row.cp_id] = row
        self._numbers[row.cp_id] = self._upto

    def restart(self) -> None:
        """Another start of Central: it counts anew."""
        self.run += "+"
        self.down()
        self.up()

    def down(self) -> None:
        self.state = "disconnected"
        self._grown.set()
        self._grown = asyncio.Event()

    def up(self) -> None:
        self.state = "connected"
        for tell in self._ups:
            tell()

    # --- the link -----------------------------------------------------------------------------------------------------

    def on_up(self, tell: Callable[[], None]) -> None:
        self._ups.append(tell)
        if self.state == "connected":
            tell()

    async def ask(self, message: m.Message, timeout_s: float = 1.0) -> m.Reply:
        self.asked.append(message)
        if self.state != "connected":
            raise CentralAway("There is no channel to Central.")
        # An answer never comes within the same step.
        await asyncio.sleep(0)
        match message:
            case m.Follow():
                if message.after_seq >= len(self.bodies):
                    await self._grown.wait()
                if self.state != "connected":
                    raise CentralAway("The channel broke.")
                return m.Reply(re=0, tail=self._tail(message.after_seq))
            case m.Changes():
                return m.Reply(re=0, changes=self._changed(message))
            case m.Query():
                value = self.tables[message.what]
                if message.what in ("optimization", "totals"):
                    return m.Reply(re=0, **{message.what: value})
                begin = int(message.after or 0)
                following = str(begin + self.page) if begin + self.page < len(value) else None
                field = "queue" if message.what == "waiting" else message.what
                return m.Reply(re=0, next=following, **{field: value[begin : begin + self.page]})
            case m.AuditState():
                newest = len(self.bodies)
                state = m.AuditStateView(
                    newest_seq=newest,
                    first_seq=self.first_seq,
                    verified_from=1,
                    verified_to=newest,
                    suspect=self.suspect,
                    checkpoint=self.checkpoint,
                )
                return m.Reply(re=0, audit_state=state)
            case m.AuditPage():
                return m.Reply(re=0, audit=self._audit(message))
        raise AssertionError(f"nobody asks for {message}")

    def _tail(self, after_seq: int) -> m.TailView:
        begin = max(after_seq, self.first_seq - 1)
        rows = [
            m.StoredView(seq=seq, durable=seq - 1, body=body)
            for seq, body in enumerate(self.bodies[begin : begin + self.page], begin + 1)
        ]
        return m.TailView(rows=rows, first_seq=self.first_seq, newest_seq=len(self.bodies))

    def _changed(self, asked: m.Changes) -> m.ChangesView:
        since = asked.since if asked.run == self.run else 0
        changed = sorted((number, cp_id) for cp_id, number in self._numbers.items() if number > since)
        shown = changed[: self.page]
        return m.ChangesView(
            run=self.run,
            upto=shown[-1][0] if shown else since,
            rows=[self.rows[cp_id] for _, cp_id in shown],
            more=len(shown) < len(changed),
        )

    def _audit(self, asked: m.AuditPage) -> m.AuditView:
        rows: list[m.RecordView] = []
        for seq in range(len(self.bodies), 0, -1):
            kind, _, told = msgspec.msgpack.decode(self.bodies[seq - 1])
            if kind == asked.kind:
                details = msgspec.json.encode(told["data"]).decode()
                row = m.RecordView(seq=seq, kind=kind, leaf_hash="", body_bytes=1, at_ms=told["at_ms"], details=details)
                rows.append(row)
        return m.AuditView(rows=rows[: asked.limit], first_seq=1, newest_seq=len(self.bodies))


def charge_point(cp_id: str = "CP-1", driver: str | None = None, **more: Any) -> m.ChargePointView:
    """A charge point with one connector; ``more`` is the connector's."""
    connector = m.ConnectorView(connector=1, state="CHARGING" if driver else "AVAILABLE", driver=driver, **more)
    return m.ChargePointView(cp_id=cp_id, state="SUPPLYING" if driver else "ACTIVATED", connectors=[connector])
