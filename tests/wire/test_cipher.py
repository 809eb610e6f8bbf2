"""Tokens: any Fernet opens ours and the reverse, and nothing else is opened."""

from __future__ import annotations

import base64
import struct

import pytest
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import example, given
from hypothesis import strategies as st

from protocol.cipher import (
    MAX_SKEW_S,
    Opener,
    Sealer,
    expand,
    fernet_key,
    leaf_key,
    max_body,
    next_secret,
    traffic_secret,
)
from protocol.errors import CloseCode, ReplayedMessage, UnreadableToken
from protocol.frames import encode_frame
from tests.support.wire import flips, seeded

SECRET = bytes(range(32))
NOW = 1_763_683_200
TTL = 60


def sealer(secret: bytes = SECRET) -> Sealer:
    return Sealer(secret, seeded(3))


def inner(seq: int, kind: int, body: bytes) -> bytes:
    return struct.pack(">QB", seq, kind) + body


def fernet(secret: bytes = SECRET) -> Fernet:
    return Fernet(fernet_key(secret))


def sign(signed: bytes, secret: bytes = SECRET) -> bytes:
    """A token with any content, properly signed."""
    mac = HMAC(leaf_key(secret)[:16], SHA256())
    mac.update(signed)
    return base64.urlsafe_b64encode(signed + mac.finalize())


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=40))
def test_expand_is_hkdf_expand(key: bytes, info: bytes) -> None:
    assert expand(key, info) == HKDFExpand(SHA256(), 32, info).derive(key)


def test_secrets_differ_by_direction_channel_and_epoch() -> None:
    one = traffic_secret(SECRET, "c2s", bytes(16))
    others = [
        traffic_secret(SECRET, "s2c", bytes(16)),
        traffic_secret(SECRET, "c2s", bytes(15) + b"\1"),
        next_secret(one),
        next_secret(next_secret(one)),
    ]
    assert len({fernet_key(secret) for secret in [one, *others]}) == 5


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), min_size=1, max_size=25))
def test_fernet_opens_what_we_seal(messages: list[tuple[int, bytes]]) -> None:
    seal = sealer()
    ivs = set()
    for seq, (kind, body) in enumerate(messages):
        token = seal.seal(kind, body, NOW + seq)
        assert fernet().decrypt_at_time(token, TTL, NOW + seq) == inner(seq, kind, body)
        assert fernet().extract_timestamp(token) == NOW + seq
        ivs.add(base64.urlsafe_b64decode(token)[9:25])
    assert len(ivs) == len(messages)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), min_size=1, max_size=25))
def test_we_open_what_fernet_seals(messages: list[tuple[int, bytes]]) -> None:
    opener = Opener(SECRET, TTL)
    for seq, (kind, body) in enumerate(messages):
        token = fernet().encrypt_at_time(inner(seq, kind, body), NOW)
        assert opener.open(token, NOW) == (kind, body)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=100)), max_size=40))
def test_epochs_turn_in_step(messages: list[bytes | None]) -> None:
    seal, opener, secret = sealer(), Opener(SECRET, TTL), SECRET
    for seq, body in enumerate(messages):
        token = seal.seal(1 if body is None else 0, body or b"", NOW)
        assert fernet(secret).decrypt_at_time(token, TTL, NOW)[:8] == struct.pack(">Q", seq)
        assert opener.open(token, NOW) == ((1, b"") if body is None else (0, body))
        if body is None:
            seal.next_epoch()
            opener.next_epoch()
            secret = next_secret(secret)
            assert seal.count == seal.size == 0 and opener.began == opener.seq == seq + 1


def test_old_key_opens_nothing_after_rekey() -> None:
    seal, opener = sealer(), Opener(SECRET, TTL)
    opener.open(seal.seal(1, b"", NOW), NOW)
    opener.next_epoch()
    with pytest.raises(UnreadableToken):
        opener.open(seal.seal(0, b"", NOW), NOW)


def test_every_changed_bit_is_refused() -> None:
    token = sealer().seal(0, b"a message", NOW)
    for changed in flips(token):
        with pytest.raises(UnreadableToken):
            Opener(SECRET, TTL).open(changed, NOW)


@given(st.binary(max_size=300) | st.text(alphabet="AZaz09-_=+/", max_size=200).map(str.encode))
def test_any_bytes_are_unreadable(token: bytes) -> None:
    with pytest.raises(UnreadableToken) as caught:
        Opener(SECRET, TTL).open(token, NOW)
    assert caught.value.code is CloseCode.PROTOCOL


@given(st.integers(0, 40), st.data())
def test_only_the_canonical_text_of_a_token_is_opened(size: int, data: st.DataObject) -> None:
    """Fernet opens texts with junk in them, and several last characters; each would be a second name of one token."""
    token = sealer().seal(0, bytes(size), NOW)
    junk = data.draw(st.binary(min_size=1, max_size=3))
    place = data.draw(st.integers(0, len(token)))
    changed = data.draw(
        st.sampled_from(
            [
                token[:place] + junk + token[place:],
                token.rstrip(b"="),
                token + b"=",
                token + b"====",
                token + b"\n",
                token.replace(b"-", b"+").replace(b"_", b"/"),
                token[:-3] + junk[:1] + token[-2:],
                token[:-2] + junk[:1] + token[-1:],
                token[:-1] + junk[:1],
            ]
        )
    )
    if changed == token:
        return
    with pytest.raises(UnreadableToken):
        Opener(SECRET, TTL).open(changed, NOW)


def test_spare_bits_of_the_last_character() -> None:
    seen = set()
    for size in (0, 10, 26):
        token = sealer().seal(0, bytes(size), NOW)
        spare = len(token) - len(token.rstrip(b"="))
        seen.add(spare)
        place = len(token) - spare - 1
        if spare:
            changed = token[:place] + bytes([token[place] + 1]) + token[place + 1 :]
            assert fernet().decrypt_at_time(changed, TTL, NOW) == inner(0, 0, bytes(size))
            with pytest.raises(UnreadableToken, match="canonical"):
                Opener(SECRET, TTL).open(changed, NOW)
    assert seen == {0, 1, 2}


@given(st.integers(-200, 200))
@example(-MAX_SKEW_S - 1)
@example(-MAX_SKEW_S)
@example(TTL)
@example(TTL + 1)
@example(-60)
@example(-61)
def test_age_is_judged_as_fernet_does(age: int) -> None:
    token = sealer().seal(0, b"", NOW)
    try:
        fernet().decrypt_at_time(token, TTL, NOW + age)
        legal = True
    except InvalidToken:
        legal = False
    assert legal == (-MAX_SKEW_S <= age <= TTL)
    if legal:
        assert Opener(SECRET, TTL).open(token, NOW + age) == (0, b"")
    else:
        with pytest.raises(UnreadableToken, match="too old"):
            Opener(SECRET, TTL).open(token, NOW + age)


@pytest.mark.parametrize("order", [[1], [0, 0], [0, 2], [1, 0], [0, 1, 1]])
def test_replay_reorder_and_drop(order: list[int]) -> None:
    seal = sealer()
    tokens = [seal.seal(0, b"", NOW) for _ in range(3)]
    opener = Opener(SECRET, TTL)
    with pytest.raises(ReplayedMessage):
        for number in order:
            opener.open(tokens[number], NOW)


def test_authentic_nonsense_is_refused() -> None:
    whole = base64.urlsafe_b64decode(fernet().encrypt_at_time(inner(0, 0, b""), NOW))[:-32]
    assert Opener(SECRET, TTL).open(sign(whole), NOW) == (0, b"")
    for signed, why in (
        (b"\x81" + whole[1:], "version"),
        (whole[:-1], "length"),
        (whole[:25], "length"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "padding"),
    ):
        with pytest.raises(UnreadableToken, match=why):
            Opener(SECRET, TTL).open(sign(signed), NOW)


@pytest.mark.parametrize("size", range(9))
def test_too_short_inside(size: int) -> None:
    token = fernet().encrypt_at_time(bytes(size), NOW)
    with pytest.raises(UnreadableToken, match="padding"):
        Opener(SECRET, TTL).open(token, NOW)


@pytest.mark.parametrize("pad", [b"\0", b"\x11", b"\xff", b"\xee", b"\x01\x02", b"\x10" * 15])
def test_wrong_padding(pad: bytes) -> None:
    plain = inner(0, 0, b"").ljust(32 - len(pad), b"\x77") + pad
    encryptor = Cipher(AES(leaf_key(SECRET)[16:]), CBC(bytes(16))).encryptor()
    signed = struct.pack(">BQ", 0x80, NOW) + bytes(16) + encryptor.update(plain)
    with pytest.raises(UnreadableToken, match="padding"):
        Opener(SECRET, TTL).open(sign(signed), NOW)


@pytest.mark.parametrize("max_frame", [*range(1024, 1088), 4096, 65_535, 65_536])
def test_max_body_is_the_longest_that_fits(max_frame: int) -> None:
    size = max_body(max_frame)
    assert len(encode_frame(0, sealer().seal(0, bytes(size), NOW))) - 4 <= max_frame
    assert len(encode_frame(0, sealer().seal(0, bytes(size + 1), NOW))) - 4 > max_frame
    assert max_body(65_536) == 49_078


def test_each_token_begins_with_fresh_random_bytes_of_its_own() -> None:
    """The block that becomes a token's IV is E(chained XOR random): seen from the key's owner, it is the entropy."""
    drawn: list[bytes] = []
    source = seeded(8)

    def entropy(size: int) -> bytes:
        drawn.append(source(size))
        return drawn[-1]

    seal, before, random_blocks = Sealer(SECRET, entropy), bytes(16), []
    decryptor = Cipher(AES(leaf_key(SECRET)[16:]), ECB()).decryptor()
    for _ in range(40):
        sealed = base64.urlsafe_b64decode(seal.seal(0, b"the same", NOW))[9:-32]
        first = decryptor.update(sealed[:16])
        random_blocks.append(bytes(a ^ b for a, b in zip(first, before, strict=True)))
        before = sealed[-16:]
    assert b"".join(random_blocks) == b"".join(drawn)[: 40 * 16]
    assert len(drawn) == 3, "entropy is asked for once for many tokens"


def test_a_sealer_counts_what_its_epoch_has_sealed() -> None:
    seal = sealer()
    assert (seal.seq, seal.count, seal.size) == (0, 0, 0)
    sizes = [len(seal.seal(0, bytes(size), NOW)) for size in (0, 100)]
    assert (seal.seq, seal.count, seal.size) == (2, 2, sum(sizes))
    seal.next_epoch()
    assert (seal.seq, seal.count, seal.size) == (2, 0, 0)


def test_both_sides_show_the_key_of_their_epoch() -> None:
    seal, opener = sealer(), Opener(SECRET, TTL)
    assert seal.key == opener.key == fernet_key(SECRET)
    assert (opener.seq, opener.began) == (0, 0)
    opener.open(seal.seal(0, b"", NOW), NOW)
    seal.next_epoch()
    opener.next_epoch()
    assert seal.key == opener.key == fernet_key(next_secret(SECRET))
    assert (opener.seq, opener.began) == (1, 1)
