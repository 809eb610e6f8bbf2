"""The site's CA and the certificates of its servers: made, kept, and renewed before they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from evcharge.sidecar.bootstrap import read_private, write_private
from evcharge.sidecar.provision.certificates import (
    BadCertificate,
    Pair,
    authority,
    fits,
    new_key,
    read_pair,
    renewed,
    server,
)
from evcharge.sidecar.provision.hand_outs import HandOuts
from evcharge.sidecar.provision.keeping import replace_private
from evcharge.sidecar.provision.plan import Certificate

CA_CERTIFICATE = "ca.pem"
CA_KEY = "ca-key.pem"
SERVER_CERTIFICATE = "tls.crt"
SERVER_KEY = "tls.key"


class Issuing:
    """All that is signed in one run."""

    def __init__(self, out: HandOuts, now: datetime) -> None:
        self._out = out
        self._now = now

    def make(self, wanted: Mapping[str, Certificate], ca_name: str, folders: Iterable[str]) -> None:
        """The CA, the certificate of each of ``wanted``, and a copy of the CA's in all ``folders``. Raises OSError."""
        ca = self._authority(ca_name)
        if ca is None:
            return
        for name, certificate in wanted.items():
            self._server(name, certificate, ca)
        for folder in folders:
            copy = self._out.file(f"{folder}/{CA_CERTIFICATE}")
            if not copy.exists() or copy.read_bytes() != ca.pem:
                replace_private(copy, ca.pem)

    def _authority(self, name: str) -> Pair | None:
        now = self._now
        path, key_path = f"authority/{CA_CERTIFICATE}", f"authority/{CA_KEY}"
        key, file = self._out.file(key_path), self._out.file(path)
        if file.exists() and not key.exists():
            self._out.problem(
                key_path,
                f"is lost; put it back, or move {path} away and run this again: then there is a new CA, and whoever "
                f"trusts the old one needs the new {CA_CERTIFICATE}",
            )
            return None
        self._out.keep_new(key_path, new_key)
        try:
            if not file.exists():
                made = authority(read_private(key), name, now)
                write_private(file, made.pem)
                self._out.report.made.append(path)
                return made
            found = read_pair(read_private(key), file.read_bytes())
            if self._too_early(path, found):
                return None
            if not found.ends_soon(now):
                self._out.report.present.append(path)
                return found
            fresh = renewed(found, now)
            replace_private(file, fresh.pem)
        except BadCertificate as error:
            self._out.problem(path, f"{error}; put both back from one backup")
            return None
        self._out.report.renewed.append(path)
        return fresh

    def _server(self, name: str, wanted: Certificate, ca: Pair) -> None:
        path, key_path = f"servers/{name}/{SERVER_CERTIFICATE}", f"servers/{name}/{SERVER_KEY}"
        key = self._out.keep_new(key_path, new_key)
        file = self._out.file(path)
        before = file.exists()
        if before:
            try:
                found = read_pair(read_private(key), file.read_bytes())
                if self._too_early(path, found):
                    return
                if fits(found, wanted.names, ca) and not found.ends_soon(self._now):
                    self._out.report.present.append(path)
                    return
            except BadCertificate:
                # Its key was lost and made anew: nobody pins it, the CA vouches for the next one.
                pass
        try:
            fresh = server(read_private(key), wanted.names, wanted.days, ca, self._now)
        except BadCertificate as error:
            self._out.problem(key_path, f"{error}; move it away and run this again")
            return
        (replace_private if before else write_private)(file, fresh.pem)
        (self._out.report.renewed if before else self._out.report.made).append(path)

    def _too_early(self, path: str, found: Pair) -> bool:
        """Whether the clock is of a time before the certificate, as one without a battery is until somebody sets it."""
        early = found.begins_later(self._now)
        if early:
            begin = found.certificate.not_valid_before_utc
            self._out.problem(
                path,
                f"is good from {begin:%Y-%m-%d %H:%M} UTC on, and the clock says {self._now:%Y-%m-%d %H:%M}; set "
                "the clock and run this again (if the clock is right, move the certificate away first)",
            )
        return early
