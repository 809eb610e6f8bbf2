"""Tokens, sources and the throttle's promises."""

from __future__ import annotations

import hashlib
import os

import pytest

from evcharge.sidecar.auth import Scope, Tokens, new_token, source_of, token_hash


def test_a_token_is_known_by_its_hash_alone() -> None:
    operator, service = new_token(Scope.OPERATOR, os.urandom), new_token(Scope.SERVICE, os.urandom)
    assert (operator[:5], service[:5], len(operator)) == ("evo1_", "evs1_", 48)
    tokens = Tokens({Scope.OPERATOR: token_hash(operator), Scope.SERVICE: token_hash(service)})
    assert token_hash(operator) == hashlib.sha256(operator.encode()).digest()
    assert tokens.scope_of(f"Bearer {operator}") is Scope.OPERATOR
    assert tokens.scope_of(f"bearer  {service} ") is Scope.SERVICE
    for header in (None, "", "Bearer", "Bearer ", operator, f"Basic {operator}", f"Bearer {operator}x"):
        assert tokens.scope_of(header) is None
    assert tokens.scope_of(f"Bearer {operator}" + " " * 300) is None
    assert tokens.scope_of("Bearer \udcff") is None


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("unix", "unknown"),
    ],
)
def test_an_ipv6_customer_is_one_source(remote: str | None, source: str) -> None:
    assert source_of(remote) == source
