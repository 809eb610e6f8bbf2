"""Accounts of the HTTP side as a plan has them, each with its secret in a file of its own."""

from __future__ import annotations

from pathlib import Path

import msgspec

from evcharge.net.clock import Clock
from evcharge.sidecar.bootstrap import BootstrapError, read_private, write_private
from evcharge.sidecar.oauth.clients import ClientExists, Clients, OAuthClient
from evcharge.sidecar.provision.hand_outs import HandOuts, remedy, why
from evcharge.sidecar.provision.keeping import begin, begun, finish
from evcharge.sidecar.provision.plan import Account, file_name


class Accounts:
    """Makes one after the other."""

    def __init__(self, out: HandOuts, clients: Clients, clock: Clock, token_url: str) -> None:
        self._out = out
        self._clients = clients
        self._clock = clock
        self._token_url = token_url

    async def make(self, name: str, account: Account) -> None:
        """The account and its file, what of them is missing. Raises SQLAlchemyError, OSError."""
        clients = self._clients
        folder = f"accounts/{file_name(name)}"
        path = f"{folder}/{file_name(name)}.json"
        file = self._out.file(path)
        now_ms = self._clock.steady_ms()
        known = await clients.get(name)
        if known is not None and (known.scopes, known.driver_id) != (account.wanted, account.driver):
            self._out.report.notes.append(
                f"accounts/{name}: may do something else than the plan says; to make it anew run evcharge-sidecar "
                f"client remove {name}, move its file away, and run this again."
            )
        if file.exists():
            finish(file)
            try:
                good = await _good(clients, name, file, now_ms)
            except (BootstrapError, OSError) as error:
                self._out.amiss(path, f"cannot be used ({why(error)}); {remedy(folder, known=known is not None)}")
                return
            if good:
                self._out.report.present.append(path)
            elif known is None:
                self._out.amiss(path, f"is of an account that was removed; {remedy(folder, known=False)}")
            else:
                self._out.amiss(path, f"holds no good secret of {name} any more; {remedy(folder, known=True)}")
            return
        if known is not None and not begun(file) and folder not in self._out.rotate:
            self._out.amiss(
                path,
                f"is lost, and {name} is known; put it back, or run this with --rotate {folder}: then it gets a new "
                "secret, and the old one ends",
            )
            return
        ours = begun(file)
        begin(file)
        secret = await clients.rotate(name, now_ms, 0)
        if secret is None:
            about, wanted = account.about, account.wanted
            made = OAuthClient(client_id=name, scopes=wanted, created_ms=now_ms, driver_id=account.driver, about=about)
            try:
                secret = await clients.add(made)
            except (ClientExists, ValueError) as error:
                finish(file)
                self._out.amiss(path, f"was not made: {why(error)}")
                return
        said = {"client_id": name, "client_secret": secret, "token_url": self._token_url}
        write_private(file, msgspec.json.encode(said) + b"\n")
        finish(file)
        self._out.say_made(folder, path, rotated=known is not None and not ours)


async def _good(clients: Clients, name: str, file: Path, now_ms: int) -> bool:
    try:
        said = msgspec.json.decode(read_private(file), type=dict[str, str])
    except msgspec.MsgspecError:
        return False
    if said.get("client_id") != name:
        return False
    return await clients.authenticate(name, said.get("client_secret", ""), now_ms) is not None
