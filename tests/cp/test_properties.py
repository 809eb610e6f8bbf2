"""Always and never: whatever Central says, whenever the process dies."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from evcharge.cp.store import Batch
from protocol.messages import (
    Ack,
    Authorize,
    Error,
    Message,
    Outbox,
    Result,
    SetLimit,
    StartSupply,
    StopSupply,
    SupplyEnded,
    SupplyPaused,
    SupplyResumed,
    SupplyStarted,
)
from tests.cp.rig import Crash, MemoryStore, Rig

# --- the process dies at any write ----------------------------------------------------------------


class Ledger:
    """Central's end of the outbox: applies what is next, acknowledges, never sees a gap."""

    def __init__(self) -> None:
        self.next_n = 0
        self.applied: list[Message] = []

    def take(self, message: Outbox) -> int:
        assert message.n <= self.next_n, "a gap: something was lost or came out of order"
        if message.n == self.next_n:
            self.applied.append(message.payload)
            self.next_n += 1
        else:
            # A repeat is the same as the first time.
            assert self.applied[message.n] == message.payload
        return message.n


class World:
    """A rig whose process may die, with a Central that remembers."""

    def __init__(self, crash_at: int, after: bool) -> None:
        self.store = MemoryStore()
        self.rig = Rig(self.store)
        self.central = Ledger()
        self.sessions = 0
        left = [crash_at]

        def die(batch: Batch) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Crash

        if after:
            self.store.after = die
        else:
            self.store.before = die

    def step(self, op: str) -> None:
        """One thing happens; if the process dies of it, the next one takes over."""
        rig = self.rig
        start = len(rig.sent)
        try:
            getattr(self, f"do_{op}")()
        except Crash:
            # What the dying process had in hand was not sent.
            self.reboot()
        self.deliver(rig.sent[start:], acks=op != "lost_acks")

    def reboot(self) -> None:
        """The next process; it may die of its own first write, once."""
        try:
            self.rig.boot()
        except Crash:
            self.rig.boot()

    def deliver(self, messages: list[Message], *, acks: bool = True) -> None:
        kept = {item.n: item.payload for item in self.store.saved.items}
        for message in messages:
            if isinstance(message, Outbox):
                assert kept.get(message.n) == message.payload, "sent before it was kept"
                n = self.central.take(message)
                if acks and self.rig.channel:
                    try:
                        more = self.rig.ack(n)
                    except Crash:
                        self.reboot()
                        return
                    self.deliver(more)

    def do_connect(self) -> None:
        self.rig.connect(next_n=self.central.next_n)

    def do_disconnect(self) -> None:
        self.rig.disconnect()

    def do_plug(self) -> None:
        self.rig.plug()

    def do_unplug(self) -> None:
        self.rig.unplug()

    def do_wait(self) -> None:
        self.rig.wait(30, tick_s=7)

    def do_charge(self) -> None:
        self.sessions += 1
        self.rig.authorize(f"S{self.sessions}", energy_wh=100)
        self.rig.start(f"S{self.sessions}")

    def do_pause(self) -> None:
        self.rig.limit(0, fallback_w=0)

    def do_resume(self) -> None:
        self.rig.limit(5_000)

    def do_stop(self) -> None:
        self.rig.stop()

    def do_fail(self) -> None:
        self.rig.take(self.rig.engine.fail("x", self.rig.now))

    def do_recover(self) -> None:
        self.rig.take(self.rig.engine.recover(self.rig.now))

    def do_lost_acks(self) -> None:
        if self.rig.channel:
            self.rig.disconnect()
        self.rig.connect(next_n=self.central.next_n)

    def do_die(self) -> None:
        raise Crash


OPS = [name.removeprefix("do_") for name in vars(World) if name.startswith("do_")]


@settings(max_examples=300)
@given(ops=st.lists(st.sampled_from(OPS), max_size=25), crash_at=st.integers(1, 25), after=st.booleans())
def test_the_outbox_loses_and_reorders_nothing_wherever_the_process_dies(
    ops: list[str], crash_at: int, after: bool
) -> None:
    world = World(crash_at, after)
    for op in ["connect", "plug", "charge", *ops]:
        world.step(op)
    # Whatever happened, a last process settles it.
    world.store.before = world.store.after = lambda batch: None
    for op in ("die", "connect", "wait"):
        world.step(op)
    assert world.rig.engine.waiting == 0
    applied = world.central.applied
    started = [payload for payload in applied if isinstance(payload, SupplyStarted)]
    ended = {payload.session_id: payload for payload in applied if isinstance(payload, SupplyEnded)}
    assert len(started) == len({payload.session_id for payload in started}) == len(ended)
    assert sum(isinstance(payload, SupplyEnded) for payload in applied) == len(ended)
    # The register is what the sessions took, to the Wh of its kept remainder, and never falls.
    assert world.rig.register_wh == max([0, *(payload.meter_wh for payload in ended.values())])
    for earlier, later in pairwise(applied):
        assert earlier.meter_wh <= later.meter_wh
    for session in started:
        story = [payload for payload in applied if payload.session_id == session.session_id]
        assert isinstance(story[0], SupplyStarted)
        assert isinstance(story[-1], SupplyEnded)
        assert ended[session.session_id].meter_wh - session.meter_wh <= 100
        middle = story[1:-1]
        assert all(isinstance(p, SupplyPaused if i % 2 == 0 else SupplyResumed) for i, p in enumerate(middle))


# --- Central says anything ------------------------------------------------------------------------

numbers = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 5)
watts = st.integers(-(2**63), 2**64 - 1) | st.sampled_from([0, 1_379, 1_380, 5_000, 7_360, 20_000])
names = st.sampled_from(["S1", "S2", ""]) | st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
connectors = st.sampled_from([0, 1, 2]) | numbers
offsets = st.integers(-20_000, 100_000)

wild = st.one_of(
    st.builds(
        Authorize,
        command_id=numbers,
        fence=st.sampled_from([1, 2]) | numbers,
        session_id=names,
        connector=connectors,
        energy_wh=st.none() | numbers,
        depart_by_ms=st.none() | numbers,
        expires_ms=st.none() | numbers,
    ),
    st.builds(
        StartSupply,
        command_id=numbers,
        fence=st.sampled_from([1, 2]) | numbers,
        session_id=names,
        connector=connectors,
        limit_w=watts,
        expires_ms=numbers,
        fallback_w=watts,
        reason=st.just("x"),
        valid_until_ms=numbers,
    ),
    st.builds(
        StopSupply,
        command_id=numbers,
        fence=numbers,
        connector=connectors,
        reason=st.text(max_size=600),
        session_id=st.none() | names,
    ),
    st.builds(
        SetLimit,
        command_id=numbers,
        fence=numbers,
        connector=connectors,
        limit_w=watts,
        expires_ms=numbers,
        fallback_w=watts,
        reason=st.just("x"),
        session_id=st.none() | names,
    ),
    st.builds(Ack, n=st.none() | numbers),
    st.just(Error(code="unknown_type", sentence="?")),
)
# The same with sense: numbers that count up, instants near now. A function of the rig and a fresh number.
tame = st.one_of(
    st.tuples(st.just("authorize"), st.sampled_from(["S1", "S2"]), st.none() | st.integers(0, 200)),
    st.tuples(st.just("start"), st.sampled_from(["S1", "S2"]), offsets),
    st.tuples(st.just("limit"), watts, offsets),
    st.tuples(st.just("stop"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.floats(0.01, 40), st.none()),
    st.tuples(st.just("plug"), st.none(), st.none()),
    st.tuples(st.just("unplug"), st.none(), st.none()),
    st.tuples(st.just("reconnect"), st.none(), st.none()),
)


def carry_out(rig: Rig, op: tuple[str, object, object]) -> None:
    kind, first, second = op
    if kind == "authorize":
        rig.authorize(first, energy_wh=second)
    elif kind == "start":
        rig.start(first, valid_until_ms=rig.channel_ms + second)
    elif kind == "limit":
        rig.limit(first, expires_ms=rig.channel_ms + second)
    elif kind == "stop":
        rig.stop()
    elif kind == "wait":
        rig.wait(first, tick_s=first)
    elif kind == "plug":
        rig.plug()
    elif kind == "unplug":
        rig.unplug()
    else:
        rig.disconnect()
        rig.connect(fence=2)


@settings(max_examples=300)
@given(st.lists(wild | tame, max_size=25))
def test_nothing_that_central_says_raises_or_starts_a_session_that_was_not_authorized(
    inputs: list[Message | tuple[str, object, object]],
) -> None:
    rig = Rig()
    rig.connect(fence=2)
    rig.plug()
    authorized: set[str] = set()
    set_points = [0]
    original = rig.engine.on_message

    def watched(message: Message, now: object) -> list[Message]:
        sent = original(message, now)
        answers = [answer for answer in sent if isinstance(answer, Result)]
        assert len(answers) <= 1
        if isinstance(message, Authorize) and answers and answers[0].outcome == "done":
            authorized.add(message.session_id)
        if isinstance(message, SetLimit | StartSupply):
            set_points.extend((message.limit_w, message.fallback_w))
        return sent

    rig.engine.on_message = watched
    for entry in inputs:
        register_mj = rig.engine.slots[0].connector.register_mj
        if isinstance(entry, Message):
            rig.take(rig.engine.on_message(entry, rig.now))
        else:
            carry_out(rig, entry)
        connector = rig.engine.slots[0].connector
        assert connector.register_mj >= register_mj
        assert rig.power_w <= max(w for w in set_points if w <= 10_000_000)
        for payload in (item.payload for item in rig.store.saved.items):
            assert payload.session_id in authorized
        if rig.power_w:
            assert rig.engine.slots[0].running is not None
            assert rig.engine.slots[0].occupied
    assert all(power_w == 0 or 1_380 <= power_w <= 7_360 for _, _, power_w in rig.trace)


@settings(max_examples=100)
@given(
    orders=st.lists(
        st.tuples(st.integers(0, 9_000), st.floats(0.05, 20), st.integers(0, 9_000), st.floats(0.05, 20)), max_size=8
    ),
    speed=st.sampled_from([1.0, 60.0, 1_200.0]),
)
def test_power_is_never_above_the_live_lease_or_its_fallback(
    orders: list[tuple[int, float, int, float]], speed: float
) -> None:
    rig = Rig(speed=speed).charging(capacity_wh=10_000_000, soc=0)
    wall_of = {}
    for limit_w, lease_s, fallback_w, wait_s in orders:
        begun_s, begun_ms = rig.wall_s, rig.site_ms
        changes = len(rig.trace)
        before_w = rig.power_w
        rig.limit(limit_w, lease_s=lease_s, fallback_w=fallback_w)
        rig.wait(wait_s, tick_s=3.3)
        for at_ms, _, power_w in rig.trace[changes:]:
            wall_of[at_ms] = begun_s + (at_ms - begun_ms) / 1000 / speed
            # A millisecond of the channel clock is the step in which leases are given.
            in_lease = wall_of[at_ms] < begun_s + lease_s - 0.002
            assert power_w <= (limit_w if in_lease else max(limit_w, fallback_w))
        if wait_s > lease_s + 0.002:
            assert rig.power_w <= fallback_w
        elif limit_w < before_w:
            assert rig.power_w <= limit_w or wait_s > lease_s - 0.002


@settings(max_examples=100)
@given(
    cuts=st.lists(st.floats(0.01, 400), max_size=20),
    energy_wh=st.none() | st.integers(1, 2_000),
    lease_s=st.floats(1, 600),
)
def test_a_session_under_a_lease_is_the_same_for_any_ticks(
    cuts: list[float], energy_wh: int | None, lease_s: float
) -> None:
    registers = []
    for ticks in ([700.0], sorted({*cuts, 700.0})):
        rig = Rig().charging(energy_wh=energy_wh, lease_s=lease_s)
        begun = rig.wall_s
        for tick in ticks:
            if tick > rig.wall_s - begun:
                rig.wait(tick - (rig.wall_s - begun), tick_s=1_000)
        registers.append((rig.engine.slots[0].connector.register_mj, rig.power_w))
    (first_mj, first_w), (second_mj, second_w) = registers
    # The end of the lease is found to the millisecond, from clocks that are rounded to it.
    assert abs(first_mj - second_mj) <= 3 * 7_360
    assert first_w == second_w
