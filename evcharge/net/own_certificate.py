"""A program's own certificate and key, from files, into a TLS context: without a question to a terminal."""

from __future__ import annotations

import ssl
from pathlib import Path


class BadCertificateFile(Exception):
    """They cannot be used; the text is one sentence that names the file."""


class _Encrypted(Exception):
    """The key wants a pass phrase."""


def load_own_certificate(context: ssl.SSLContext, certificate: Path | str, key: Path | str | None) -> None:
    """``certificate``: PEM with its chain; ``key``: PEM, None where it stands in the same file.

    Raises:
        BadCertificateFile: a file is missing, is none, or the two do not belong together.
    """
    try:
        # Without a callback OpenSSL asks whoever sits at the terminal, and everything waits.
        context.load_cert_chain(certificate, key, password=_refuse)
    except _Encrypted:
        raise BadCertificateFile(
            f"The key in {key or certificate} is encrypted; store it without a pass phrase, 0600."
        ) from None
    except (OSError, ssl.SSLError) as error:
        raise BadCertificateFile(
            f"Cannot use the certificate {certificate}{f' with the key {key}' if key else ''}: {_why(error)}."
        ) from error


def _refuse() -> str:
    raise _Encrypted


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or error.strerror or "it is no PEM"
    return error.strerror or str(error)
