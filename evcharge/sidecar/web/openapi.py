"""The OpenAPI 3.1 document, made from the routes' declarations: what is not declared there cannot stand here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec.structs import fields as fields_of

from evcharge.sidecar.web import problem
from evcharge.sidecar.web.route import COOKIE, CSRF_HEADER, HOST_COOKIE, Route
from evcharge.sidecar.web.scopes import ABOUT, Scope
from evcharge.sidecar.web.tracing import HEADER, PATTERN

VERSION = "3.1.0"
_REF = "#/components/schemas/{name}"
_ID_HEADER: dict[str, Any] = {
    HEADER: {
        "schema": {"type": "string", "pattern": f"^{PATTERN}$"},
        "description": "The request's id: what it brought in a header of this name, or a new one.",
    }
}
_LIMIT_HEADERS: dict[str, Any] = {
    **_ID_HEADER,
    "RateLimit-Policy": {"schema": {"type": "string"}, "description": "How many requests in how many seconds."},
    "RateLimit": {"schema": {"type": "string"}, "description": "What is left of them, and for how long."},
}
_RETRY: dict[str, Any] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "type"}):
    """An error (RFC 9457)."""

    kind: str
    title: str
    status: int
    code: str
    """For programs."""
    detail: str
    """One sentence for a person: what to do."""
    fields: dict[str, str] = {}
    """What is wrong with each bad field."""
    request_id: str = ""
    """As in ``X-Request-ID``: what the log has about it."""


def document(routes: Iterable[Route], *, title: str, version: str, token_path: str) -> dict[str, Any]:
    """The document of these routes."""
    routes = list(routes)
    kinds: list[Any] = [ProblemBody]
    for route in routes:
        kinds += [kind for kind in (route.body, *route.answers.values()) if kind is not None]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    named = dict(zip(map(id, kinds), schemas, strict=True))
    for route in routes:
        if route.body is not None and not route.form:
            # What is not known is refused, so that a misspelt name is not a silent default.
            components[route.body.__name__]["additionalProperties"] = False
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        for place, path in enumerate((route.path, *route.also)):
            name = route.name if place == 0 else f"{route.name}_{place + 1}"
            paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, name, named)
    return {
        "openapi": VERSION,
        "info": {
            "title": title,
            "version": version,
            "description": "Errors are application/problem+json. Power is kW, energy kWh where a field's name says so; "
            "otherwise W and Wh.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {
                            "tokenUrl": token_path,
                            "scopes": {scope.value: ABOUT[scope] for scope in Scope},
                        }
                    },
                },
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": f"The cookie of POST /ui/login; over https its name is {HOST_COOKIE}. Methods other "
                    f"than GET and HEAD need the header {CSRF_HEADER} too, with the csrf that the login answered.",
                },
            },
        },
    }


def _operation(route: Route, path: str, name: str, named: Mapping[int, Any]) -> dict[str, Any]:
    parameters = [_path_parameter(route, word) for word in re.findall(r"{(\w+)}", path)]
    if route.query is not None:
        parameters += _query_parameters(route.query)
    # Printable ASCII, so that a key means the same to everybody between; HTTP takes spaces around it away.
    header = {"type": "string", "pattern": "^[!-~]([ -~]{0,126}[!-~])?$"}
    parameters += [
        {"name": name, "in": "header", "required": False, "schema": header, "description": about}
        for name, about in route.headers.items()
    ]
    said: dict[str, Any] = {
        "operationId": name,
        "summary": route.summary,
        "tags": [route.tag],
        "responses": {
            **{str(status): _answer(status, kind, named, route.streams) for status, kind in route.answers.items()},
            **{str(int(status)): _refusal(status, route) for status in route.refused},
        },
    }
    if path != route.path:
        # Kept for clients that know only this one.
        said["deprecated"] = True
    if parameters:
        said["parameters"] = parameters
    if route.body is not None:
        media = "application/x-www-form-urlencoded" if route.form else "application/json"
        schema = {"allOf": [named[id(route.body)], route.rules]} if route.rules else named[id(route.body)]
        said["requestBody"] = {"required": not route.bodyless, "content": {media: {"schema": schema}}}
    if route.scope is not None:
        said["security"] = [{"oauth2": [route.scope.value]}, {"bearer": []}, {"session": []}]
    elif route.session:
        said["security"] = [{"session": []}, *([{}] if route.nobody else [])]
    return said


def _path_parameter(route: Route, word: str) -> dict[str, Any]:
    pattern = route.words.get(word)
    schema: dict[str, Any] = {"type": "string"} if pattern is None else {"type": "string", "pattern": f"^{pattern}$"}
    return {"name": word, "in": "path", "required": True, "schema": schema}


def _query_parameters(kind: type[msgspec.Struct]) -> list[dict[str, Any]]:
    properties = msgspec.json.schema_components([kind], ref_template=_REF)[1][kind.__name__]["properties"]
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _plain(properties[field.encode_name]),
        }
        for field in fields_of(kind)
    ]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not there, rather than null: a query has no null."""
    choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf" and value is not None}
    return {**choices[0], **rest} if len(choices) == 1 else schema


def _answer(status: int, kind: Any, named: Mapping[int, Any], streams: str | None) -> dict[str, Any]:
    said: dict[str, Any] = {"description": HTTPStatus(status).phrase, "headers": _LIMIT_HEADERS}
    if kind is not None:
        said["content"] = {"application/json": {"schema": named[id(kind)]}}
    elif streams is not None and status == HTTPStatus.OK:
        said["content"] = {streams: {"schema": {"type": "string"}}}
    return said


def _refusal(status: HTTPStatus, route: Route) -> dict[str, Any]:
    schema = {"schema": {"$ref": _REF.format(name="ProblemBody")}}
    # A standard with errors of its own calls them JSON.
    media = [problem.MEDIA_TYPE] if route.recast is None else [problem.MEDIA_TYPE, "application/json"]
    slow = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    return {
        "description": status.phrase,
        "headers": {**_ID_HEADER, **(_RETRY if slow else {})},
        "content": dict.fromkeys(media, schema),
    }
