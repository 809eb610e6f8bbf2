"""A site for the tools: everybody who was enrolled gets in, and Central can be killed and comes back where it was."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from tools.fleet import ChargePoint, Driver, Fleet, Link
from tools.site import Site


@pytest.mark.tool
async def test_everybody_gets_in_before_and_after_a_kill(tmp_path: Path) -> None:
    site = await Site.start(tmp_path / "site", charge_points=3, monitors=True, drivers=1, substations=2)
    try:
        before_s = site.central.cpu_s()
        assert before_s > 0
        assert site.central.rss_bytes() > 1 << 20
        everybody = [*site.engine_credentials, *site.monitor_credentials, *site.driver_credentials, site.operator]
        assert len(everybody) == 8
        fleet = Fleet(site.host, site.port)
        links: list[Link] = [ChargePoint(fleet, each) for each in site.engine_credentials]
        links += [Driver(fleet, each) for each in everybody[3:]]
        await fleet.connect(links)
        assert all(link.ready for link in links)
        assert site.central.cpu_s() > before_s

        port = site.port
        await site.kill_central()
        assert not site.central.alive
        assert await site.restart_central() > 0
        assert site.port == port
        again = Driver(fleet, site.driver_credentials[0])
        await fleet.connect([again])
        await fleet.close([again])
        assert await site.stop_central() == 0
    finally:
        await site.close()
    substations = tomllib.loads((site.folder / "site.toml").read_text())["substations"]
    assert {name: entry["charge_points"] for name, entry in substations.items()} == {
        "s000": ["cp-00000", "cp-00002"],
        "s001": ["cp-00001"],
    }
    assert stat.S_IMODE(site.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(site.operator_token_file.stat().st_mode) == 0o600
