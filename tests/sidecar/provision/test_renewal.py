"""Certificates of a provisioned site: kept, renewed in time, and made anew for other names."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from evcharge.sidecar.provision.plan import Certificate, Plan
from tests.sidecar.provision.support import PLAN, PUBLIC, SECRETS, Place


async def test_a_clock_that_is_behind_replaces_nothing(here: Place) -> None:
    await here.run()
    files = here.files()
    here.clock.advance(-timedelta(days=40 * 365).total_seconds())
    report = await here.run()
    assert "authority/ca.pem is good from 2025-11-" in report.problems[0] and "set the clock" in report.problems[0]
    assert report.renewed == [] and here.files() == files
    # Made later than the CA: a clock between the two knows the CA alone.
    here.clock.advance(timedelta(days=40 * 365 + 300).total_seconds())
    assert set((await here.run()).renewed) == {"servers/sidecar/tls.crt", "servers/proxy/tls.crt"}
    files = here.files()
    here.clock.advance(-timedelta(days=200).total_seconds())
    report = await here.run()
    assert [problem.partition(" ")[0] for problem in report.problems] == [
        "servers/sidecar/tls.crt",
        "servers/proxy/tls.crt",
    ]
    assert report.renewed == [] and here.files() == files


async def test_certificates_are_renewed_in_time_and_their_keys_stay(here: Place) -> None:
    await here.run()
    keys = {path: (here.out / path).read_bytes() for path in SECRETS if path.startswith(("servers", "authority"))}
    here.clock.advance(timedelta(days=200).total_seconds())
    assert (await here.run()).renewed == []
    here.clock.advance(timedelta(days=100).total_seconds())
    assert set((await here.run()).renewed) == {"servers/sidecar/tls.crt", "servers/proxy/tls.crt"}
    assert (await here.run()).renewed == []
    here.clock.advance(timedelta(days=9 * 365).total_seconds())
    assert set((await here.run()).renewed) == PUBLIC
    assert {path: (here.out / path).read_bytes() for path in keys} == keys
    assert (here.out / "central/ca.pem").read_bytes() == (here.out / "authority/ca.pem").read_bytes()


async def test_other_names_and_a_lost_key_make_another_certificate(here: Place) -> None:
    await here.run()
    wider = msgspec.structs.replace(
        PLAN, certificates=PLAN.certificates | {"proxy": Certificate(names=["localhost", "site.example"])}
    )
    assert (await here.run(wider)).renewed == ["servers/proxy/tls.crt"]
    (here.out / "servers/sidecar/tls.key").unlink()
    report = await here.run(wider)
    assert (report.made, report.renewed) == (["servers/sidecar/tls.key"], ["servers/sidecar/tls.crt"])
    (here.out / "authority/ca-key.pem").unlink()
    report = await here.run(wider)
    assert "authority/ca-key.pem is lost" in report.problems[0] and report.made == []


async def test_a_plan_of_names_alone_needs_no_ca(here: Place) -> None:
    await here.run(Plan(url="http://127.0.0.1:8080", drivers=["anna"]))
    assert {path.name for path in here.out.iterdir()} == {"central", "drivers"}
    assert {path.name for path in (here.out / "drivers/anna").iterdir()} == {"anna.json"}
