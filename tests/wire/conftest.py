"""One handshake whose bytes all tests of it share."""

from __future__ import annotations

import pytest

from tests.support.wire import Pair


@pytest.fixture(scope="module")
def flights() -> dict[str, bytes]:
    """The bytes of one handshake. Entropy is seeded, so every connection below says exactly these."""
    pair = Pair().open()
    names = ["m1", "m2", "m3", "m4", "ready", "ready_back"]
    return dict(zip(names, (data for _, data in pair.wire), strict=True))
