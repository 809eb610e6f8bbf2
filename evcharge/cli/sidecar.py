"""``evcharge-sidecar``: the registry and everything else that speaks HTTP."""

from __future__ import annotations

from typing import NoReturn

import click

from evcharge.cli.common import CONTEXT, config_option, run_command
from evcharge.cli.verbs import Verbs

VERBS = {
    "client": "evcharge.cli.sidecar_clients:client",
    "history": "evcharge.cli.sidecar_history:history",
    "init": "evcharge.cli.sidecar_init:init",
    "keys": "evcharge.cli.sidecar_clients:keys",
    "provision": "evcharge.cli.sidecar_provision:provision_command",
    "run": "evcharge.cli.sidecar_run:run",
}


@click.group(name="evcharge-sidecar", cls=Verbs, verbs=VERBS, context_settings=CONTEXT)
@config_option
def cli() -> None:
    """The HTTP side of evcharge: registry, gateway, authorizations, weather.

    init makes its directory once, or provision all that a site needs, from a plan; run serves it, client makes client
    apps and access tokens, history looks after what was read of Central's log.
    """


def main() -> NoReturn:
    """Console script."""
    run_command(cli, "EVCHARGE_SIDECAR")


if __name__ == "__main__":
    main()
