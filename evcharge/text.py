"""Text of somebody else, before it meets a terminal: nothing in it is obeyed, everything in it is seen."""

from __future__ import annotations


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
