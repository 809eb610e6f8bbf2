"""Commands whose settings are called in files and variables what their flags are called on the command line.

click calls a setting by the name of the function's argument, which is not always the flag's: ``--log`` cannot be an
argument ``log`` beside a logger of that name, and ``--from`` can be none at all. Whoever wrote ``log = "site"`` into
the file of ``--config`` would be ignored without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import click

# Longest first sentence of a verb that is shown with the others, in characters.
SENTENCE = 400
# Options whose variable was named here: with another prefix it is another one.
_BY_FLAG: WeakSet[click.Parameter] = WeakSet()


class SettingsContext(click.Context):
    """Knows each option by its flag as well: in ``default_map``, and as ``PREFIX_VERB_FLAG`` in the environment."""

    def __init__(self, command: click.Command, parent: click.Context | None = None, **more: Any) -> None:
        """Raises UsageError: the file of ``--config`` has a setting that nobody knows."""
        super().__init__(command, parent=parent, **more)
        names = settings_of(command)
        if self.auto_envvar_prefix is not None:
            for option in command.params:
                flag = _flag(option)
                # One that has a variable of its own keeps it.
                if flag is not None and flag != option.name and (option.envvar is None or option in _BY_FLAG):
                    option.envvar = f"{self.auto_envvar_prefix}_{flag.upper()}"
                    _BY_FLAG.add(option)
        if self.default_map and parent is not None:
            self._refuse_unknown(names, parent)
            self.default_map = by_name(command, self.default_map)

    def _refuse_unknown(self, names: dict[str, str], parent: click.Context) -> None:
        """What stands outside of the verb's own table is for other verbs, too: one of them has to know it."""
        if isinstance(self.command, click.Group):
            return
        unknown = {*(self.default_map or ())} - {*names, *names.values()}
        shared = {*(parent.default_map or ())}
        for name in sorted(unknown):
            if name not in shared or not _anybody_knows(parent, name):
                raise click.UsageError(
                    f"the file of --config has an unknown setting: {name}. See {self.command_path} --help.", ctx=self
                )


class Command(click.Command):
    """A command, or a verb."""

    context_class = SettingsContext


class Group(click.Group):
    """A command with verbs."""

    context_class = SettingsContext
    command_class = Command
    group_class = type

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each verb with its whole first sentence, over as many lines as it needs; click cuts them at one."""
        commands = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [
            (name, one.get_short_help_str(SENTENCE)) for name, one in commands if one is not None and not one.hidden
        ]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def settings_of(command: click.Command) -> dict[str, str]:
    """The name of each option's value, by its flag without hyphens."""
    found = ((_flag(option), option.name) for option in command.params)
    return {flag: name for flag, name in found if flag is not None and name is not None}


def by_name(command: click.Command, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table of settings by flags or names, by names."""
    names = settings_of(command)
    return {names.get(key, key): value for key, value in table.items()}


def _flag(option: click.Parameter) -> str | None:
    """The first long flag, as it is written in files; None: it is an argument."""
    first = next((each for each in option.opts if each.startswith("--")), None)
    return None if first is None else first.removeprefix("--").replace("-", "_")


def _anybody_knows(group: click.Context, name: str) -> bool:
    if not isinstance(group.command, click.Group):
        return False
    for verb in group.command.list_commands(group):
        command = group.command.get_command(group, verb)
        if isinstance(command, click.Group):
            # Its verbs look for themselves.
            return True
        if command is not None and name in {*settings_of(command), *settings_of(command).values()}:
            return True
    return False
