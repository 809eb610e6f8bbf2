"""Text of somebody else: before it meets a terminal, nothing in it is obeyed and everything in it is seen; and what it
probably meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# How alike two words have to be for a guess: `cp` and `cp_id` are 0.57.
_NEAR = 0.55


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """How a sentence about an unknown ``word`` ends: with the nearest of ``words``, or with a full stop."""
    near = get_close_matches(word, list(words), n=1, cutoff=_NEAR)
    return f"; did you mean `{escaped(near[0])}`?" if near else "."


def escaped(text: str) -> str:
    r"""``text`` with what a terminal would obey, and what has no shape, written as ``\x1b`` or ``\u202e``.

    Control characters (ANSI sequences begin with one), those that turn the direction of writing, lone surrogates.
    A line end is one of them, so the result is one line. Backslashes stay as they are: this is for reading.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _code(ord(character)) for character in text)


def _code(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
