"""Settings of commands: by their flags, in files and in variables, and none of them ignored without a word."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from evcharge.cli.commands import Command, Group, SettingsContext, settings_of
from evcharge.cli.common import CONTEXT, config_option

COMMANDS = ("audit", "central", "cp", "demo", "driver", "events", "monitor", "nc", "sidecar")


def all_commands(command: click.Command, prefix: str) -> Iterator[tuple[click.Context, click.Command]]:
    context = command.context_class(command, info_name=command.name, auto_envvar_prefix=prefix)
    yield context, command
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            found = command.get_command(context, verb)
            assert found is not None
            yield from all_commands(found, f"{prefix}_{verb.upper().replace('-', '_')}")


@pytest.mark.parametrize("module", COMMANDS)
def test_each_option_has_the_variable_of_its_flag(module: str) -> None:
    command = import_module(f"evcharge.cli.{module}").cli
    for context, one in all_commands(command, f"EVCHARGE_{module.upper()}"):
        assert isinstance(context, SettingsContext), one.name
        for flag, name in settings_of(one).items():
            (option,) = [each for each in one.params if each.name == name]
            variable = f"{context.auto_envvar_prefix}_{flag.upper()}"
            assert flag == name or option.envvar == variable, option


@pytest.mark.parametrize("module", COMMANDS)
def test_no_flag_is_the_name_of_another_option(module: str) -> None:
    command = import_module(f"evcharge.cli.{module}").cli
    for _, one in all_commands(command, "X"):
        names = settings_of(one)
        assert all(flag == name or flag not in names.values() for flag, name in names.items()), one.name


@pytest.mark.parametrize("module", COMMANDS)
def test_help_shows_what_each_verb_does_as_a_whole_sentence(module: str) -> None:
    command = import_module(f"evcharge.cli.{module}").cli
    for context, one in all_commands(command, "X"):
        if isinstance(one, click.Group):
            shown = " ".join(one.get_help(context).split())
            for verb in one.list_commands(context):
                found = one.get_command(context, verb)
                assert found is not None and found.help is not None
                sentence = " ".join(found.help.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")
                assert f" {verb} {sentence}" in shown


@click.group(name="evcharge-kiosk", cls=Group, context_settings=CONTEXT)
@config_option
def kiosk() -> None:
    """A group of verbs."""


@kiosk.command("run")
@click.option("--log", "log_name", default="site")
@click.option("--from", "begins", type=int, default=0)
@click.option("--central", default="nowhere")
def _run(log_name: str, begins: int, central: str) -> None:
    click.echo(f"{log_name} {begins} {central}")


@kiosk.command("look")
@click.option("--far", is_flag=True)
def _look(*, far: bool) -> None:
    click.echo(f"{far}")


@click.command(name="evcharge-lamp", cls=Command, context_settings=CONTEXT)
@config_option
@click.option("--site", "site_file", default="none")
def lamp(site_file: str) -> None:
    """A command without verbs."""
    click.echo(site_file)


def ask(command: click.Command, *arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(command, arguments, auto_envvar_prefix="EVCHARGE_IT", env=environment)


def test_a_variable_is_called_as_the_flag() -> None:
    assert ask(kiosk, "run", EVCHARGE_IT_RUN_LOG="north", EVCHARGE_IT_RUN_FROM="7").output == "north 7 nowhere\n"
    assert ask(lamp, EVCHARGE_IT_SITE="a.toml").output == "a.toml\n"
    # The flag wins, and what the function's argument is called is good as well.
    assert ask(kiosk, "run", "--log", "a", EVCHARGE_IT_RUN_LOG="b").output == "a 0 nowhere\n"
    assert ask(lamp, EVCHARGE_IT_SITE_FILE="b.toml").output == "b.toml\n"


@pytest.mark.parametrize(
    "text",
    [
        '[run]\nlog = "north"\nfrom = 7\ncentral = "here"',
        'log = "north"\nfrom = 7\n[run]\ncentral = "here"',
        '[kiosk.run]\nlog_name = "north"\nbegins = 7\ncentral = "here"',
        # What another verb knows may stand for all.
        'far = true\nlog = "north"\nfrom = 7\ncentral = "here"',
    ],
)
def test_a_setting_in_a_file_is_called_as_the_flag(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_text(text)
    assert ask(kiosk, "--config", str(file), "run").output == "north 7 here\n"


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "lamp.toml"
    file.write_text('site = "a.toml"')
    assert ask(lamp, "--config", str(file)).output == "a.toml\n"
    assert ask(lamp, "--config", str(file), EVCHARGE_IT_SITE="b.toml").output == "b.toml\n"


@pytest.mark.parametrize("text", ["[run]\nlgo = 1", "lgo = 1", "[run]\nfar = true"])
def test_a_setting_that_nobody_knows_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kiosk.toml"
    file.write_text(text)
    result = ask(kiosk, "--config", str(file), "run")
    assert result.exit_code == 2
    assert f"unknown setting: {'far' if 'far' in text else 'lgo'}" in result.output


def test_a_setting_that_nobody_knows_is_refused_without_verbs_too(tmp_path: Path) -> None:
    file = tmp_path / "lamp.toml"
    file.write_text('sight = "a.toml"')
    result = ask(lamp, "--config", str(file))
    assert (result.exit_code, "unknown settings: sight" in result.output) == (2, True)
