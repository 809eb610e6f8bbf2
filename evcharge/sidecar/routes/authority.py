"""Charge authorization: ask, check, keep the list, and read what was decided."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from evcharge.sidecar.authority import schemas
from evcharge.sidecar.authority.rules import REQUEST_ID
from evcharge.sidecar.routes.limits import AUTHORITY
from evcharge.sidecar.web.route import Route
from evcharge.sidecar.web.scopes import Scope

# The clients of these paths were made for a server that answers 400 for what it cannot use.
_route = partial(Route, tag="authority", limit=AUTHORITY, bad_fields=HTTPStatus.BAD_REQUEST)

ROUTES: tuple[Route, ...] = (
    _route(
        method="POST",
        path="/api/chargingRequestValidator/",
        also=("/api/chargingRequestValidator",),
        name="charging_request",
        summary="Ask whether a driver may charge at a station; the decision comes to the callback URL",
        scope=Scope.AUTHORITY_REQUEST,
        body=schemas.ChargingRequest,
        answers={202: schemas.ChargingAccepted},
    ),
    _route(
        method="GET",
        path="/api/requests/{request_id}",
        name="request_state",
        summary="What has become of a request of this client's own",
        scope=Scope.AUTHORITY_REQUEST,
        words={"request_id": REQUEST_ID},
        answers={200: schemas.RequestState},
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    _route(
        method="POST",
        path="/api/checkauthority/",
        also=("/api/checkauthority",),
        name="check_authority",
        summary="Whether the list allows a driver at a station now",
        scope=Scope.AUTHORITY_READ,
        body=schemas.AuthorityQuestion,
        answers={200: schemas.AuthorityAnswer},
    ),
    _route(
        method="POST",
        path="/api/insertACL/",
        also=("/api/insertACL",),
        name="acl_insert",
        summary="Allow a driver at a station, or change until when",
        scope=Scope.AUTHORITY_WRITE,
        body=schemas.AclInsertion,
        answers={200: schemas.AclEntry, 201: schemas.AclEntry},
        refusals=(HTTPStatus.CONFLICT,),
    ),
    _route(
        method="GET",
        path="/api/acl/",
        also=("/api/acl",),
        name="acl_list",
        summary="Who is allowed where, a page at a time",
        scope=Scope.AUTHORITY_READ,
        query=schemas.AclQuery,
        answers={200: schemas.AclPage},
    ),
    _route(
        method="DELETE",
        path="/api/acl/{entry_id}",
        name="acl_remove",
        summary="Allow a driver at a station no longer",
        scope=Scope.AUTHORITY_WRITE,
        words={"entry_id": REQUEST_ID},
        answers={204: None},
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
    _route(
        method="GET",
        path="/api/getrequestlog/",
        also=("/api/getrequestlog",),
        name="request_log",
        summary="What was asked and decided, and whether it was told; the newest first",
        scope=Scope.AUTHORITY_READ,
        query=schemas.RequestLogQuery,
        answers={200: schemas.RequestLogPage},
    ),
    _route(
        method="GET",
        path="/api/deadletters/",
        also=("/api/deadletters",),
        name="dead_letters",
        summary="Callbacks that failed for good and can be sent again",
        scope=Scope.AUTHORITY_READ,
        query=schemas.DeadLetterQuery,
        answers={200: schemas.DeadLetterPage},
    ),
    _route(
        method="POST",
        path="/api/deadletters/{request_id}/retry",
        name="dead_letter_retry",
        summary="Send a failed callback again",
        scope=Scope.AUTHORITY_WRITE,
        words={"request_id": REQUEST_ID},
        answers={202: schemas.CallbackQueued},
        refusals=(HTTPStatus.NOT_FOUND,),
    ),
)
