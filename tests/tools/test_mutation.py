"""The mutation tool: what it changes, what it leaves alone, and that a change is noticed or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.mutation.operators import mutants
from tools.mutation.run import MODULES, ROOT, Module


def changed(source: str) -> set[str]:
    """All mutants of a function with this body."""
    body = "\n".join(f"    {line}" for line in source.splitlines())
    whole = f"def f(a, b, c):\n{body}\n"
    return {f"{mutant.old} -> {mutant.new}" for mutant in mutants(whole)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("return a < b", {"< -> <=", "a < b -> None"}),
        ("return a is not b", {"is not -> is", "a is not b -> None"}),
        ("return a not in b", {"not in -> in", "a not in b -> None"}),
        ("return a + b", {"+ -> -", "a + b -> None"}),
        ("return a and b", {"and -> or", "a and b -> None"}),
        ("if a:\n    b.c = 1", {"a -> (not (a))", "b.c = 1 -> pass", "1 -> (1 + 1)"}),
        ("a.b += c", {"+= -> -=", "a.b += c -> pass"}),
        ("a.close()", {"a.close() -> pass"}),
        ("raise ValueError('a sentence')", {"raise ValueError('a sentence') -> pass"}),
        ("return not a", {"not a -> a", "not a -> None"}),
        ("x = True", {"True -> False"}),
        ("x = b'a'", {"b'a' -> (b'a' + b'?')"}),
        ("x = {a, b}", {"a,  -> ", "b -> "}),
        ("x = {a}", {"{a} -> set()"}),
        ("x = {a: b}", {"{a: b} -> {}"}),
        ("x = f'{a} of {b}'", set()),
        ("'''Not a word of a docstring.'''", set()),
        ("return None", set()),
    ],
)
def test_what_is_changed(source: str, expected: set[str]) -> None:
    assert changed(source) == expected


def test_umlauts_before_a_change_do_not_shift_it() -> None:
    (first, *_) = [m for m in mutants("def f(a):\n    x = 'äöü€'; return a < 1\n") if m.old == "<"]
    assert first.apply("def f(a):\n    x = 'äöü€'; return a < 1\n").endswith("return a <= 1\n")


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_each_module_of_the_promise_has_many_mutants_and_tests_that_exist(module: Module) -> None:
    source = (ROOT / module.path).read_text(encoding="utf-8")
    found = list(mutants(source))
    assert len(found) > 25
    assert all(mutant.apply(source) != source for mutant in found)
    assert all((ROOT / test).is_file() for test in module.tests)


def test_names_of_mutants_outlive_changes_elsewhere() -> None:
    before = "def f(a):\n    return a < 1\n"
    after = "import os\n\n\n" + before
    assert [m.key for m in mutants(before)] == [m.key for m in mutants(after)]


def test_keys_of_the_module_itself_name_no_function() -> None:
    (only,) = mutants("LIMIT = 5\n")
    assert only.key == ": 5 -> (5 + 1)"
    assert Path(MODULES["frames"].path).name == "frames.py"
