"""Logs of generated days, on disk as Central leaves them, and what replays make of them.

As a program it prints what this interpreter makes of the logs in a folder:
``python -m tests.support.generated_logs FOLDER [SEED …]``; of each SEED it lives the day again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from evcharge.audit.attest import Attestor
from evcharge.audit.control import state_body
from evcharge.audit.files import OsFiles
from evcharge.audit.folding import Folding
from evcharge.audit.keys import CURRENT, NEXT, load, make
from evcharge.audit.record import Record
from evcharge.audit.replay import CleanEnd, replay
from evcharge.central.recall import Recalled, recall, resume
from evcharge.central.snapshots import make_snapshot
from evcharge.domain import commands as c
from evcharge.domain import effects as fx
from evcharge.domain import events as e
from evcharge.domain.digest import RULES, Digest, fingerprint
from evcharge.domain.site import SiteConfig
from evcharge.domain.state import State
from evcharge.domain.words import Role, Stamp, StopCause
from evcharge.ids import ChargePointId, ConnectorNo, DriverId, Fence, SessionId, ticket_of
from evcharge.units import WattHours, Watts
from tests.support.model_site import Site
from tests.support.model_steps import run, rush
from tests.support.scenario import canonical

ORIGIN = "evcharge/generated"
# Steps of one day: some logs are short, some have more than a thousand records.
STEPS = (15, 60, 200, 600)
# Small segments, so that a long log has several; the large ones take a whole log.
SEGMENTS = (8_192, 1 << 20)


class QuickFiles(OsFiles):
    """Nothing is synced: what a replay makes of the bytes is looked at, not whether they outlive a power cut."""

    def fdatasync(self, handle: int) -> None:
        """Not needed here."""

    def fsync(self, handle: int) -> None:
        """Not needed here."""

    def sync_directory(self, path: Path) -> None:
        """Not needed here."""

    def allocate(self, handle: int, size: int) -> None:
        super().allocate(handle, min(size, max(SEGMENTS)))


FILES = QuickFiles()


class Replayed(msgspec.Struct, frozen=True):
    """What two replays of one log came to, in hexadecimal."""

    name: str
    snapshot: int
    """The record behind which the second one began."""
    whole: str
    """Hash of the state, kept up to date event by event from the first record."""
    tail: str
    """The same of the snapshot's state and what came after it, made at the end."""
    whole_bytes: str
    """SHA-256 of every byte of the state, with the order of every map."""
    tail_bytes: str
    compared: int
    """Hashes in the log that agreed."""


class Day(Site):
    """A site on which strangers are let in as well: what flows is not compared, only what is said of it."""

    waits = False

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.source = ""
        self.said: dict[int, bytes] = {}
        """Events → the hash of the state behind so many."""
        self.digest: Digest | None = None
        self._digested: State | None = None
        super().__init__(
            capacity_w=self.rng.choice((6_000, 16_000, 90_000)), charge_points=self.rng.choice((3, 3, 5, 12))
        )

    def stamp(self, actor: str = "central", source: str = "") -> Stamp:
        return super().stamp(actor, source or self.source)

    def apply(self, event: e.Event, stamp: Stamp | None = None) -> list[fx.Effect]:
        if self.digest is None or self._digested is not self.state:
            self.digest, self._digested = Digest(self.state), self.state
        self.digest.touch(event)
        effects = super().apply(event, stamp)
        if self.rng.random() < 0.02:
            self.said[len(self.log)] = self.digest.value()
        return effects

    def crash(self, config: SiteConfig | None = None) -> None:
        self.said = {place: said for place, said in self.said.items() if place <= self.durable}
        super().crash(config)

    def check(self) -> None:
        """Strangers name other people's sessions: no sum has to be right here."""

    def _release(self, effect: fx.Effect) -> None:
        if not isinstance(effect, fx.CloseChannel):
            super()._release(effect)

    def live(self) -> None:
        """Ordinary steps in portions, and in between something that strangers, operators or the registry do."""
        for _ in range(self.rng.choice(STEPS) // 5):
            run(self, self.rng.randbytes(3 * 5))
            if self.rng.random() < 0.5:
                self.source = f"10.0.{self.rng.randrange(4)}.{self.rng.randrange(60)}"
                self.rng.choice(STRANGE)(self, ChargePointId(f"cp-{self.rng.randrange(len(self.cps))}"))
                self.source = ""
        if self.rng.random() < 0.5:
            # Half of the logs end when much is going on.
            rush(self, self.rng.randrange(256))
        self.synced = True
        self.sync()

    def some_session(self) -> SessionId:
        """An open one, or one that never was."""
        return self.rng.choice([*self.state.sessions, SessionId("s-none")])


# --- what strangers, operators and the registry do --------------------------------------------------------------------


def _turned_away(day: Day, _cp_id: ChargePointId) -> None:
    authentication = day.rng.random() < 0.8
    day.command(c.PeerRejected(code="unknown", authentication=authentication, count=day.rng.randrange(1, 7)))


def _revoke(day: Day, cp_id: ChargePointId) -> None:
    role = day.rng.choice((Role.ENGINE, Role.MONITOR, Role.DRIVER))
    entity = f"d-{day.rng.randrange(2)}" if role is Role.DRIVER else cp_id
    day.command(c.RevokePeer(role=role, entity=entity, username=f"u-{entity}"))


def _duplicate(day: Day, cp_id: ChargePointId) -> None:
    day.command((c.RaiseDuplicate, c.ClearDuplicate)[day.rng.randrange(2)](role=Role.ENGINE, entity=cp_id))


def _rollback(day: Day, _cp_id: ChargePointId) -> None:
    if day.rng.random() < 0.1:
        day.command(c.RaiseIncident(code="log_rollback", detail="evcharge/generated\n9\n"))


def _driver(day: Day, _cp_id: ChargePointId) -> None:
    entity = f"d-{day.rng.randrange(3)}"
    fence = day.fence()
    day.command(c.PeerReady(role=Role.DRIVER, entity=entity, username=entity, fence=fence, boot_id=b""))
    if day.rng.random() < 0.5:
        day.command(c.PeerGone(role=Role.DRIVER, entity=entity, fence=fence, cause="eof"))


def _confirm(day: Day, _cp_id: ChargePointId) -> None:
    for driver_id, driver in day.state.drivers.items():
        for ticket_id in list(driver.undelivered)[: day.rng.randrange(3)]:
            day.command(c.ConfirmTicket(driver_id=driver_id, ticket_id=ticket_id))
    day.command(c.ConfirmTicket(driver_id=DriverId("d-1"), ticket_id=ticket_of(SessionId("s-1"))))


def _fault(day: Day, cp_id: ChargePointId) -> None:
    if cp_id not in day.state.charge_points:
        return
    day.command(c.ReportFault(cp_id=cp_id, code=day.rng.choice(("ko", "hot", "door"))))
    day.command(c.StopChargePoints(cp_id=day.rng.choice((cp_id, cp_id, None))))


def _lie(day: Day, cp_id: ChargePointId) -> None:
    """A charge point that is known speaks of any session, with any meter."""
    if cp_id not in day.state.charge_points:
        return
    session_id, meter_wh = day.some_session(), WattHours(day.rng.choice((0, 1_200, 10**12 + 1)))
    day.command(
        day.rng.choice(
            (
                c.ReportStarted(cp_id=cp_id, session_id=session_id, meter_wh=meter_wh),
                c.ReportMeter(cp_id=cp_id, session_id=session_id, meter_wh=meter_wh, power_w=Watts(900)),
                c.ReportPaused(cp_id=cp_id, session_id=session_id, paused=day.rng.random() < 0.5, meter_wh=meter_wh),
                c.ReportEnded(cp_id=cp_id, session_id=session_id, meter_wh=meter_wh, reason=StopCause.UNPLUGGED),
                c.ReportResult(cp_id=cp_id, command_id=day.rng.randrange(40), outcome="rejected"),
                c.BootChargePoint(
                    cp_id=cp_id, connectors=(c.ConnectorRating(ConnectorNo(1), Watts(9_000), Watts(7_000)),)
                ),
            )
        )
    )


def _newcomer(day: Day, _cp_id: ChargePointId) -> None:
    """A charge point that nobody has seen before, with a name from anywhere in the order of names."""
    cp_id = ChargePointId(f"{day.rng.choice('abcxyz')}-{day.rng.randrange(1_000)}")
    fence: Fence = day.fence()
    day.command(c.PeerReady(role=Role.ENGINE, entity=cp_id, username=cp_id, fence=fence, boot_id=b"", outbox_epoch=1))
    ratings = tuple(c.ConnectorRating(ConnectorNo(no), Watts(1_400), Watts(11_000)) for no in (2, 1, 4))
    day.command(c.BootChargePoint(cp_id=cp_id, connectors=ratings))


STRANGE: tuple[Callable[[Day, ChargePointId], None], ...] = (
    *([_turned_away] * 3),
    *([_revoke] * 2),
    *([_driver] * 2),
    *([_confirm] * 2),
    *([_fault] * 4),
    *([_lie] * 5),
    _duplicate,
    _rollback,
    _newcomer,
)


# --- on disk ----------------------------------------------------------------------------------------------------------


def lived(seed: int) -> Day:
    """The day of this seed."""
    day = Day(seed)
    day.live()
    return day


def write(day: Day, data_dir: Path) -> None:
    """The day's log, written by up to three Centrals one after the other, and a snapshot somewhere in it."""
    rng = day.rng
    bodies: list[bytes] = []
    for place, body in enumerate([*day.log, None]):
        if place in day.said:
            bodies.append(state_body(RULES, day.said[place]))
        if body is not None:
            bodies.append(body)
    cuts = sorted(rng.randrange(len(bodies) + 1) for _ in range(rng.randrange(3)))
    segment = rng.choice(SEGMENTS)
    last = 0
    for begin, end in zip([0, *cuts], [*cuts, len(bodies)], strict=True):
        if begin and rng.random() < 0.3:
            make(data_dir / "log-key", NEXT, ORIGIN, FILES, rng.randbytes)
        recalled = recall(data_dir, FILES, origin=ORIGIN, entropy=rng.randbytes)
        journal = recalled.journal
        journal._segment_bytes = journal._segment.capacity = segment
        for body in bodies[begin:end]:
            journal.append(body)
            if rng.random() < 0.1:
                journal.flush()
        journal.flush()
        journal.close()
        last = journal.durable
    make_snapshot(data_dir, FILES, up_to=rng.randrange(1, last + 1))


def replay_twice(data_dir: Path) -> Replayed:
    """From the first record, and from the snapshot; nothing is written."""
    directory = data_dir / "log"
    folding = Folding()
    for item in replay(directory, FILES):
        if isinstance(item, Record):
            folding.take(item)
        else:
            assert isinstance(item, CleanEnd), item
    assert folding.diverged is None, folding.diverged
    recalled = Recalled(State())
    signer = load(data_dir / "log-key", CURRENT, FILES)
    assert signer is not None
    recalled.attestor = Attestor(directory, FILES, signer)
    for item in replay(directory, FILES, resume(recalled, directory, FILES, [signer.verifier])):
        if isinstance(item, Record):
            recalled.apply(item.seq, item.body)
    return Replayed(
        name=data_dir.name,
        snapshot=recalled.seq,
        whole=folding.digest.value().hex(),
        tail=fingerprint(recalled.state).hex(),
        whole_bytes=bytes_of(folding.state),
        tail_bytes=bytes_of(recalled.state),
        compared=folding.compared,
    )


def bytes_of(state: State) -> str:
    """SHA-256 of the whole state."""
    return sha256(canonical(state)).hexdigest()


def log_of(day: Day) -> str:
    """SHA-256 of all that was logged."""
    return sha256(msgspec.msgpack.encode(day.log)).hexdigest()


class Printed(msgspec.Struct, frozen=True):
    """What the program prints."""

    replayed: list[Replayed]
    relived: list[str]


def replay_all(folder: Path) -> list[Replayed]:
    """Of each log in ``folder``, in the order of their names."""
    return [replay_twice(data_dir) for data_dir in sorted(folder.iterdir())]


if __name__ == "__main__":
    printed = Printed(replay_all(Path(sys.argv[1])), [log_of(lived(int(seed))) for seed in sys.argv[2:]])
    sys.stdout.buffer.write(msgspec.json.encode(printed))
