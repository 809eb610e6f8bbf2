"""What a URL's text says for itself, and what a site may except."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evcharge.sidecar.outgoing.guard import URL_CHARS, Guard, RefusedTarget
from evcharge.sidecar.outgoing.settings import OutgoingSettings

PLAIN = Guard(OutgoingSettings())


def why(url: str, guard: Guard = PLAIN) -> str | None:
    try:
        guard.target(url)
    except RefusedTarget as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("url", "host", "port", "sent"),
    [
        ("http://cpo.example", "cpo.example", 80, "/"),
        ("https://CPO.Example./hook?x=1", "cpo.example", 443, "/hook?x=1"),
        ("https://cpo.example:8443/a%2Fb/../c;d=e?f=%7E&g=@:/?", "cpo.example", 8443, "/a%2Fb/../c;d=e?f=%7E&g=@:/?"),
        ("https://cpo.example?key=1", "cpo.example", 443, "/?key=1"),
        ("http://8.8.8.8:1/", "8.8.8.8", 1, "/"),
        ("http://[2606:4700::1111]:65535/", "2606:4700::1111", 65535, "/"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", 80, "/"),
        ("http://127.0.0.1.nip.example/", "127.0.0.1.nip.example", 80, "/"),
        ("http://receiver/", "receiver", 80, "/"),
    ],
)
def test_a_plain_url(url: str, host: str, port: int, sent: str) -> None:
    target = PLAIN.target(url)
    assert (target.host, target.port, target.url.raw_path_qs) == (host, port, sent)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("", "begin with"),
        ("ftp://cpo.example/", "begin with"),
        ("HTTP://cpo.example/", "begin with"),
        ("file:///etc/passwd", "begin with"),
        ("http:/cpo.example", "begin with"),
        ("http://", "has to be a URL"),
        ("http:///path", "has to be a URL"),
        ("http://user:word@cpo.example/", "user name"),
        ("http://cpo.example@127.0.0.1/", "user name"),
        ("http://cpo.example/#part", "fragment"),
        ("http://cpo.example#@127.0.0.1/", "fragment"),
        ("http://cpo.example\\@127.0.0.1/", "has to be a URL|user name"),
        ("http://cpo.example/a b", "has to be a URL"),
        ("http://cpo.example/\r\nHost: x", "has to be a URL"),
        ("http://cpo.example/\n", "has to be a URL"),
        ("http://cpo.example\n", "has to be a URL"),
        ("http://cpo.example\t/", "has to be a URL"),
        ("http://bücher.example/", "has to be a URL"),
        ("http://１２７.0.0.1/", "has to be a URL"),
        ("http://cpo%2eexample/", "has to be a URL"),
        ("http://cpo.example:0/", "has to be a URL"),
        ("http://cpo.example:080/", "has to be a URL"),
        ("http://cpo.example:65536/", "port that is none"),
        ("http://cpo.example:/", "has to be a URL"),
        ("http://-cpo.example/", "has to be a URL"),
        ("http://cpo..example/", "has to be a URL"),
        ("http://" + "a" * 64 + ".example/", "has to be a URL"),
        ("http://" + "a23456789." * 26 + "example/", "253"),
        ("http://cpo.example/" + "x" * URL_CHARS, "2048"),
        # The many ways to write 127.0.0.1 that the old inet_aton understands.
        ("http://2130706433/", "has to be a URL"),
        ("http://017700000001/", "has to be a URL"),
        ("http://0x7f000001/", "has to be a URL"),
        ("http://0x7f.1/", "has to be a URL"),
        ("http://0x7f.0x0.0x0.0x1/", "has to be a URL"),
        ("http://127.1/", "has to be a URL"),
        ("http://127.0.1/", "has to be a URL"),
        ("http://0177.0.0.1/", "has to be a URL"),
        ("http://127.0.0.01/", "cannot be read|no address"),
        ("http://256.0.0.1/", "cannot be read|no address"),
        ("http://127.0.0.1./", "has to be a URL"),
        ("http://127.0.0.1/", "loopback"),
        ("http://0.0.0.0/", "unspecified"),
        ("http://10.0.0.1/", "private"),
        ("http://169.254.169.254/latest/meta-data/", "link-local"),
        ("http://100.100.100.200/", "carrier"),
        ("http://[::1]/", "loopback"),
        ("http://[::]/", "unspecified"),
        ("http://[0:0:0:0:0:0:0:1]/", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("http://[::ffff:7f00:1]/", "loopback"),
        ("http://[64:ff9b::10.0.0.1]/", "private"),
        ("http://[2002:7f00:1::]/", "reserved"),
        ("http://[fd00:ec2::254]/", "private"),
        ("http://[fe80::1%25eth0]/", "has to be a URL"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::1/", "has to be a URL"),
        ("http://[1:2:3]/", "cannot be read|no address"),
        ("http://localhost/", "own network"),
        ("http://LOCALHOST./", "own network"),
        ("http://a.localhost/", "own network"),
        ("http://localhost.localdomain/", "own network"),
        ("http://metadata.google.internal/", "own network"),
        ("http://printer.local/", "own network"),
    ],
)
def test_what_is_refused_by_its_text(url: str, part: str) -> None:
    said = why(url)
    assert said is not None and any(words in said for words in part.split("|")), said


def test_a_sites_exceptions() -> None:
    guard = Guard(
        OutgoingSettings(
            allow_networks=("10.20.0.0/16", "fd12::/16"),
            allow_targets=("Receiver.Site.internal:8443", "127.0.0.1:9000", "[::1]:9000"),
            ports=(443, 8000),
        )
    )
    allowed = (
        "https://10.20.3.4/",
        "https://[::ffff:10.20.3.4]/",
        "https://[fd12::1]/",
        "http://receiver.site.internal:8443/",
        "http://127.0.0.1:9000/",
        "http://[0::1]:9000/",
        "https://cpo.example:8000/",
    )
    assert [why(url, guard) for url in allowed] == [None] * len(allowed)
    refused = {
        "https://10.21.0.1/": "private",
        "https://[64:ff9b::10.20.3.4]/": "private",
        "https://receiver.site.internal/": "own network",
        "http://127.0.0.1:8000/": "loopback",
        "http://127.0.0.2:9000/": "9000",
        "http://cpo.example/": "80",
        "http://10.20.3.4/": "80",
    }
    for url, part in refused.items():
        assert part in (why(url, guard) or "")
    assert [str(one) for one in guard.judge("receiver.site.internal", 8443, ["10.0.0.1", "127.0.0.1"])]
    with pytest.raises(RefusedTarget, match="private"):
        guard.judge("receiver.site.internal", 443, ["10.0.0.1"])


@pytest.mark.parametrize(
    "settings",
    [
        OutgoingSettings(allow_networks=("10.0.0.1/8",)),
        OutgoingSettings(allow_networks=("intranet",)),
        OutgoingSettings(allow_targets=("receiver",)),
        OutgoingSettings(allow_targets=(":80",)),
        OutgoingSettings(allow_targets=("receiver:70000",)),
        OutgoingSettings(allow_targets=("receiver:x",)),
    ],
)
def test_an_exception_that_is_none_is_named(settings: OutgoingSettings) -> None:
    with pytest.raises(ValueError, match=r"allow_(networks|targets): "):
        Guard(settings)


def test_one_bad_address_refuses_all() -> None:
    assert [str(one) for one in PLAIN.judge("a.example", 80, ["8.8.8.8", "2606:4700::1111"])]
    for addresses in (["8.8.8.8", "10.0.0.1"], ["::1", "8.8.8.8"], ["8.8.8.8", "fe80::1%2"], ["8.8.8.8", "?"], []):
        with pytest.raises(RefusedTarget):
            PLAIN.judge("a.example", 80, addresses)


@given(
    text=st.one_of(
        st.text(max_size=60).map("http://".__add__),
        st.text("0123456789abcdefx.:[]%/@#?-~", max_size=40).map("https://".__add__),
        st.text("0127.x", max_size=16).map("http://".__add__),
    )
)
def test_any_text_is_judged_and_what_passes_is_read_in_one_way(text: str) -> None:
    try:
        target = PLAIN.target(text)
    except RefusedTarget:
        return
    shown = str(target.url.raw_host).lower().removesuffix(".")
    assert target.host in (shown, str(target.url.raw_host)) or ":" in shown
    assert target.url.port == target.port and target.url.user is None and not target.url.fragment
    assert target.url.scheme in ("http", "https")
