"""Strangers at the door: each is sent away as SPEC §4 and §5 say, and leaves its line in the audit log."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from evcharge.central.admission import RETRY_AFTER_S, RETRY_REVOKED_S, RETRY_SOON_S
from evcharge.central.peers import Peer
from evcharge.central.registry import Found
from evcharge.domain import events as e
from evcharge.ids import SessionId
from evcharge.net.adapter import Adapter
from protocol import codec
from protocol import messages as m
from protocol.channel import APP
from protocol.connection import Connection
from protocol.credentials import Credential, Role, encode_password, public_key
from protocol.errors import RefuseCode
from protocol.events import AuthPresented, RefusedByCentral
from protocol.frames import HELLO, encode_frame
from protocol.records import RegistryRecord
from tests.support.central import Site, turns, until
from tests.support.raw_peer import RawPeer

# HTTP, TLS and a frame that is none: what a port scanner says.
GARBAGE = {
    "frame_too_large": b"GET / HTTP/1.1\r\n\r\n",
    "unexpected_message": encode_frame(0x42, b"what is this"),
    "malformed_message": encode_frame(HELLO, os.urandom(60)),
}


def forger(credential: Credential) -> Credential:
    """The same name with another secret."""
    return msgspec.structs.replace(credential, password=encode_password(os.urandom(32)))


async def line_of(site: Site, code: str) -> e.PeerRefused:
    """The one line there is, and who left it."""
    refused = await site.line(e.PeerRefused, code=code)
    (line,) = site.lines(e.PeerRefused)
    assert (line.stamp.actor, line.stamp.source) == ("stranger", "127.0.0.1")
    return refused


async def refusal_of(peer: RawPeer) -> RefusedByCentral:
    """Central's authenticated no."""
    await peer.up_to_auth()
    await peer.send_held()
    event = await peer.step()
    assert isinstance(event, RefusedByCentral)
    return event


# --- refused with a reason that can be believed -----------------------------------------------------------------------


async def test_a_wrong_secret(site: Site) -> None:
    peer = site.join(forger(site.credential(Role.DRIVER, "anna")))
    assert await peer.refused() is RefuseCode.UNKNOWN
    line = await line_of(site, "unknown")
    assert (line.username, line.authentication, line.count) == ("driver-anna", True, 1)


async def test_an_unknown_name(site: Site) -> None:
    known = site.credential(Role.DRIVER, "anna")
    made_up = msgspec.structs.replace(forger(known), username="driver-nobody", entity="nobody")
    assert await site.join(made_up).refused() is RefuseCode.UNKNOWN
    assert (await line_of(site, "unknown")).username == "driver-nobody"


async def test_a_revoked_credential(site: Site) -> None:
    credential = site.credential(Role.CP, "CP-1", status="revoked")
    refused = await refusal_of(await RawPeer.at(site, credential))
    assert (refused.code, refused.retry_after_s) == (RefuseCode.REVOKED, RETRY_REVOKED_S)
    assert (await line_of(site, "revoked")).authentication


async def test_an_expired_credential(site: Site) -> None:
    soon_ms = site.clock.steady_ms() + 1_000
    credential = site.credential(Role.DRIVER, "anna", not_after_ms=soon_ms)
    peer = site.join(credential)
    await peer.up()
    await peer.leave()
    site.clock.advance(1.1)
    refused = await refusal_of(await RawPeer.at(site, credential))
    assert (refused.code, refused.retry_after_s) == (RefuseCode.EXPIRED, RETRY_AFTER_S)
    assert (await line_of(site, "expired")).authentication


@pytest.mark.parametrize("claim", [{"role": Role.MONITOR}, {"entity": "CP-2"}, {"role": Role.CENTRAL, "entity": ""}])
async def test_a_claim_that_is_not_the_records(claim: dict[str, object], site: Site) -> None:
    credential = site.credential(Role.CP, "CP-1")
    site.registry.change(credential.username, **claim)
    refused = await refusal_of(await RawPeer.at(site, credential))
    assert refused.code is RefuseCode.WRONG_ROLE
    assert (await line_of(site, "wrong_role")).authentication
    assert not site.state.charge_points


async def test_central_s_own_credential_opens_nothing(site: Site) -> None:
    """Whoever stole it can pose as Central, but not as a peer."""
    record = RegistryRecord(
        username="central", role=Role.CENTRAL, entity="", keys={1: bytes(32)}, status="active", rev=1
    )
    claim = AuthPresented("central", Role.CENTRAL, "", bytes(32), bytes(16), 1, None, None)
    verdict = site.central._admission._judge(claim, Found(record, stale=False))
    assert verdict is RefuseCode.WRONG_ROLE


async def test_the_second_key_of_a_rotation_opens_as_well(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    newer = forger(credential)
    site.registry.change(credential.username, keys={1: credential.public_key(), 2: newer.public_key()})
    for each in (credential, newer):
        assert await site.join(each).up()


async def test_during_a_drain(site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    await peer.up_to_auth()
    site.central._admission.draining = True
    await peer.send_held()
    refused = await peer.step()
    assert isinstance(refused, RefusedByCentral)
    assert (refused.code, refused.retry_after_s) == (RefuseCode.DRAINING, RETRY_SOON_S)
    assert not (await line_of(site, "draining")).authentication


# --- sent away without a word -----------------------------------------------------------------------------------------


async def test_another_key_of_central(site: Site) -> None:
    credential = site.credential(Role.DRIVER, "anna")
    stranger = msgspec.structs.replace(credential, central_public_key=public_key(os.urandom(32)))
    peer = await RawPeer.at(site, stranger)
    await peer.send_held()
    assert await peer.end() == b""
    line = await line_of(site, "authentication_failed")
    assert (line.username, line.authentication) == (None, True)


async def test_a_handshake_that_was_changed_on_the_way(site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    peer.held = peer.held[:-1] + bytes([peer.held[-1] ^ 1])
    await peer.send_held()
    assert await peer.end() == b""
    assert (await line_of(site, "authentication_failed")).authentication


async def test_a_version_that_central_does_not_speak(site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"), offered=(9, 8))
    await peer.send_held()
    assert await peer.closed() == "UnsupportedVersion"
    assert not (await line_of(site, "unsupported_version")).authentication


@pytest.mark.parametrize("code", GARBAGE)
async def test_garbage(code: str, site: Site) -> None:
    peer = await RawPeer.at(site)
    await peer.write(GARBAGE[code])
    assert await peer.end() == b""
    assert not (await line_of(site, code)).authentication


async def test_a_frame_above_1024_bytes_is_fatal_after_its_length(site: Site) -> None:
    peer = await RawPeer.at(site)
    await peer.write((1_025).to_bytes(4, "big"))
    assert await peer.end() == b""
    await line_of(site, "frame_too_large")


async def test_silence_for_two_seconds(site: Site) -> None:
    peer = await RawPeer.at(site)
    await until(lambda: site.central._server.counts.open == 1)
    site.clock.advance(1.9)
    await turns()
    assert site.central._server.counts.open == 1
    site.clock.advance(0.2)
    assert await peer.end() == b""
    await line_of(site, "timed_out")


async def test_a_trickle_does_not_extend_the_two_seconds(site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    for at in range(21):
        await peer.write(peer.held[at : at + 1])
        await turns(3)
        site.clock.advance(0.1)
    assert await peer.end() == b""
    await line_of(site, "timed_out")


Step = Callable[[RawPeer], Awaitable[None]]
STAGES: dict[str, tuple[Step, str | None]] = {
    "before AUTH": (RawPeer.up_to_auth, None),
    "before READY": (RawPeer.up_to_session, "driver-anna"),
}


@pytest.mark.parametrize("stage", STAGES)
async def test_a_handshake_that_stays_half_open(stage: str, site: Site) -> None:
    step, username = STAGES[stage]
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    await step(peer)
    site.clock.advance(9.9)
    await turns()
    assert site.central._server.counts.open == 1
    site.clock.advance(0.2)
    await peer.end()
    assert (await line_of(site, "timed_out")).username == username
    assert not site.logged(e.PeerConnected)


@pytest.mark.parametrize("stage", [*STAGES, "at once"])
@pytest.mark.parametrize("how", [RawPeer.leave, RawPeer.vanish], ids=["FIN", "RST"])
async def test_a_handshake_that_breaks_off(stage: str, how: Callable[[RawPeer], None], site: Site) -> None:
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    username = None
    if stage in STAGES:
        step, username = STAGES[stage]
        await step(peer)
    else:
        await until(lambda: site.central._server.counts.open == 1)
    how(peer)
    assert (await line_of(site, "vanished")).username == username


async def test_somebody_who_leaves_while_the_registry_is_asked_leaves_one_line(site: Site) -> None:
    idle = len(site.central._tasks._running)
    credential = forger(site.credential(Role.DRIVER, "anna"))
    site.registry.hold_lookups = asyncio.Event()
    peer = await RawPeer.at(site, credential)
    await peer.up_to_auth()
    await peer.send_held()
    await until(lambda: site.registry.looked_up)
    peer.leave()
    await line_of(site, "vanished")
    site.registry.hold_lookups.set()
    await until(lambda: len(site.central._tasks._running) == idle)
    await turns()
    assert (await line_of(site, "vanished")).username == "driver-anna"


async def test_nobody_is_refused_twice(site: Site) -> None:
    """It has left, and then the registry does not answer: one line, for how it left."""
    idle = len(site.central._tasks._running)
    site.registry.hold_lookups = asyncio.Event()
    peer = await RawPeer.at(site, forger(site.credential(Role.DRIVER, "anna")))
    await peer.up_to_auth()
    await peer.send_held()
    await until(lambda: site.registry.looked_up)
    peer.leave()
    await line_of(site, "vanished")
    site.registry.go_away()
    site.registry.hold_lookups.set()
    await until(lambda: len(site.central._tasks._running) == idle)
    await line_of(site, "vanished")


# --- peers that were let in and misbehave: their end is history ------------------------------------------------------


async def opened(site: Site, role: Role = Role.DRIVER, entity: str = "anna") -> RawPeer:
    peer = await RawPeer.at(site, site.credential(role, entity))
    await peer.open()
    return peer


def sealed(peer: RawPeer, body: bytes) -> bytes:
    """A frame that the client itself would not send."""
    channel = peer.conn._channel
    assert channel is not None
    return channel.seal(APP, body, peer.site.clock.monotonic())


BAD = {
    "UnexpectedMessage": codec.encode(m.Stop(id=1)),
    "MalformedMessage": b"\x81\xa4type\xa4list",
}


@pytest.mark.parametrize("error", BAD)
async def test_a_message_that_is_not_legal(error: str, site: Site) -> None:
    peer = await opened(site)
    await peer.write(sealed(peer, BAD[error]))
    assert await peer.closed() == "PROTOCOL"
    gone = await site.line(e.PeerDisconnected, entity="anna")
    assert gone.cause.startswith(f"{error}: ")
    assert not site.lines(e.PeerRefused)


async def test_a_message_of_an_unknown_type_is_survived(site: Site) -> None:
    peer = await opened(site)
    await peer.write(sealed(peer, b"\x82\xa4type\xa5dance\xa2id\x07"))
    await peer.step()
    await peer.write(sealed(peer, codec.encode(m.List(id=1))))
    await peer.step()
    assert not site.logged(e.PeerDisconnected)


@pytest.mark.parametrize("data", [b"\0\0\0\x05\x10abcd", (65_537).to_bytes(4, "big"), b"\0\0\0\0"])
async def test_bytes_that_no_key_sealed(data: bytes, site: Site) -> None:
    peer = await opened(site)
    await peer.write(data)
    assert await peer.closed() == "PROTOCOL"
    await site.line(e.PeerDisconnected, entity="anna")


async def test_a_peer_that_vanishes_is_no_clean_end(site: Site) -> None:
    peer = await opened(site)
    peer.leave()
    assert (await site.line(e.PeerDisconnected, entity="anna")).cause == "the stream ended without CLOSE"


async def test_a_driver_that_does_not_answer_is_dead_after_45_seconds(site: Site) -> None:
    peer = await opened(site)
    for _ in range(44):
        site.clock.advance(1.0)
    await turns()
    assert not site.logged(e.PeerDisconnected)
    site.clock.advance(1.5)
    assert await peer.closed() == "TIMEOUT"
    assert (await site.line(e.PeerDisconnected, entity="anna")).cause.startswith("TimedOut: ")


async def test_a_silent_engine_is_told_time_out(site: Site) -> None:
    peer = await opened(site, Role.CP, "CP-1")
    site.clock.advance(5.1)
    assert await peer.closed() in ("TIMEOUT", "")
    assert (await site.line(e.PeerDisconnected, entity="CP-1")).cause == "silent for 5.1 s"


async def test_messages_before_boot_are_not_legal(site: Site) -> None:
    peer = await opened(site, Role.CP, "CP-1")
    await peer.write(sealed(peer, codec.encode(m.Plugged(connector=1))))
    assert await peer.closed() == "PROTOCOL"


async def test_a_console_cannot_charge(site: Site) -> None:
    peer = await opened(site, Role.DEBUG, "console")
    await peer.write(sealed(peer, codec.encode(m.EndCharge(id=1, session_id=SessionId("s-1")))))
    assert await peer.closed() == "PROTOCOL"


# --- bugs -----------------------------------------------------------------------------------------------------------


async def test_nobody_at_the_door_learns_of_central_s_bugs(site: Site) -> None:
    """An error in a handler closes that connection with INTERNAL; no detail leaves."""

    def broken(_adapter: object) -> None:
        raise ZeroDivisionError("a secret detail")

    site.central._admission.hello = broken  # type: ignore[method-assign,assignment]  # the bug
    peer = await RawPeer.at(site, site.credential(Role.DRIVER, "anna"))
    await peer.send_held()
    assert await peer.end() == b""
    await line_of(site, "internal")


async def test_a_connection_that_ended_is_freed_without_the_collector(site: Site) -> None:
    """Central lets the collector look seldom, so nothing that comes with every connection may need it."""

    def alive() -> tuple[int, ...]:
        found = gc.get_objects()
        adapters = [it for it in found if type(it) is Adapter and it._owner is site.central._server]
        connections = [it for it in found if type(it) is Connection and not it._client]
        return len(adapters), len(connections), sum(type(it) is Peer for it in found)

    async def visit(name: str) -> None:
        peer = await site.driver(name)
        await peer.heard()
        await peer.leave()
        site.peers.remove(peer)
        await until(lambda: not site.central._server.adapters)

    await visit("first")
    gc.collect()
    gc.disable()
    try:
        before = alive()
        for number in range(5):
            await visit(f"driver-{number}")
        after = alive()
    finally:
        gc.enable()
    assert after == before


async def test_a_channel_ends_with_its_credential(site: Site) -> None:
    ends_ms = site.clock.steady_ms() + 20_000
    peer = site.join(site.credential(Role.DEBUG, "console", not_after_ms=ends_ms))
    await peer.up()
    await site.beat(19, peer)
    assert not peer.downs
    site.clock.advance(2)
    assert "EXPIRED" in await peer.down()
