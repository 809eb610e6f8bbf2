"""Limits as settings: each reaches the place that enforces it, and nonsense gets one sentence."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evcharge.central.limits import RANGES, BadLimits, LimitSettings, check_limits, flag, server_limits, wire_limits
from evcharge.central.settings import Settings
from evcharge.energy.leases import MARGIN_MS
from evcharge.net.server import ServerLimits
from protocol.events import Limits
from tests.central.test_cli import central_json, invoke
from tests.support.central import Site, until


def test_the_defaults_are_those_of_the_protocol() -> None:
    settings = LimitSettings()
    check_limits(settings)
    assert wire_limits(settings) == Limits()
    assert server_limits(settings) == ServerLimits()
    assert (settings.gateway_rate_per_s, settings.gateway_rate_burst) == (500, 2_000)
    assert msgspec.structs.asdict(settings) == msgspec.structs.asdict(settings) | {
        "hello_s": 2, "handshake_s": 10, "lookup_s": 2, "ttl_s": 60, "rekey_msgs": 65_536, "rekey_bytes": 2**30,
        "rekey_s": 900, "ping_s": 15, "dead_s": 45, "channel_s": 86_400, "unauthenticated": 8_192,
        "source_connections": 64, "source_per_s": 10, "source_burst": 30, "source_known_s": 86_400,
        "slots_known": 64, "slots_unknown": 64, "slot_s": 0.1, "busy_s": 3, "backlog": 4_096, "rate_per_s": 50,
        "rate_burst": 200, "waiting_messages": 256, "waiting_bytes": 2**20, "slow_s": 10, "drain_return_per_s": 500,
    }  # fmt: skip


def test_every_limit_has_a_range_that_its_default_is_in() -> None:
    assert list(RANGES) == list(LimitSettings.__struct_fields__)


def test_no_setting_lets_a_clock_be_further_behind_than_leases_count() -> None:
    """SESSION under way, 100 ppm while the channel lives, and checks that are a second apart (SPEC §5)."""
    late_s = RANGES["handshake_s"][1] + RANGES["channel_s"][1] * 100 / 1_000_000 + 1
    assert late_s * 1_000 <= MARGIN_MS
    for name, seconds in (("handshake_s", 10.1), ("channel_s", 86_401.0)):
        with pytest.raises(BadLimits):
            check_limits(LimitSettings(**{name: seconds}))


@pytest.mark.parametrize("name", [*RANGES])
def test_what_is_out_of_range_is_one_sentence(name: str) -> None:
    low, high = RANGES[name]
    for value in (low - 1, high * 2 + 1, float("nan")):
        with pytest.raises(BadLimits, match=f"^{flag(name)} has to be from .*, not .*[.]$"):
            check_limits(LimitSettings(**{name: value}))


NONSENSE: dict[str, tuple[dict[str, Any], str]] = {
    "hello": ({"hello_s": 10.0}, "--hello-s (10) has to be below --handshake-s (10)"),
    "busy": ({"handshake_s": 2.5}, "--busy-s (3) has to be below --handshake-s (2.5)"),
    "lookup": ({"lookup_s": 11.0}, "--lookup-s (11) has to be below --handshake-s (10)"),
    "dead": ({"dead_s": 15.0}, "--ping-s (15) has to be below --dead-s (15)"),
    "channel": ({"channel_s": 30.0}, "--dead-s (45) has to be below --channel-s (30)"),
    "slot": ({"slot_s": 4.0}, "--slot-s (4) must not be above --busy-s (3)"),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_what_does_not_fit_together_is_one_sentence(kind: str) -> None:
    values, expected = NONSENSE[kind]
    with pytest.raises(BadLimits) as error:
        check_limits(LimitSettings(**values))
    text = str(error.value)
    assert text.startswith(expected) and text.endswith(".") and "\n" not in text


# --- from the shell ---------------------------------------------------------------------------------------------------


def test_nonsense_on_the_command_line_is_misuse(tmp_path: Path) -> None:
    path = central_json(tmp_path)
    code, text = invoke("--credentials", path, "--data-dir", tmp_path / "data", "--hello-s", "12")
    assert code == 2
    assert text.endswith(
        "Error: --hello-s (12) has to be below --handshake-s (10): a HELLO is the first part of a handshake.\n"
    )
    assert not (tmp_path / "data").exists()
    code, text = invoke("--credentials", path, "--slots-known", "0")
    assert code == 2 and "'--slots-known': 0 is not in the range" in text


def test_a_toml_file_and_variables_set_limits_and_flags_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, config = central_json(tmp_path), tmp_path / "central.toml"
    config.write_text("[central]\ndead-s = 60\nping_s = 70\n")
    common = ("--credentials", path, "--data-dir", tmp_path / "data", "--config", config)
    assert "--ping-s (70) has to be below --dead-s (60)" in invoke(*common)[1]
    assert "--ping-s (61) has to be below --dead-s (60)" in invoke(*common, "--ping-s", "61")[1]
    config.write_text("[central]\nslots = 3\n")
    assert "unknown settings: slots" in invoke(*common)[1]


def test_help_shows_limits_in_groups_with_their_units_at_80_columns() -> None:
    code, text = invoke("--help")
    assert code == 0
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    titles = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "General:",
        "Site and tariff:",
        "Sessions and power:",
        "Front door (SPEC 5.2):",
        "Channels (SPEC 5.1):",
        "Flow of messages (SPEC 5.2):",
        "Going down:",
    ]
    shown = " ".join(text.split())
    for fact in ("--slot-s SECONDS A slot is held", "[default: 86400]", "--waiting-bytes BYTES", "[default: 0.1]"):
        assert fact in shown
    assert "<=x" not in "".join(lines[lines.index("Front door (SPEC 5.2):") :])


# --- where they act ---------------------------------------------------------------------------------------------------


async def test_they_reach_the_door_and_the_connections(tmp_path: Path) -> None:
    async with Site(tmp_path, hello_s=0.5, connections=7, slots_unknown=3, rate_burst=9.0, waiting_messages=5) as site:
        server = site.central._server
        assert server._most == 7
        assert server.lanes.unknown._size == 3
        driver = await site.driver()
        (adapter,) = server.adapters
        assert adapter._bucket is not None and adapter._bucket._rate.burst == 9.0
        assert adapter._wait_limits.messages == 5
        gateway = await site.operator()
        (adapter,) = [each for each in server.adapters if each.username == gateway.credential.username]
        assert adapter._bucket is not None and adapter._bucket._rate.burst == 2_000
        assert driver.client.connected
        _, writer = await asyncio.open_connection("127.0.0.1", site.central.port)
        await until(lambda: server.counts.unauthenticated == 1)
        site.clock.advance(0.6)
        await until(lambda: server.counts.unauthenticated == 0)
        writer.close()


async def test_nonsense_does_not_start(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        with pytest.raises(BadLimits):
            await site.make(dead_s=1.0, data_dir=tmp_path / "other").start()
        assert not (tmp_path / "other").exists()


def test_settings_are_limits_and_the_site() -> None:
    assert set(LimitSettings.__struct_fields__) < set(Settings.__struct_fields__)
