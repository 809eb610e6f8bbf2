"""A group whose verbs stand in modules of their own, each of which is imported when its verb is used.

For commands whose verbs need very different things: making a token should not load a whole web server.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from evcharge.cli.commands import Group


class Verbs(Group):
    """``verbs`` says of each verb where it is, as entry points do: ``evcharge.cli.sidecar_run:run``.

    ``--help`` of the group imports them all: it shows the first line of each.
    """

    def __init__(self, *arguments: Any, verbs: Mapping[str, str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._verbs})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = self._verbs.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, name = place.partition(":")
        found = getattr(import_module(module), name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{place} is no command")
        return found
