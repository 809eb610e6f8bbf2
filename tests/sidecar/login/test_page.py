"""The page's files: what is listed is served as it is, and nothing else is ever."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from evcharge.sidecar.web.api import HEADERS
from evcharge.sidecar.web.files import FILES_BYTES, Files, NoPage
from tests.sidecar.login.conftest import LoginSite, MakeLoginSite

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lit-html"
)
LISTED = {
    "src/main.js": "text/javascript",
    "style/base.css": "text/css",
    "style/favicon.svg": "image/svg+xml",
    "vendor/lit-html/lit-html.js": "text/javascript",
    "vendor/uplot/uPlot.esm.js": "text/javascript",
}

MISSING = (
    "/ui/index.html",
    "/ui/favicon.ico",
    "/ui/.env",
    "/ui/.git/config.txt",
    "/ui/src/main.js",
    "/ui/a/b/c/d/e",
    "/ui//",
    "/ui/" + "x" * 129,
    "/ui/assets/",
    "/ui/assets/index.html",
    "/ui/assets/package.json",
    "/ui/assets/src",
    "/ui/assets/src/main.ts",
    "/ui/assets/src/main.js/",
    "/ui/assets/src/main.js%00",
    "/ui/assets/SRC/main.js",
    "/ui/assets//src/main.js",
    "/ui/assets/node_modules/x/index.js",
    "/ui/assets/vendor/lit-html/lit-html.d.ts",
    "/ui/assets/../page/src/main.js",
    "/ui/assets/src/../src/main.js",
    "/ui/assets/..%2f..%2fregistry/operator.token",
    "/ui/assets/%2e%2e/%2e%2e/registry/operator.token",
    "/ui/assets/..%5c..%5cregistry",
    "/ui/assets/%2fetc%2fpasswd",
    "/favicon.ico",
    "/uix",
)


@pytest.fixture
def database_url() -> None:
    """Files have nothing to do with the database: once is enough."""


async def get(site: LoginSite, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    """Status, body as it came and headers; the path is sent as it stands."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    url = URL(f"{str(site.client.make_url('/')).rstrip('/')}{path}", encoded=True)
    async with site.client.session.request(
        method, url, headers=given, allow_redirects=False, auto_decompress=False
    ) as answer:
        return answer.status, await answer.read(), answer.headers


async def test_the_page_at_every_path_of_it_with_its_headers(site: LoginSite, built_page: Path) -> None:
    index = (built_page / "index.html").read_bytes()
    for path in ("/ui/", "/ui/charge-points/CP-1", "/ui/charge-points/a.b", "/ui/history/", "/ui/sessions/%C3%A9?x=1"):
        status, body, headers = await get(site, path, Accept_Encoding="identity")
        assert (status, body, headers["Content-Type"]) == (200, index, "text/html; charset=utf-8"), path
        assert headers["Content-Security-Policy"] == POLICY
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Permissions-Policy"].startswith("camera=(), ")
        assert headers["Referrer-Policy"] == "same-origin"
        for name in ("X-Content-Type-Options", "X-Frame-Options", "Server"):
            assert headers[name] == HEADERS[name]
        assert "Set-Cookie" not in headers


async def test_the_root_leads_to_it(site: LoginSite) -> None:
    for path in ("/", "/ui"):
        status, _, headers = await get(site, path)
        assert (status, headers["Location"]) == (303, "/ui/")


async def test_each_listed_file_as_it_is(site: LoginSite, built_page: Path) -> None:
    for name, kind in LISTED.items():
        status, body, headers = await get(site, f"/ui/assets/{name}", Accept_Encoding="identity")
        assert (status, body) == (200, (built_page / name).read_bytes())
        assert headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"
        # A picture that is opened by itself runs nothing.
        assert headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
        ("xgzip", False),
    ],
)
async def test_packed_for_who_can_unpack(site: LoginSite, built_page: Path, accepted: str, packed: bool) -> None:
    plain = (built_page / "src/main.js").read_bytes()
    status, body, headers = await get(site, "/ui/assets/src/main.js", Accept_Encoding=accepted)
    assert (status, headers["Vary"]) == (200, "Accept-Encoding")
    assert (headers.get("Content-Encoding") == "gzip") is packed
    assert (gzip.decompress(body) if packed else body) == plain
    assert int(headers["Content-Length"]) == len(body)


async def test_who_has_it_is_told_so(site: LoginSite) -> None:
    for path in ("/ui/", "/ui/assets/src/main.js"):
        for coding in ("gzip", "identity"):
            _, _, headers = await get(site, path, Accept_Encoding=coding)
            etag = headers["ETag"]
            for said in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                status, body, again = await get(site, path, Accept_Encoding=coding, If_None_Match=said)
                assert (status, body, again["ETag"]) == (304, b"", etag)
                assert (again["Cache-Control"], again["Vary"]) == ("no-cache", "Accept-Encoding")
            for said in ('"other"', "nonsense", etag[:-2] + '"'):
                assert (await get(site, path, Accept_Encoding=coding, If_None_Match=said))[0] == 200
    plain, packed = [(await get(site, "/ui/", Accept_Encoding=coding))[2]["ETag"] for coding in ("identity", "gzip")]
    assert plain != packed, "two encodings are two representations"


async def test_a_changed_file_has_another_etag(built_page: Path) -> None:
    before = Files.read(built_page)
    (built_page / "src/main.js").write_text("changed")
    after = Files.read(built_page)
    assert before.index.etag == after.index.etag
    assert before.assets["src/main.js"].etag != after.assets["src/main.js"].etag


async def test_head_is_get_without_the_body(site: LoginSite) -> None:
    for path in ("/ui/", "/ui/assets/style/base.css"):
        status, _, wanted = await get(site, path)
        asked = await get(site, path, "HEAD")
        assert asked[:2] == (status, b"")
        for name in ("ETag", "Content-Length", "Content-Type", "Content-Security-Policy"):
            assert asked[2][name] == wanted[name], name
    assert (await get(site, "/", "HEAD"))[2]["Location"] == "/ui/"


@pytest.mark.parametrize("path", ["/ui/", "/ui/charge-points", "/ui/assets/src/main.js", "/"])
async def test_other_methods_are_not_allowed(site: LoginSite, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        status, body, headers = await get(site, path, method)
        assert (status, headers["Allow"], b"method_not_allowed" in body) == (405, "GET, HEAD", True)


async def test_the_routes_below_it_are_no_pages(site: LoginSite) -> None:
    assert (await get(site, "/ui/login"))[2]["Allow"] == "POST"
    assert (await get(site, "/ui/logout"))[0] == 405
    assert (await get(site, "/ui/me"))[0] == 204
    assert (await get(site, "/ui/me/x"))[0] == (await get(site, "/ui/assets"))[0] == 404


async def test_what_is_not_listed_is_not_there(site: LoginSite) -> None:
    for path in MISSING:
        status, body, _ = await get(site, path)
        assert (status, b"not_found" in body) == (404, True), path


async def test_links_are_not_followed(built_page: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.js").write_text("secret")
    (built_page / "src" / "link.js").symlink_to(tmp_path / "outside" / "x.js")
    (built_page / "src" / "folder").symlink_to(tmp_path / "outside")
    assert set(Files.read(built_page).assets) == set(LISTED)


WORDS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "src",
        "style",
        "vendor",
        "main.js",
        "main.ts",
        "node_modules",
        "package.json",
        "%2e%2e",
        "..%2f",
        "\\",
        "index.html",
        "lit-html",
        "lit-html.js",
        "%00",
        "~",
        "registry",
        "operator.token",
        "etc",
        "passwd",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS | st.text(max_size=8).map(lambda text: quote(text, safe="")), max_size=8))
async def test_no_path_ever_gives_another_file_s_content(site: LoginSite, built_page: Path, words: list[str]) -> None:
    path = "/ui/assets/" + "/".join(words)
    status, body, _ = await get(site, path, Accept_Encoding="identity")
    if status == 200:
        assert path.removeprefix("/ui/assets/") in LISTED
        assert body == (built_page / path.removeprefix("/ui/assets/")).read_bytes()
    else:
        assert status == 404
        assert b"secret" not in body


@pytest.mark.parametrize("missing", ["index.html", "vendor/lit-html/lit-html.js", "vendor/uplot/uPlot.esm.js", "."])
async def test_without_a_built_page_all_else_is_served(
    make_login_site: MakeLoginSite, built_page: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if missing == ".":
        built_page = built_page.parent / "nowhere"
    else:
        (built_page / missing).unlink()
    site: LoginSite = await make_login_site(page=built_page)
    said = capsys.readouterr()
    assert (said.out + said.err).count("make page") == 1
    for path in ("/ui/", "/ui/charge-points/CP-1"):
        status, body, _ = await get(site, path)
        assert (status, b"run 'make page'" in body, b'"no_page"' in body) == (503, True, True)
    assert (await get(site, "/ui/assets/src/main.js"))[0] == 404
    assert (await get(site, "/health"))[0] == 200
    await site.login("anna", await site.add())


async def test_a_folder_that_is_no_page_s_is_refused(built_page: Path) -> None:
    with (built_page / "src" / "huge.js").open("wb") as file:
        file.truncate(FILES_BYTES)
    with pytest.raises(NoPage, match="no page's folder"):
        Files.read(built_page)
