"""Small changes of a Python source, one at a time: each is a mistake that a person could make.

Left alone: docstrings, annotations, sentences for people (texts inside ``raise``), ``__slots__`` and ``__repr__``: to
change them changes nothing that was promised.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_COMPARE: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_BINARY: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
    ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.BitXor: ("^", "&"),
}
# Functions and assignments whose content nobody promised.
_LEFT_ALONE = {"__slots__", "__repr__", "__rich_repr__", "__all__"}


class Mutant(NamedTuple):
    """One change: the text from ``start`` to ``end`` becomes ``new``."""

    line: int
    start: int
    end: int
    old: str
    new: str
    where: str
    """Class and function, dotted; empty for the module itself."""

    def apply(self, source: str) -> str:
        """The changed source."""
        return source[: self.start] + self.new + source[self.end :]

    @property
    def key(self) -> str:
        """Names the mutant for as long as its function has this text once; survives changes elsewhere."""
        return f"{self.where}: {self.old} -> {self.new}"


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.found: list[Mutant] = []
        self._source = source
        self._starts = [0]
        for line in source.encode().splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._bytes = source.encode()
        self._where: list[str] = []
        self._in_raise = False

    # --- positions: ast counts bytes, Mutant characters

    def _offset(self, line: int, column: int) -> int:
        return len(self._bytes[: self._starts[line - 1] + column].decode())

    def _span(self, node: ast.AST) -> tuple[int, int]:
        line, column = node.lineno, node.col_offset  # type: ignore[attr-defined]  # every node that is asked has them
        end_line, end_column = node.end_lineno, node.end_col_offset  # type: ignore[attr-defined]
        return self._offset(line, column), self._offset(end_line, end_column)

    def _add(self, node: ast.AST, start: int, end: int, new: str) -> None:
        old = self._source[start:end]
        if old != new:
            line = node.lineno  # type: ignore[attr-defined]
            self.found.append(Mutant(line, start, end, old, new, ".".join(self._where)))

    def _replace(self, node: ast.AST, new: str) -> None:
        self._add(node, *self._span(node), new)

    def _between(self, left: ast.AST, right: ast.AST, old: str, new: str) -> None:
        """Replace the operator between two operands."""
        start, end = self._span(left)[1], self._span(right)[0]
        at = self._source.find(old, start, end)
        if at >= 0:
            self._add(left, at, at + len(old), new)

    # --- what is left alone

    def _named(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        if node.name in _LEFT_ALONE:
            return
        self._where.append(node.name)
        for default in getattr(getattr(node, "args", None), "defaults", []):
            self.visit(default)
        for default in getattr(getattr(node, "args", None), "kw_defaults", []):
            if default is not None:
                self.visit(default)
        for index, statement in enumerate(node.body):
            if not (index == 0 and _is_text(statement)):
                self.visit(statement)
        self._where.pop()

    visit_FunctionDef = _named  # noqa: N815 - a name of ast.NodeVisitor
    visit_AsyncFunctionDef = _named  # noqa: N815 - a name of ast.NodeVisitor
    visit_ClassDef = _named  # noqa: N815 - a name of ast.NodeVisitor

    def visit_Module(self, node: ast.Module) -> None:
        for statement in node.body:
            if not _is_text(statement):
                self.visit(statement)

    def visit_Expr(self, node: ast.Expr) -> None:
        if _is_text(node):
            return
        if isinstance(node.value, ast.Call) and self._where:
            self._replace(node, "pass")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            if not isinstance(node.target, ast.Name):
                self._replace(node, "pass")
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        names = {target.id for target in node.targets if isinstance(target, ast.Name)}
        if names & _LEFT_ALONE:
            return
        if self._where and any(not isinstance(target, ast.Name) for target in node.targets):
            self._replace(node, "pass")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._replace(node, "pass")
        self._in_raise = True
        self.generic_visit(node)
        self._in_raise = False

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts with values in them are for people."""

    # --- operators

    def visit_Compare(self, node: ast.Compare) -> None:
        left: ast.expr = node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            self._between(left, right, *_COMPARE[type(op)])
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in _BINARY:
            self._between(node.left, node.right, *_BINARY[type(node.op)])
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        old, new = _BINARY[type(node.op)]
        self._between(node.target, node.value, f"{old}=", f"{new}=")
        self._replace(node, "pass")
        self.visit(node.value)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, self._text(node.operand))
        self.generic_visit(node)

    def _negated(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if not isinstance(node.test, ast.Compare | ast.UnaryOp | ast.Constant):
            self._replace(node.test, f"(not ({self._text(node.test)}))")
        self.generic_visit(node)

    visit_If = _negated  # noqa: N815 - a name of ast.NodeVisitor
    visit_While = _negated  # noqa: N815 - a name of ast.NodeVisitor
    visit_IfExp = _negated  # noqa: N815 - a name of ast.NodeVisitor

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._replace(node.value, "None")
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, f"({self._text(node)} + 1)")
        elif isinstance(value, bytes):
            self._replace(node, f"({self._text(node)} + b'?')")
        elif isinstance(value, str) and not self._in_raise and self._where:
            self._replace(node, f"({self._text(node)} + '?')")

    def visit_Set(self, node: ast.Set) -> None:
        self._without_each(node, [self._span(member) for member in node.elts], "set()")
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        pairs = zip(node.keys, node.values, strict=True)
        spans = [(self._span(key)[0], self._span(value)[1]) for key, value in pairs if key is not None]
        self._without_each(node, spans, "{}")
        self.generic_visit(node)

    def _without_each(self, node: ast.AST, spans: list[tuple[int, int]], nothing: str) -> None:
        """One mutant for each member that is missing; without its only one a set or dict is ``nothing``."""
        if len(spans) == 1:
            self._replace(node, nothing)
        if len(spans) < 2:
            return
        for index, (start, end) in enumerate(spans):
            stop = spans[index + 1][0] if index + 1 < len(spans) else end
            self._add(node, start, stop, "")

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._source[start:end]


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def mutants(source: str) -> Iterator[Mutant]:
    """Every change of ``source``, in order; each still compiles."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    for mutant in sorted(finder.found):
        try:
            compile(mutant.apply(source), "mutant", "exec")
        except SyntaxError:
            continue
        yield mutant
