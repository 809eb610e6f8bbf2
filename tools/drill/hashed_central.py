"""``evcharge-central`` that says at its planned end which state it had: one line ``{"state": SHA-256}``.

What is killed in the drills is this: the shipped program, and nothing but that line beside it.
"""

from __future__ import annotations

from evcharge.central.service import Central
from evcharge.cli import central as program
from evcharge.cli.common import print_json
from tools.drill.log_check import state_hash


class HashedCentral(Central):
    """Central, with a last word."""

    async def stop(self) -> None:
        """As Central's; then the hash of the state that it leaves."""
        await super().stop()
        print_json({"state": state_hash(self.state)})


def main() -> None:
    """Entry point."""
    # The program's own name for what it starts.
    vars(program)["Central"] = HashedCentral
    program.main()


if __name__ == "__main__":
    main()
