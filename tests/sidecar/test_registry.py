"""The registry's rules, over any sequence of orders, and the parsers over any input."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evcharge.sidecar.bootstrap import Opened, initialise, open_registry
from evcharge.sidecar.database import Conflict
from evcharge.sidecar.registry.names import ENTITY, MAX_NAME, USERNAME, bad_names, default_username
from evcharge.sidecar.registry.refusals import RegistryRefused
from evcharge.sidecar.registry.schemas import Registration
from evcharge.sidecar.web.problem import Problem
from evcharge.sidecar.web.reading import read
from protocol.credentials import ROLES as ROLE_NAMES
from protocol.credentials import Credential, Role, decode_password, public_key, static_private_key
from protocol.records import RegistryRecord, open_record
from tests.sidecar.conftest import HandClock, SeededEntropy

ROLES = st.sampled_from([Role.CP, Role.MONITOR, Role.DRIVER, Role.DEBUG, Role.GATEWAY])


@given(ROLES, st.from_regex(ENTITY, fullmatch=True))
def test_every_entity_has_a_default_username(role: Role, entity: str) -> None:
    name = default_username(role, entity)
    assert USERNAME.fullmatch(name)
    assert name.startswith(f"{role.label}-")
    assert not bad_names(role, entity, name)
    assert len(name) <= MAX_NAME


def test_long_entities_keep_distinct_default_usernames() -> None:
    names = {default_username(Role.GATEWAY, "x" * 62 + end) for end in ("aa", "ab", "ba")}
    assert len(names) == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(st.sampled_from(["role", "entity", "cp_id", "id", "username", "more"]), JSON | st.just("cp"))


@given(FIELDS)
def test_any_object_gives_a_registration_or_names_its_fields(body: dict[str, object]) -> None:
    try:
        asked = read(body, Registration)
    except Problem as error:
        assert error.fields
        assert set(error.fields) <= {"role", "entity", "cp_id", "id", "username", "more"}
    else:
        assert not bad_names(ROLE_NAMES[asked.role], asked.named, asked.username)


# What an operator may do, in any order: register, revoke, let time pass.
ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["register", "register", "revoke", "wait"]),
        st.sampled_from([Role.CP, Role.DEBUG]),
        st.sampled_from(["A", "B"]),
        st.sampled_from([None, "one", "two"]),
    ),
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ORDERS)
def test_rules_hold_after_any_orders(orders: list[tuple[str, Role, str, str | None]]) -> None:
    asyncio.run(_follow(orders))


async def _follow(orders: list[tuple[str, Role, str, str | None]]) -> None:
    clock, entropy = HandClock(), SeededEntropy()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "r"
        await initialise(made, "http://127.0.0.1:8080", clock=clock, entropy=entropy)
        opened = await open_registry(made, clock=clock, entropy=entropy)
        told: dict[str, RegistryRecord] = {}
        handed: dict[str, bytes] = {}
        stations: dict[str, str] = {}
        after = 0
        for order, role, entity, username in orders:
            before = opened.registry.rev
            try:
                if order == "register":
                    raw = await opened.registry.register(role, entity, username)
                    credential = Credential.from_json(raw)
                    handed[credential.username] = credential.public_key()
                    station = msgspec.json.decode(raw).get("station_id")
                    if role is Role.CP:
                        assert stations.setdefault(entity, station) == station
                elif order == "revoke":
                    await opened.registry.revoke(username or entity)
                else:
                    clock.advance(1800)
            except RegistryRefused:
                assert opened.registry.rev == before
            rev, records = await opened.registry.changes(after)
            assert rev >= after
            after = rev
            for signed in records:
                record = open_record(signed, signer(opened, made))
                earlier = told.get(record.username)
                assert earlier is None or record.rev > earlier.rev
                assert earlier is None or (record.role, record.entity) == (earlier.role, earlier.entity)
                told[record.username] = record
            check(told, handed)
        await opened.store.close()


def signer(opened: Opened, made: Path) -> bytes:
    from protocol.credentials import b64url_decode

    about = msgspec.json.decode((made / "central.json").read_bytes())["registry"]
    return b64url_decode(about["public_key"])


def check(told: dict[str, RegistryRecord], handed: dict[str, bytes]) -> None:
    """One live credential per (role, entity); unique keys; only the newest key of a name is in its record."""
    live = [(record.role, record.entity) for record in told.values() if record.status == "active"]
    assert len(live) == len(set(live))
    keys = [key for record in told.values() for key in record.keys.values()]
    assert len(keys) == len(set(keys))
    for username, key in handed.items():
        assert list(told[username].keys.values()) == [key]


async def test_the_stored_key_is_the_one_that_the_password_derives(tmp_path: Path) -> None:
    clock, entropy = HandClock(), SeededEntropy()
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=clock, entropy=entropy)
    opened = await open_registry(tmp_path / "r", clock=clock, entropy=entropy)
    answer = msgspec.json.decode(await opened.registry.register(Role.DRIVER, "anna"))
    secret = decode_password(answer["password"])
    assert secret in entropy.given
    expected = public_key(static_private_key(secret, "driver-anna", Role.DRIVER, 1))
    async with opened.store.reading() as reader:
        record = await reader.find("driver-anna")
        assert record is not None
        assert record.keys == {1: expected}
        assert await reader.owns_key("driver-anna", expected)
        assert not await reader.owns_key("sidecar", expected)
    with pytest.raises(Conflict):
        async with opened.store.writing() as writer:
            await writer.add(msgspec.structs.replace(record, username="twin", entity="twin"))
    async with opened.store.reading() as reader:
        assert await reader.find("twin") is None
    assert not any(secret in path.read_bytes() for path in (tmp_path / "r").glob("registry.sqlite*"))
    await opened.store.close()


async def test_a_key_that_comes_twice_is_refused(tmp_path: Path) -> None:
    clock, entropy = HandClock(), SeededEntropy()
    await initialise(tmp_path / "r", "http://127.0.0.1:8080", clock=clock, entropy=entropy)
    opened = await open_registry(tmp_path / "r", clock=clock, entropy=lambda size: bytes(size))
    await opened.registry.register(Role.DRIVER, "anna", "same")
    await opened.registry.revoke("same")
    with pytest.raises(RegistryRefused):
        await opened.registry.register(Role.DRIVER, "anna", "sidecar")
    # The same secret under another epoch or name is another key, so only a broken derivation could collide.
    again = Credential.from_json(await opened.registry.register(Role.DRIVER, "anna", "same"))
    assert again.epoch == 2
    await opened.store.close()
