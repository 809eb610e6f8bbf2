"""The folder that a run fills, and what it says of it: files that are made once, and never overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evcharge.sidecar.bootstrap import write_private
from evcharge.sidecar.provision.keeping import Report, private_folder


class HandOuts:
    """``out`` with a folder for each program; paths are below it."""

    def __init__(self, out: Path, rotate: frozenset[str]) -> None:
        """``rotate``: folders whose lost secrets are to be replaced."""
        self.report = Report()
        self.rotate = rotate
        self._out = out
        self._rotated: set[str] = set()

    @property
    def not_rotated(self) -> list[str]:
        """Folders in which nothing was to be replaced."""
        return sorted(self.rotate - self._rotated)

    def file(self, path: str) -> Path:
        """A file below ``out``, whose folder is there."""
        file = self._out / path
        private_folder(file.parent)
        return file

    def keep_new(self, path: str, content: Callable[[], bytes]) -> Path:
        """The file, made if it is not there."""
        file = self.file(path)
        if file.exists():
            self.report.present.append(path)
        else:
            write_private(file, content())
            self.report.made.append(path)
        return file

    def say_made(self, folder: str, path: str, *, rotated: bool) -> None:
        """It was made, for the first time or in place of one that was lost."""
        if rotated:
            self._rotated.add(folder)
        (self.report.rotated if rotated else self.report.made).append(path)

    def problem(self, path: str, sentence: str) -> None:
        """The site cannot serve without it."""
        self.report.problems.append(f"{path} {sentence}.")

    def amiss(self, path: str, sentence: str) -> None:
        """The site serves without it."""
        self.report.amiss.append(f"{path} {sentence}.")


def remedy(folder: str, *, known: bool) -> str:
    """What to do with a hand-out that is not good. ``known``: the registry has a live one in its place."""
    if not known:
        return "delete it and run this again, which makes one, or take it out of the plan"
    return (
        f"put the present one there (0600), or delete it and run this with --rotate {folder}, "
        "which ends the present one"
    )


def why(error: Exception) -> str:
    """What went wrong, without a full stop."""
    said = error.strerror if isinstance(error, OSError) else None
    return (said or str(error)).rstrip(".")
