"""``python -m tools.mutation``: change the code, run the tests, count the changes that nobody noticed."""

from __future__ import annotations

import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from tools.mutation.run import MODULES, Result, copy_tree, fingerprint, run_module

# Share of mutants that the tests have to notice. Issue "Under fire".
GOAL = 0.9
# Survivors that were looked at, with the reason why they live.
EXPLAINED = Path(__file__).parent / "survivors.toml"


class Kept(msgspec.Struct):
    """What is known of one module; of no use once its source is another. Better tests take nothing back."""

    source: str
    """The fingerprint."""
    results: list[Result]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("modules", nargs=-1, type=click.Choice(sorted(MODULES)))
@click.option("--state", type=click.Path(path_type=Path, dir_okay=False), default=None, help="File that keeps results.")
@click.option("--again", is_flag=True, help="Run the survivors in --state again: the tests are better now.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cli(modules: Sequence[str], state: Path | None, again: bool, as_json: bool) -> None:
    """Change MODULES (by default all of the promise) in one place at a time and run their tests on each change.

    A change that no test notices is a survivor; survivors.toml explains those that were looked at. They count as
    survivors all the same. Exit code 1 when less than 90 % of a module's mutants were noticed, or a survivor is not
    explained. It works in a copy of the tree; all modules take half an hour, `--state` goes on after a break.
    """
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")) if EXPLAINED.exists() else {}
    kept: dict[str, Kept] = {}
    if state is not None and state.exists():
        kept = msgspec.json.decode(state.read_bytes(), type=dict[str, Kept])
    good = True
    answer = {}
    with tempfile.TemporaryDirectory(prefix="evcharge-mutation-") as scratch:
        folder = Path(scratch, "tree")
        folder.mkdir()
        copy_tree(folder)
        for name in modules or MODULES:
            text = fingerprint(name)
            old = kept[name].results if name in kept and kept[name].source == text else []
            before = {it.key: it for it in old if not (again and it.verdict == "survived")}
            results = []
            for number, total, result in run_module(name, folder, before):
                results.append(result)
                if sys.stderr.isatty():
                    click.echo(f"\r{name}: {number} of {total}", nl=False, err=True)
                if state is not None and (number % 20 == 0 or number == total):
                    kept[name] = Kept(text, results)
                    state.write_bytes(msgspec.json.encode(kept))
            reasons = explained.get(name, {})
            survivors = [it for it in results if it.verdict == "survived"]
            share = 1 - len(survivors) / len(results)
            unexplained = [it for it in survivors if it.key not in reasons]
            stale = sorted(set(reasons) - {it.key for it in survivors})
            good = good and share >= GOAL and not unexplained and not stale
            answer[name] = {
                "mutants": len(results),
                "noticed": round(share, 4),
                "timeouts": sum(it.verdict == "timeout" for it in results),
                "survivors": {it.key: reasons.get(it.key, "") for it in survivors},
                "stale": stale,
            }
            if not as_json:
                _show(name, results, share, reasons, stale)
    if as_json:
        click.echo(msgspec.json.encode({"kept": good, "modules": answer}).decode())
    sys.exit(0 if good else 1)


def _show(name: str, results: list[Result], share: float, reasons: dict[str, str], stale: list[str]) -> None:
    verdict = "ok" if share >= GOAL else f"below {GOAL:.0%}"
    late = sum(result.verdict == "timeout" for result in results)
    click.echo(
        f"{name:10} {len(results):4} mutants, {share:.1%} noticed, {late} of them by running for ever: {verdict}"
    )
    for result in results:
        if result.verdict == "survived":
            click.echo(f"    line {result.line}: {result.key}")
            click.echo(f"        {reasons.get(result.key, 'NOT EXPLAINED')}")
    for key in stale:
        click.echo(f"    explained, but noticed by now: {key}")


if __name__ == "__main__":
    cli(prog_name="python -m tools.mutation")
