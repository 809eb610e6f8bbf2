"""What the registry says no with; each has a code for programs and a sentence for a person."""

from __future__ import annotations

from collections.abc import Mapping


class RegistryRefused(Exception):
    """The registry says no; ``sentence`` is for a person, ``code`` for a program."""

    code = "refused"

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class Invalid(RegistryRefused):
    """The request is not one; ``fields`` names every bad field."""

    code = "bad_request"

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {why}" for name, why in fields.items()))
        self.fields = dict(fields)


class Exists(RegistryRefused):
    """The (role, entity) or the username is taken."""

    code = "exists"


class Unknown(RegistryRefused):
    """Nobody has this username or entity."""

    code = "unknown"


class Ambiguous(RegistryRefused):
    """The entity has several credentials; the sentence names their usernames."""

    code = "ambiguous"


class Pinned(RegistryRefused):
    """Central's own credential is pinned by its peers; it is not revoked here."""

    code = "pinned"


class Revoked(RegistryRefused):
    """The credential has ended."""

    code = "revoked"


class RevisionAhead(RegistryRefused):
    """The follower knows a revision that this registry has never made: the file is an older copy."""

    code = "rev_ahead"
