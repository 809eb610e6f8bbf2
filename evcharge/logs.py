"""How much a process logs, and how that changes while it runs.

Every logger of the program is an instance of one class, and what filters is that class's base: a change of the level is
a change of the base. So it reaches loggers that were bound long ago as well, and a call below the level stays what
structlog makes of it, a method that returns at once.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

LEVELS = ("error", "warning", "info", "debug")
"""From the least to the most detail."""

# Libraries write their own lines through the standard library's logging. Their details may quote what passes through
# them (aiosqlite's have the values of every statement), so they never say more than warnings.
_LIBRARIES = logging.WARNING

# Traces without the values of variables, which structlog would show: among them are tokens and secrets.
_TRACEBACKS = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
_CONSOLE = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)


_FILTERS: dict[str, type[Any]] = {level: structlog.make_filtering_bound_logger(level) for level in LEVELS}
_FIRST: Any = _FILTERS["info"]


class Logger(_FIRST):  # type: ignore[misc]  # structlog makes it
    """Every logger of the program; its base filters."""

    __slots__ = ()


def configure(level: str) -> None:
    """Structured logs on stderr: coloured text on a terminal, one JSON object a line otherwise."""
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _TRACEBACKS if not terminal else structlog.processors.StackInfoRenderer(),
            _CONSOLE if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=Logger,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    _filter(level)


def level() -> str:
    """How much is logged: one of ``LEVELS``."""
    return next(name for name, base in _FILTERS.items() if base in Logger.__bases__)


def set_level(wanted: str, **why: Any) -> str:
    """Log so much from now on, in this whole process; one line says so whatever the level, with ``why``.

    Returns the level before. Raises ValueError: there is no such level.
    """
    if wanted not in LEVELS:
        raise ValueError(f"{wanted!r} is no level; there are {', '.join(LEVELS)}")
    before = level()
    _filter(wanted)
    structlog.get_logger().bind()._proxy_to_logger("info", "log.level", before=before, now=wanted, **why)
    return before


def step(more: int, **why: Any) -> str:
    """So many of ``LEVELS`` further, back where ``more`` is below 0, as far as there are any; as ``set_level``."""
    place = LEVELS.index(level()) + more
    return set_level(LEVELS[min(max(place, 0), len(LEVELS) - 1)], **why)


def _filter(wanted: str) -> None:
    Logger.__bases__ = (_FILTERS[wanted],)
    logging.getLogger().setLevel(max(getattr(logging, wanted.upper()), _LIBRARIES))
