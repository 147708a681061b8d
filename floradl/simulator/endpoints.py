"""The answers of the two servers: the API's endpoints, and the media files.

Guarantees that every answer of the API has its own `request-id`, that every error of the API has the
documented form, and that no endpoint changes the account. Oddities measured at FLORA are kept: a malformed
project id answers 500 `unknown_error`. Where FLORA's answer is not known, the simulator answers mildly: an
unknown project or workspace whose id is well-formed has an empty history. A thing that is hidden from the key
answers 404, as if it did not exist.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, TypedDict, TypeVar
from urllib.parse import unquote

from .canvas import SimCanvas
from .runs import NEWEST_AT_MS, Listing, RunStatus
from .wire import Response

if TYPE_CHECKING:
    from .account import Account
    from .faults import Fault
    from .runs import SimOutput, SimProject, SimRun
    from .uploads import SimAsset
    from .wire import Request

_Item = TypeVar("_Item")

BASE_PATH = "/api/v1"
MAX_LIMIT = 100
DEFAULT_LIMIT = 20

_CODES = {
    400: "input_validation_error",
    401: "invalid_api_key",
    402: "insufficient_credits",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
    500: "internal_error",
    503: "service_unavailable",
}


class ApiError(Exception):
    """An error of the API.

    Args:
        status: the HTTP status.
        code: the error's code; the usual one of the status when empty.
        message: a text for people.
        fields: (name, message) of each bad parameter.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", fields: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or _CODES.get(status, "unknown_error")
        self.message = message
        self.fields = fields

    def response(self) -> Response:
        """The answer in the documented form, with the status."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.fields:
            error["fields"] = [{"field": field, "message": message} for field, message in self.fields]
        return json_response({"error": error}, self.status)


def json_response(value: object, status: int = 200) -> Response:
    """A JSON answer of the API with a fresh request id."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(status, body, (("Content-Type", "application/json"), request_id()))


def request_id() -> tuple[str, str]:
    """A fresh `request-id` header."""
    return "request-id", f"req_{uuid.uuid4().hex}"


def answer_api(account: Account, request: Request, fault: Fault) -> Response:
    """The API's answer to a request; how it is sent under a fault is decided by `wire.send`."""
    if fault.redirect is not None:
        return Response(fault.status or 302, b"", (("Location", fault.redirect), request_id()))
    if fault.body is not None:
        kind = "application/json" if fault.content_type is None else fault.content_type
        page = Response(fault.status or 200, fault.body, (request_id(),))
        return page.with_headers((("Content-Type", kind),))
    if fault.status is not None:
        response = ApiError(fault.status, f"The simulator was told to answer {fault.status}.").response()
    else:
        try:
            _authenticate(account, request)
            response = json_response(_route(account, request, fault))
        except ApiError as exc:
            response = exc.response()
    if fault.content_type is not None:
        response = response.with_headers((("Content-Type", fault.content_type),))
    return response


def _authenticate(account: Account, request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise ApiError(401, "Send your key as a bearer token.", code="unauthorized")
    if key.strip() != account.api_key:
        raise ApiError(401, "This key is not valid.")


@dataclass(frozen=True)
class _Call:
    """One call of an endpoint: the id in its path (or ""), its query, and the fault of the request."""

    account: Account
    identifier: str
    query: dict[str, str]
    fault: Fault


def _route(account: Account, request: Request, fault: Fault) -> object:
    parts = request.path.removeprefix(BASE_PATH).strip("/").split("/")
    identifier = unquote(parts[1]) if len(parts) > 1 else ""
    found = _ENDPOINTS.get((*parts[:1], *["*"] * bool(parts[1:]), *parts[2:]))
    if found is None or request.method != "GET" or not request.path.startswith(BASE_PATH + "/"):
        raise ApiError(404, f"There is no {request.method} {request.path} here.")
    source, answer = found
    if (status := account.refused.get(source)) is not None:
        raise ApiError(status, f"This key may not see {source}.")
    return answer(_Call(account, identifier, request.query, fault))


def _generations(call: _Call) -> object:
    runs = call.account.listed(status=_status(call), **_places(call))
    return _page("generations", runs, lambda run: call.account.record(run, listed=True), call)


def _technique_runs(call: _Call) -> object:
    technique_id = _id_parameter(call.query, "technique_id", "tech_")
    runs = call.account.listed(
        source=Listing.TECHNIQUE_RUNS, technique_id=technique_id, status=_status(call), **_places(call)
    )
    return _page("technique_runs", runs, call.account.technique_record, call)


def _run(call: _Call) -> object:
    try:
        run = call.account.get(call.identifier)
    except KeyError:
        raise ApiError(404, "Run not found.") from None
    if run.project_id in call.account.hidden:
        raise ApiError(404, "Run not found.")
    return call.account.record(run, listed=False)


def _assets(call: _Call) -> object:
    assets = call.account.listed_assets(query=call.query.get("query"), **_places(call))
    return _page("assets", assets, lambda asset: call.account.asset_record(asset, listed=True), call)


def _asset(call: _Call) -> object:
    for asset in list(call.account.assets):
        if asset.asset_id == call.identifier and asset.project_id not in call.account.hidden:
            return call.account.asset_record(asset, listed=False)
    raise ApiError(404, "Asset not found.")


def _workspaces(call: _Call) -> object:
    return {"workspaces": [dict(vars(workspace)) for workspace in list(call.account.workspaces)]}


def _projects(call: _Call) -> object:
    workspace_id = _id_parameter(call.query, "workspace_id", "ws_")
    if workspace_id is None:
        raise _invalid("workspace_id", "is required")
    found = [
        project
        for project in list(call.account.projects)
        if project.workspace_id == workspace_id and project.project_id not in call.account.hidden
    ]
    return _page("projects", found, _project_record, call)


def _project(call: _Call) -> object:
    return _project_record(_seen_project(call))


def _canvas(call: _Call) -> object:
    return _canvas_of(call).record(call.identifier)


def _nodes(call: _Call) -> object:
    return _page("nodes", list(_canvas_of(call).nodes), lambda node: node.record(call.account.url_of), call)


_ENDPOINTS: dict[tuple[str, ...], tuple[str, Callable[[_Call], object]]] = {
    ("generations",): ("generations", _generations),
    ("technique-runs",): ("technique-runs", _technique_runs),
    ("runs", "*"): ("runs", _run),
    ("assets",): ("assets", _assets),
    ("assets", "*"): ("assets", _asset),
    ("workspaces",): ("workspaces", _workspaces),
    ("projects",): ("projects", _projects),
    ("projects", "*"): ("projects", _project),
    ("projects", "*", "canvas"): ("canvas", _canvas),
    ("projects", "*", "nodes"): ("canvas", _nodes),
}
"""Path → the source as `Account.refuse` names it, and the function that answers."""


def _seen_project(call: _Call) -> SimProject:
    for project in list(call.account.projects):
        if project.project_id == call.identifier and call.identifier not in call.account.hidden:
            return project
    if not re.fullmatch(r"prj_\S+", call.identifier):
        raise ApiError(500, "An unknown error occurred.", code="unknown_error")
    raise ApiError(404, "Project not found.")


def _canvas_of(call: _Call) -> SimCanvas:
    return call.account.canvases.get(_seen_project(call).project_id, SimCanvas())


def _status(call: _Call) -> str | None:
    status = call.query.get("status")
    if status is not None and status not in set(RunStatus):
        raise _invalid("status", f"must be one of {', '.join(RunStatus)}")
    return status


class _Places(TypedDict):
    workspace_id: str | None
    project_id: str | None


def _places(call: _Call) -> _Places:
    """The workspace and the project to which a request limits a list."""
    workspace_id = _id_parameter(call.query, "workspace_id", "ws_")
    project_id = _id_parameter(call.query, "project_id", "prj_")
    if project_id in call.account.hidden:
        raise ApiError(404, "Project not found.")
    return {"workspace_id": workspace_id, "project_id": project_id}


def _project_record(project: SimProject) -> dict[str, object]:
    return dict(vars(project))


def _id_parameter(query: dict[str, str], name: str, prefix: str) -> str | None:
    value = query.get(name)
    if value is None or re.fullmatch(rf"{prefix}\S+", value):
        return value
    if name == "project_id":
        raise ApiError(500, "An unknown error occurred.", code="unknown_error")
    raise _invalid(name, f"must match ^{prefix}\\S+$")


def _invalid(field: str, message: str) -> ApiError:
    return ApiError(400, "The request is not valid.", fields=[(field, message)])


# --- pages ------------------------------------------------------------------------------------------------


def encode_cursor(offset: int) -> str:
    """The cursor of a place in a list; clients must not interpret it."""
    return base64.urlsafe_b64encode(json.dumps({"offset": offset}, separators=(",", ":")).encode()).decode()


def decode_cursor(cursor: str) -> int:
    """The place that a cursor stands for; raises ApiError for a text that `encode_cursor` did not make."""
    try:
        offset = json.loads(base64.urlsafe_b64decode(cursor))["offset"]
    except (ValueError, KeyError, TypeError):
        offset = None
    if not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
        raise _invalid("cursor", "is not a cursor this API gave out")
    return offset


def _page(name: str, items: Sequence[_Item], record: Callable[[_Item], object], call: _Call) -> object:
    query = call.query
    limit = query.get("limit", str(DEFAULT_LIMIT))
    if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LIMIT:
        raise _invalid("limit", f"must be an integer from 1 to {MAX_LIMIT}")
    offset = decode_cursor(query["cursor"]) if query.get("cursor") else 0
    end = offset + int(limit)
    following = encode_cursor(end) if end < len(items) else None
    if call.fault.repeat_cursor:
        following = encode_cursor(offset)
    return {
        name: [record(item) for item in items[offset:end]],
        "meta": {"next_cursor": following, "total_estimate": len(items)},
    }


# --- media ------------------------------------------------------------------------------------------------


def answer_media(account: Account, request: Request, fault: Fault) -> Response:
    """The media server's answer. The server checks no key, and ignores the query."""
    if fault.redirect is not None:
        return Response(fault.status or 302, b"", (("Location", fault.redirect),))
    if fault.status is not None:
        return _error_page(fault.status, fault.body, fault.content_type)
    if request.path in account.dead_paths:
        return _error_page(410)
    found = account.output_at(request.path)
    if request.method != "GET":
        return _error_page(405)
    if found is None:
        return _error_page(404)
    return _file(*found, request, fault)


def _error_page(status: int, body: bytes | None = None, content_type: str | None = None) -> Response:
    if body is None:
        body = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\n".encode()
    kind = "text/html" if content_type is None else content_type
    return Response(status, body).with_headers((("Content-Type", kind),))


def _file(owner: SimRun | SimAsset, output: SimOutput, request: Request, fault: Fault) -> Response:
    moment = (getattr(owner, "completed_at", None) or owner.created_at or NEWEST_AT_MS) / 1000
    body = output.body if fault.body is None else fault.body
    etag = output.etag if fault.etag is None else fault.etag
    kind = output.content_type if fault.content_type is None else fault.content_type
    response = Response(200, body).with_headers(
        (
            ("Content-Type", kind or ""),
            ("ETag", etag),
            ("Last-Modified", formatdate(moment, usegmt=True)),
            ("Accept-Ranges", "bytes"),
        )
    )
    return _part(response, request, fault)


def _part(response: Response, request: Request, fault: Fault) -> Response:
    """The part of a file that the `Range` header asks for (RFC 9110, section 14), or the whole file."""
    body = response.body
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if (
        asked is None
        or not any(asked.groups())
        or fault.range == "ignore"
        or not _unchanged(response, request)
    ):
        return response
    first, last = asked.groups()
    if not first:
        start, end = max(0, len(body) - int(last)), len(body)
    else:
        start, end = int(first), min(len(body), int(last) + 1) if last else len(body)
    if start >= end or fault.range == "416":
        refusal = Response(416, b"", response.headers)
        return refusal.with_headers((("Content-Range", f"bytes */{len(body)}"),))
    if fault.range == "wrong":
        start = start // 2 if start else min(1, end - 1)
    place = ("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
    return Response(206, body[start:end], (*response.headers, place))


def _unchanged(response: Response, request: Request) -> bool:
    """Whether `If-Range` names the file as it is; a weak validator never does (RFC 9110, section 13.1.5)."""
    condition = request.headers.get("if-range")
    if condition is None:
        return True
    validators = [value for name, value in response.headers if name in ("ETag", "Last-Modified")]
    return condition in validators and not condition.startswith("W/")
