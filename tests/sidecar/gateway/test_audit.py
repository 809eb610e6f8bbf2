"""The audit log over HTTP: pages, the chain's state, and proofs that the command of a stranger accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from evcharge.cli.audit import cli
from evcharge.net.answers import RequestRefused
from protocol import messages as m
from tests.central.conftest import quick  # noqa: F401  # a Central that does not wait
from tests.central.test_audit_questions import signed
from tests.sidecar.gateway.support import FakeLink, served
from tests.sidecar.gateway.test_central import gate


async def test_pages_state_and_a_proof_of_a_real_log(tmp_path: Path) -> None:
    async with gate(tmp_path / "site") as it:
        await it.site.charging("CP-1", "anna")
        await signed(it.site)
        state = await it.http.get("/api/audit/state")
        whole: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = await it.http.get(f"/api/audit?limit=3&after_seq={after}")
            whole += page["records"]
            after = page["next_seq"]
        assert [row["seq"] for row in whole] == list(range(1, len(whole) + 1))
        assert len(whole) >= state["newest_seq"]
        (started,) = (await it.http.get("/api/audit?kind=charge_authorized&cp_id=CP-1"))["records"]
        assert started["details"]["cp_id"] == "CP-1"
        newest = (await it.http.get("/api/audit?tail=true&limit=1"))["records"][0]
        assert newest["seq"] >= whole[-1]["seq"]

        seq = started["seq"]
        proof = await it.http.get(f"/api/audit/{seq}/proof")
        key = (await it.http.get("/api/audit/state"))["checkpoint"]["key"]
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof))
    good = CliRunner().invoke(cli, ["check-proof", str(file), "--key", key, "--json"])
    assert good.exit_code == 0, good.output
    file.write_text(json.dumps(proof | {"seq": seq + 1}))
    assert CliRunner().invoke(cli, ["check-proof", str(file), "--key", key]).exit_code == 1


async def test_a_long_record_is_put_together_from_its_pieces() -> None:
    link = FakeLink()
    pieces = {0: ("AAAA", 4), 4: ("BBBB", 8), 8: ("CC==", None)}

    def say(message: m.Message) -> m.Reply:
        assert isinstance(message, m.AuditProof)
        body, following = pieces[message.body_from]
        view = m.ProofView(
            type="evcharge inclusion 1", seq=5, durable=5, body=body, proof=["x"], checkpoint="c", next_from=following
        )
        return m.Reply(re=0, proof=view)

    link.says = say
    async with served(link, None) as http:
        assert (await http.get("/api/audit/5/proof"))["body"] == "AAAABBBBCC=="
        pieces[8] = ("CCCC", 0)
        assert await http.refusal("GET", "/api/audit/5/proof") == (502, "central_answer")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("unknown_record", 404),
        ("not_signed", 503),
        ("log_unreadable", 503),
        ("overloaded", 503),
    ],
)
async def test_what_central_cannot_show(code: str, expected: int) -> None:
    link = FakeLink()
    link.fail(RequestRefused(code, "No.", 1))
    async with served(link, None) as http:
        for path in ("/api/audit/7/proof", "/api/audit"):
            assert await http.refusal("GET", path) == (expected, code)


async def test_a_kind_that_there_is_not() -> None:
    link = FakeLink()
    link.fail(RequestRefused("unknown_kind", "There is no kind of record x.", None))
    async with served(link, None) as http:
        assert await http.refusal("GET", "/api/audit?kind=x") == (404, "unknown_kind")


async def test_an_event_that_is_too_long_for_a_page_has_no_details() -> None:
    link = FakeLink()
    row = m.RecordView(seq=1, kind="plan_made", leaf_hash="00", body_bytes=9_000)
    link.say(audit=m.AuditView(rows=[row], next_seq=None, first_seq=1, newest_seq=1))
    async with served(link, None) as http:
        (shown,) = (await http.get("/api/audit"))["records"]
        assert shown["details"] is None
        link.say(audit=m.AuditView(rows=[msgspec.structs.replace(row, details="{")]))
        assert await http.refusal("GET", "/api/audit") == (502, "central_answer")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "after_seq=-1", "tail=2", "cp_id=a%20b", "kind=%0A", "x=1"])
async def test_bad_filters_are_named(query: str) -> None:
    async with served(FakeLink(), None) as http:
        assert await http.refusal("GET", f"/api/audit?{query}") == (422, "bad_fields")


async def test_the_log_is_for_operators(tmp_path: Path) -> None:
    async with served(FakeLink(), None) as http:
        for path in ("/api/audit", "/api/audit/state", "/api/audit/1/proof"):
            for who in ("viewer", "driver"):
                assert await http.refusal("GET", path, who) == (403, "forbidden")
        assert await http.refusal("GET", "/api/audit/9999999999999999/proof") == (404, "not_found")
        assert await http.refusal("GET", "/api/audit/x/proof") == (404, "not_found")
