"""How a broker of Kafka is reached: addresses, TLS and SASL as settings, for whoever produces or consumes.

The client is aiokafka, which only ``pip install 'evcharge[kafka]'`` brings.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from evcharge.net.own_certificate import BadCertificateFile, load_own_certificate

# Kafka's own port.
PORT = 9092
# Longest password, in characters: tokens of large clouds have 2,000.
PASSWORD_CHARS = 4_096
# The highest there is: what is above it would come out as another one, where another program may hear the password.
MOST_PORT = 65_535

Security = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Broker = Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$", max_length=300)]


class BadKafka(Exception):
    """The broker cannot be reached with these settings: one sentence that says what to do; never a password."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the brokers are, and what they want to know. The words are Kafka's own."""

    brokers: Annotated[list[Broker], Meta(min_length=1, max_length=64)]
    """``HOST:PORT`` of some of them; they tell of the others."""
    security: Security = "PLAINTEXT"
    mechanism: Mechanism = "SCRAM-SHA-512"
    """Of SASL."""
    username: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    password_file: str | None = None
    """A file with the password and nothing else; or"""
    password_env: str | None = None
    """the environment variable that has it."""
    ca_file: str | None = None
    """Certificates of the authority that signed the brokers', PEM; None: those that this machine trusts."""
    certificate_file: str | None = None
    """This client's own, PEM with its chain, where brokers ask for one."""
    key_file: str | None = None
    """Its key, PEM, if it is not in the same file."""

    def __post_init__(self) -> None:
        """Ports are some; SASL needs a name and one place of the password; what is not used may not stand there."""
        for broker in self.brokers:
            if not 0 < int(broker.rpartition(":")[2]) <= MOST_PORT:
                raise ValueError(f"{broker} has no port from 1 to {MOST_PORT}; Kafka's own is {PORT}")
        sasl = self.security.startswith("SASL")
        places = [one for one in (self.password_file, self.password_env) if one is not None]
        if sasl and (self.username is None or len(places) != 1):
            raise ValueError(f"security {self.security} needs username, and password_file or password_env")
        if not sasl and (self.username is not None or places):
            raise ValueError(
                f"username and password are of no use with security {self.security}; SASL_SSL asks for them"
            )
        files = [one for one in (self.ca_file, self.certificate_file, self.key_file) if one is not None]
        if files and not self.security.endswith("SSL"):
            raise ValueError(f"certificates are of no use with security {self.security}; SSL and SASL_SSL use them")
        if self.key_file is not None and self.certificate_file is None:
            raise ValueError("key_file needs certificate_file")


def client_arguments(settings: KafkaSettings, environ: Mapping[str, str], client_id: str) -> dict[str, Any]:
    """What every client of aiokafka is made with; files are read now.

    Raises:
        BadKafka: a file or variable is missing or cannot be used.
    """
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(settings.brokers),
        "client_id": client_id,
        "security_protocol": settings.security,
    }
    if settings.security.endswith("SSL"):
        arguments["ssl_context"] = _tls(settings)
    if settings.security.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": settings.mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": _password(settings, environ),
        }
    return arguments


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise BadKafka(f"Cannot use ca_file {settings.ca_file}: {_why(error)}.") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.certificate_file is not None:
        try:
            load_own_certificate(context, settings.certificate_file, settings.key_file)
        except BadCertificateFile as error:
            raise BadKafka(str(error)) from error
    return context


def _password(settings: KafkaSettings, environ: Mapping[str, str]) -> str:
    if settings.password_env is not None:
        where, text = f"The environment variable {settings.password_env}", environ.get(settings.password_env, "")
    else:
        where = f"password_file {settings.password_file}"
        try:
            text = Path(settings.password_file or "").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise BadKafka(f"Cannot read {where}: {why}.") from None
    text = text.strip()
    if not text or len(text) > PASSWORD_CHARS or not text.isprintable():
        raise BadKafka(f"{where} has no password in it.")
    return text


def _why(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or str(error)
