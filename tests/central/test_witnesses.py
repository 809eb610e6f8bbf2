"""A disk that was put back is seen by those who remember: nothing new is authorized until a person has decided."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evcharge.audit.attest import Attestor
from evcharge.audit.files import OsFiles
from evcharge.audit.journal import JournalFailed
from evcharge.audit.merkle import Frontier, leaf_hash, stored_index
from evcharge.audit.note import Checkpoint, Signer, write_note
from evcharge.audit.tree import TREE, LogTree, TreeDamaged, open_tree
from evcharge.central.witnesses import REMEMBERED, Witnesses
from evcharge.domain import events as e
from evcharge.net.client import RequestRefused
from evcharge.net.witness import Witness
from protocol import messages as m
from protocol.credentials import Role
from tests.audit.support import read
from tests.support.central import DiskInHand, Site, WirePeer, until

SIGNER = Signer("evcharge/test", b"k" * 32)
LEAVES = [leaf_hash(seq, 0, b"%d" % seq) for seq in range(1, 21)]


async def put_back(site: Site, copy: Path) -> None:
    """The whole disk as it was when it was copied."""
    await site.stop()
    data = site.directory / "central"
    shutil.rmtree(data)
    shutil.copytree(copy, data)


async def rolled_back(site: Site, copy: Path) -> Witness:
    """A driver that has seen more than the disk holds now."""
    await site.engine()
    shutil.copytree(site.directory / "central", copy)
    witness = Witness()
    driver = site.join(site.credential(Role.DRIVER, "anna"), witness=witness)
    await driver.up()
    await site.charge(driver)
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    site.central._attestor.checkpoints._made_s = float("-inf")
    await site.stop()
    # What PONG brings after a minute; the drain came first.
    witness.see(site.central._attestor.checkpoints.newest)
    data = site.directory / "central"
    shutil.rmtree(data)
    shutil.copytree(copy, data)
    return witness


async def test_a_peer_gets_the_newest_checkpoint_and_shows_it_again(site: Site) -> None:
    witness = Witness()
    credential = site.credential(Role.DRIVER, "anna")
    driver = site.join(credential, witness=witness)
    await driver.up()
    await site.restart()
    site.clock.advance(5.0)
    await driver.up(2)
    assert witness.note is not None and b"evcharge/" in witness.note
    assert not site.central._engine.suspect and not site.logged(e.IncidentRaised)
    await site.beat(61, driver)
    while witness.note != site.central._attestor.checkpoints.newest:
        # The log was signed once more behind the last PONG: the next one brings it.
        await site.beat(61, driver)


async def test_a_log_that_lost_its_end_authorizes_nothing_new(tmp_path: Path) -> None:
    async with Site(tmp_path / "site") as site:
        witness = await rolled_back(site, tmp_path / "copy")
        await site.start()
        driver = site.join(site.credential(Role.DRIVER, "anna"), witness=witness)
        await driver.up()
        incident = await site.line(e.IncidentRaised, code="log_rollback")
        assert "driver:anna has a signed checkpoint: the log had" in incident.detail
        with pytest.raises(RequestRefused) as caught:
            await driver.ask(m.ChargeRequest(id=0, cp_id="CP-1"))
        assert caught.value.reason == "log_rollback"
        assert await driver.ask(m.List(id=0)), "looking is still allowed"
        assert witness.note is not None, "the proof is kept"


async def test_an_operator_can_accept_it(tmp_path: Path) -> None:
    async with Site(tmp_path / "site", accept_rollback=True) as site:
        witness = await rolled_back(site, tmp_path / "copy")
        await site.start()
        await site.engine()
        driver = site.join(site.credential(Role.DRIVER, "anna"), witness=witness)
        await driver.up()
        assert await site.charge(driver)
        assert await site.line(e.IncidentRaised, code="log_rollback")


# --- the comparison by itself -----------------------------------------------------------------------------------------


class Case:
    """A tree of twelve records and what it says of checkpoints."""

    def __init__(self, tmp_path: Path) -> None:
        self.told: list[str] = []
        tree = LogTree(tmp_path / "tree", DiskInHand(), None, 0)
        tree.extend(LEAVES[:12])
        self.witnesses = Witnesses(tree, [SIGNER.verifier], self.told.append)

    def show(self, size: int, *, leaves: int | None = None, signer: Signer = SIGNER, log: str = "evcharge/test") -> str:
        frontier = Frontier()
        frontier.extend(LEAVES[: size if leaves is None else leaves])
        note = write_note(Checkpoint(log, size, frontier.root()).text(), [signer])
        self.witnesses.show(note, "driver:anna")
        return self.witnesses.proof


def test_checkpoints_of_this_log_are_fine(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert [case.show(size) for size in range(13)] == [""] * 13
    assert len(case.witnesses._known) == 13


@pytest.mark.parametrize(
    ("size", "leaves", "why"), [(13, 13, "had 13 records, and has 12"), (12, 11, "first 12 records were others")]
)
def test_a_signed_checkpoint_of_another_past_is_proof(tmp_path: Path, size: int, leaves: int, why: str) -> None:
    case = Case(tmp_path)
    assert why in case.show(size, leaves=leaves)
    case.show(14)
    assert len(case.told) == 1, "said once"


def test_what_the_log_did_not_sign_proves_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path)
    assert case.show(13, signer=Signer("evcharge/test", b"x" * 32)) == ""
    assert case.show(13, log="evcharge/other", signer=Signer("evcharge/other", b"x" * 32)) == ""
    case.witnesses.show(b"anything", "driver:anna")
    assert case.told == []


def test_nodes_that_were_planted_do_not_hide_another_past(tmp_path: Path) -> None:
    """Who puts an older log back can write into `tree` too: the nodes of the past that a witness remembers."""
    now = Frontier()
    nodes = now.extend([*LEAVES[:8], *(leaf_hash(seq, 0, b"another %d" % seq) for seq in range(9, 21))])
    remembered = Frontier()
    remembered.extend(LEAVES[:12])
    nodes[stored_index(2, 2)] = remembered.edge[-1]
    (tmp_path / TREE).write_bytes(b"".join(nodes))
    tree = open_tree(tmp_path, OsFiles())
    tree.begin(now)
    assert not tree.damaged and tree.root_at(12) == remembered.root(), "the file says what the witness says"
    told: list[str] = []
    note = write_note(Checkpoint("evcharge/test", 12, remembered.root()).text(), [SIGNER])
    Witnesses(tree, [SIGNER.verifier], told.append).show(note, "driver:anna")
    assert told and "first 12 records were others" in told[0]
    tree.close()


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    case = Case(tmp_path)
    for number in range(REMEMBERED + 10):
        case.witnesses.show(b"junk %d" % number, "driver:anna")
    assert len(case.witnesses._known) == REMEMBERED


# --- a damaged file of nodes is not another past ----------------------------------------------------------------------


async def shown_after(site: Site, change: Callable[[bytearray], None]) -> WirePeer:
    """Central with its file of nodes changed, and a driver who shows what it saw before."""
    witness = Witness()
    credential = site.credential(Role.DRIVER, "anna")
    await site.join(credential, witness=witness).up()
    await until(lambda: site.central._journal.durable == site.central._journal.last)
    await site.stop()
    witness.see(site.central._attestor.checkpoints.newest)
    await site.start()
    await site.engine()
    path = site.central.log_dir / TREE
    site.central._attestor.tree.flush()
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    driver = site.join(credential, witness=witness)
    await driver.up()
    return driver


def flip_all(data: bytearray) -> None:
    data[:] = bytes(byte ^ 1 for byte in data)


def cut_short(data: bytearray) -> None:
    del data[32:]


@pytest.mark.parametrize("change", [flip_all, cut_short])
async def test_a_damaged_file_of_nodes_is_mended_and_charging_goes_on(
    tmp_path: Path, change: Callable[[bytearray], None]
) -> None:
    async with Site(tmp_path / "site") as site:
        driver = await shown_after(site, change)
        await until(lambda: site.central._doubts.open == 0 and not site.central._engine.suspect)
        assert await site.charge(driver)
        assert not site.logged(e.IncidentRaised)
        tree = site.central._attestor.tree
        root = tree.root_at(5)
        frontier = Frontier()
        records, _ = read(site.central.log_dir, OsFiles())
        frontier.extend([leaf_hash(one.seq, one.durable, one.body) for one in records[:5]])
        assert root == frontier.root()


def test_a_file_that_is_not_there_yet_or_no_more(tmp_path: Path) -> None:
    tree = LogTree(tmp_path / TREE, DiskInHand(), None, 0)
    tree.extend(LEAVES)
    assert tree.mend(LEAVES) == 0, "all nodes are in memory"
    tree.flush()
    assert tree.mend(LEAVES) == 0
    (tmp_path / TREE).unlink()
    with pytest.raises(TreeDamaged, match="removed"):
        tree.mend(LEAVES)
    tree.close()


async def test_what_cannot_be_cleared_up_stops_new_charging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def archived(_attestor: Attestor) -> None:
        raise TreeDamaged("records 1 to 9 were archived")

    monkeypatch.setattr(Attestor, "mend", archived)
    async with Site(tmp_path / "site") as site:
        driver = await shown_after(site, flip_all)
        assert "put archived segments back" in (await site.line(e.IncidentRaised, code="log_in_doubt")).detail
        assert not [it for it in site.logged(e.IncidentRaised) if it.code == "log_rollback"], "nothing is proven"
        with pytest.raises(RequestRefused, match="witness"):
            await site.charge(driver)


async def test_a_disk_that_fails_while_it_is_cleared_up_stops_central(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_attestor: Attestor) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr(Attestor, "mend", broken)
    async with Site(tmp_path / "site") as site:
        await shown_after(site, flip_all)
        assert isinstance(await site.central.failure, JournalFailed)
