"""The page's own files: read once at the start into a list of what there is, and served from memory.

A request's path is a word to look up in that list, never one to open a file with, so nothing else of the disk can be
reached. Every answer is revalidated (``no-cache`` with an ``ETag``): a newer version is there with the next request.

::

    /                → /ui/
    /ui/…            index.html, whatever page it is: the page reads the path itself
    /ui/assets/…     modules, styles and pictures below the folder
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from evcharge.sidecar.web.built import INDEX, is_built
from evcharge.sidecar.web.problem import Problem, not_found

log = structlog.get_logger()

# Folders below which something is served, and the kinds of files there.
FOLDERS = ("src", "style", "vendor")
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
# Most files and bytes that are kept in memory: the page has about 100 with half a megabyte.
FILES = 500
FILES_BYTES = 8 * 1024 * 1024
# Bytes of a digest that tell versions of a file apart.
ETAG_BYTES = 15
# A path of the page: some words, none of them longer than the longest id.
PAGE_PATH = re.compile(r"(?:[^/]{1,128}(?:/[^/]{1,128}){0,3}/?)?")
# Whoever asks for these looks for a file, and must not be answered with the page. An id may have a dot too.
FILE_ENDING = re.compile(
    r"\.(?:[cm]?jsx?|tsx?|css|map|svg|png|jpe?g|gif|ico|html?|php|aspx?|json|ya?ml|xml|txt|env|woff2?)$"
)
# Below /ui/, all but the words that are routes of their own.
PAGES = r"/ui/{path:(?!(?:assets|login|logout|me)(?:/|$)).*}"

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "font-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html",
    )
)
# Beside those of every answer (``web/api.py``).
FILE_HEADERS = {
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE_HEADERS = {
    **FILE_HEADERS,
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # With none at all browsers call the origin of some of the page's own requests null, and those are refused.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class NoPage(Exception):
    """The folder has no page that can be served; the text says what to do."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it is sent."""

    media_type: str
    plain: bytes
    packed: bytes
    """With gzip."""
    etag: str
    """Without quotes."""


class Files:
    """All that is served of a folder: the page, and its files by their path below the folder."""

    def __init__(self, index: File, assets: Mapping[str, File]) -> None:
        self.index = index
        self.assets = assets

    @classmethod
    def read(cls, folder: Path) -> Files:
        """Read the page's folder.

        Raises:
            NoPage: it is not built, cannot be read, or is no page's.
        """
        try:
            folder = folder.resolve()
            sources = [folder / INDEX, *_listed(folder)]
            if not is_built(folder):
                raise NoPage("The page is not built here; run 'make page' and start the sidecar again.")
            if len(sources) > FILES or sum(path.stat().st_size for path in sources) > FILES_BYTES:
                raise NoPage(f"{folder} has more than {FILES} files or {FILES_BYTES} bytes; it is no page's folder.")
            assets = {path.relative_to(folder).as_posix(): _file(path, KINDS[path.suffix]) for path in sources[1:]}
            return cls(_file(sources[0], "text/html"), assets)
        except OSError as error:
            raise NoPage(f"The page in {folder} cannot be read: {error.strerror}.") from error


def _listed(folder: Path) -> Iterable[Path]:
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*")):
            # A link may lead anywhere; the build makes none.
            if path.suffix in KINDS and path.is_file() and path.resolve() == path:
                yield path


def _file(path: Path, media_type: str) -> File:
    plain = path.read_bytes()
    digest = hashlib.sha256(media_type.encode() + b"\0" + plain).digest()[:ETAG_BYTES]
    return File(
        media_type=media_type,
        plain=plain,
        packed=gzip.compress(plain, mtime=0),
        etag=base64.urlsafe_b64encode(digest).decode(),
    )


def add_page(application: web.Application, folder: Path) -> None:
    """Serve the page of this folder; without one, its paths say so and everything else is served."""
    try:
        files: Files | None = Files.read(folder)
    except NoPage as error:
        log.warning("page.missing", why=str(error))
        files, why = None, str(error)

    async def page(request: web.Request) -> web.StreamResponse:
        path = request.match_info.get("path", "")
        if PAGE_PATH.fullmatch(path) is None or FILE_ENDING.search(path):
            raise not_found("There is no such page.")
        if files is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no_page", why)
        return _answer(request, files.index, PAGE_HEADERS)

    async def asset(request: web.Request) -> web.StreamResponse:
        file = None if files is None else files.assets.get(request.match_info["path"])
        if file is None:
            raise not_found("The page has no such file.")
        return _answer(request, file, FILE_HEADERS)

    async def to_page(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": "/ui/"})

    # No throttle: these are a page's many small files, from memory, the same for everybody.
    for path in ("/", "/ui"):
        application.router.add_get(path, to_page)
    application.router.add_get("/ui/assets/{path:.+}", asset)
    application.router.add_get(PAGES, page)


def _answer(request: web.Request, file: File, headers: Mapping[str, str]) -> web.Response:
    packed = _takes_gzip(request.headers.get("Accept-Encoding", ""))
    etag = f"{file.etag}-gz" if packed else file.etag
    said = {**headers, "ETag": f'"{etag}"'}
    known = request.if_none_match or ()
    if any(one.value in (etag, "*") for one in known):
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=said)
    if packed:
        said["Content-Encoding"] = "gzip"
    body = file.packed if packed else file.plain
    return web.Response(body=body, content_type=file.media_type, charset="utf-8", headers=said)


def _takes_gzip(accepted: str) -> bool:
    """Whether gzip is named and not refused (RFC 9110 §12.5.3)."""
    for word in accepted.lower().split(","):
        coding, _, parameters = word.partition(";")
        if coding.strip() == "gzip":
            return re.fullmatch(r"\s*q\s*=\s*0(?:\.0{0,3})?\s*", parameters) is None
    return False
