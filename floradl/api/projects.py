"""Discovering which workspaces and projects the key can see, from the API's lists of them.

Discovery sends one request for the workspaces, and one for each hundred projects of a workspace; a project
given by its id costs one request. Where the API refuses one workspace, the discovery reports that and asks
for the others; only a key that the API does not know, or an API that does not answer, ends it. A record may
lack everything but its id, and a project that is listed several times is taken once.

Sources: FLORA's API reference for `GET /workspaces`, `GET /projects` and `GET /projects/{project_id}`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection, Iterable, Mapping, Set
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from floradl.api.lists import MAX_PAGES, fields_of_answer, iter_pages, parse_list
from floradl.api.models import Scope
from floradl.api.raw_json import fields_of, text_of
from floradl.errors import ApiAnswerError, ApiError, ApiNotFoundError, printable

if TYPE_CHECKING:  # httpx is slow to import, and reading names needs none of it
    from floradl.api.client import FloraApi

MAX_RECORD_BYTES = 1024 * 1024
"""The largest record of a project or workspace that is kept; a larger one is left out."""

_UNAUTHORIZED = 401
_MAX_MODIFIED = 100

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """A workspace or project: its id, and its record exactly as the API wrote it."""

    identifier: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one or several pages of a list.

    Args:
        items: the records, in the API's order.
        next_cursor: where the next page begins; None where the API names no next page.
        is_whole: False where a record was left out, or an unreadable cursor may hide a next page.
        pages: how many pages were read.
    """

    items: tuple[Record, ...]
    next_cursor: str | None = None
    is_whole: bool = True
    pages: int = 1


@dataclass(frozen=True, slots=True)
class Project:
    """A project that the key can see.

    Args:
        project_id: its id.
        workspace_id: the workspace that its record names, else the one whose list had it.
        name: as the API gives it: it may hold control characters and must pass `printable` to be shown.
        last_modified: the API's value as JSON, compared to notice a change; "" where there is none.
        raw: the record exactly as the API wrote it.
    """

    project_id: str
    workspace_id: str
    name: str
    last_modified: str
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Discovery:
    """The result of one discovery.

    Args:
        workspaces: id → record of the listed workspaces; None: not asked for, or refused.
        has_asked_workspaces: whether the list of workspaces was asked for.
        has_all_workspaces: whether `workspaces` are all that the key can see.
        projects: id → project, in the order in which they were met.
        asked: ids of the workspaces whose projects were asked for.
        complete: the workspaces of `asked` whose projects are all in `projects`.
        named: ids of the projects that were asked for by their id.
        problems: an error for each list or project that could not be read, its message naming it.
    """

    workspaces: Mapping[str, bytes] | None
    has_asked_workspaces: bool
    has_all_workspaces: bool
    projects: Mapping[str, Project]
    asked: Set[str]
    complete: Set[str]
    named: Set[str]
    problems: tuple[ApiError, ...]

    def has_asked(self, workspace_id: str, project_id: str) -> bool:
        """Whether asking for this project again would say nothing new."""
        return project_id in self.projects or project_id in self.named or workspace_id in self.asked


async def discover(api: FloraApi, scopes: Iterable[Scope], *, known: Collection[str] = ()) -> Discovery:
    """Ask the API for the workspaces and projects in some scopes.

    Args:
        api: an open session.
        scopes: the whole account, workspaces, or projects; their source does not matter.
        known: ids of workspaces to ask for where the whole account is in scope and the API lists none.

    Raises:
        KeyRefusedError: the API does not know the key (401).
        ApiUnavailableError: the API does not answer.
    """
    return await _Discovering(api).all_of(list(dict.fromkeys(scopes)), known)


class _Discovering:
    """The state of one call of `discover`."""

    def __init__(self, api: FloraApi) -> None:
        self._api = api
        self._projects: dict[str, Project] = {}
        self._asked: set[str] = set()
        self._complete: set[str] = set()
        self._named: set[str] = set()
        self._problems: list[ApiError] = []
        self._pages_left = MAX_PAGES

    async def all_of(self, scopes: list[Scope], known: Collection[str]) -> Discovery:
        workspaces, to_list = None, [scope.workspace_id for scope in scopes if scope.project_id is None]
        if to_list:
            workspaces = await self._try(ask_workspaces(self._api), "the workspaces")
        listed = {record.identifier: record.raw for record in workspaces.items} if workspaces else {}
        has_all = workspaces is not None and workspaces.is_whole and workspaces.next_cursor is None
        if None in to_list:
            to_list += listed or known
            if workspaces is not None and not has_all:
                self._problems.append(ApiAnswerError("the list is not whole").concerning("the workspaces"))
        for workspace_id in dict.fromkeys(to_list):
            if workspace_id is not None:
                await self._list(workspace_id)
        for scope in scopes:
            if scope.project_id is not None and scope.project_id not in self._projects:
                await self._name(scope.project_id, scope.workspace_id or "")
        return Discovery(
            workspaces=listed if workspaces else None,
            has_asked_workspaces=bool(to_list),
            has_all_workspaces=has_all,
            projects=self._projects,
            asked=self._asked,
            complete=self._complete,
            named=self._named,
            problems=tuple(self._problems),
        )

    async def _list(self, workspace_id: str) -> None:
        self._asked.add(workspace_id)
        what = f"the projects of {printable(workspace_id, limit=80)}"
        if self._pages_left <= 0:
            error = ApiAnswerError(f"not asked for, since there were {MAX_PAGES} pages of others")
            self._problems.append(error.concerning(what))
            return
        asking = ask_projects(self._api, workspace_id, max_pages=self._pages_left)
        records = await self._try(asking, what)
        if records is None:
            self._pages_left -= 1
            return
        self._pages_left -= records.pages
        for record in records.items:
            self._add(record, workspace_id)
        if records.is_whole and records.next_cursor is None:
            self._complete.add(workspace_id)
        else:
            self._problems.append(ApiAnswerError("the list is not whole").concerning(what))

    async def _name(self, project_id: str, workspace_id: str) -> None:
        self._named.add(project_id)
        record = await self._try(
            ask_project(self._api, project_id), f"project {printable(project_id, limit=80)}"
        )
        if record is not None:
            self._add(record, workspace_id)

    def _add(self, record: Record, workspace_id: str) -> None:
        fields = fields_of(record.raw)
        modified = fields.get("last_modified", b"null").decode()
        self._projects.setdefault(
            record.identifier,
            Project(
                record.identifier,
                text_of(fields, "workspace_id") or workspace_id,
                text_of(fields, "name"),
                modified if modified != "null" and len(modified) <= _MAX_MODIFIED else "",
                record.raw,
            ),
        )

    async def _try(self, asking: Awaitable[T], what: str) -> T | None:
        """Return the answer, or None where the API refuses only this request, which becomes a problem."""
        try:
            return await asking
        except ApiError as exc:
            if is_final(exc) and not isinstance(exc, ApiAnswerError):
                raise
            self._problems.append(exc.concerning(what))
            return None


def is_final(error: ApiError) -> bool:
    """Whether every other request would fail too: the API does not answer, or does not know the key."""
    return error.is_retryable or error.status == _UNAUTHORIZED


async def ask_workspaces(api: FloraApi) -> Records:
    """Ask for the workspaces that the key can see.

    Raises:
        ApiError: as `FloraApi.ask`.
    """
    return await api.ask("workspaces", {}, lambda body: parse_records(body, "workspaces", "workspace_id"))


async def ask_projects(
    api: FloraApi, workspace_id: str, *, max_pages: int, wanted: Collection[str] | None = None
) -> Records:
    """Ask for the projects of a workspace, page by page.

    Args:
        api: an open session.
        workspace_id: the workspace's id.
        max_pages: how many pages are read at most; where they were not enough, `next_cursor` is not None.
        wanted: ids of projects; reading ends as soon as all of them were met. None: read to the end.

    Raises:
        ApiError: as `FloraApi.ask`; a repeated cursor is an `ApiAnswerError`.
    """
    items: list[Record] = []
    is_whole, next_cursor, pages = True, None, 0
    listing = iter_pages(
        api,
        "projects",
        {"workspace_id": workspace_id},
        lambda body: parse_records(body, "projects", "project_id"),
        max_pages=max_pages,
    )
    async with aclosing(listing):
        async for page in listing:
            items.extend(page.items)
            is_whole, next_cursor, pages = is_whole and page.is_whole, page.next_cursor, pages + 1
            if wanted is not None and set(wanted) <= {record.identifier for record in items}:
                break
    return Records(tuple(items), next_cursor, is_whole, pages)


async def ask_project(api: FloraApi, project_id: str) -> Record:
    """Ask for one project by its id.

    Raises:
        ApiNotFoundError: there is no such project, or none can have this id.
        ApiError: as `FloraApi.ask`.
    """

    def parse(body: bytes) -> Record:
        record = _parse_answer(body, "project", "project_id")
        if record.identifier != project_id:
            raise ApiAnswerError("the API gave another project")
        return record

    return await api.ask(project_path(project_id), {}, parse)


def project_path(project_id: str) -> str:
    """Return the endpoint of a project, its id quoted.

    Raises:
        ApiNotFoundError: the id is empty, "." or "..", which would lead to another endpoint.
    """
    if project_id in ("", ".", ".."):
        raise ApiNotFoundError("no project can have this id")
    return f"projects/{quote(project_id, safe='', errors='surrogatepass')}"


def _parse_answer(body: bytes, wrap: str, key: str) -> Record:
    """Read an answer that is a record itself, or holds one in its field `wrap`.

    Raises:
        ApiAnswerError: the answer holds no record with an id.
    """
    fields = fields_of_answer(body)
    return _record(body.strip() if key in fields or wrap not in fields else fields[wrap], key)


def parse_records(body: bytes, name: str, key: str) -> Records:
    """Read one page of a list. Records without an id, or too large, are left out.

    Args:
        body: the answer.
        name: the field of the answer that holds the list.
        key: the field of a record that holds its id.

    Raises:
        ApiAnswerError: the answer has no such list.
    """
    listed = parse_list(body, name)
    records = []
    for raw in listed.items:
        try:
            records.append(_record(raw, key))
        except ApiAnswerError as exc:
            log.info("%s", exc.message)
    is_whole = listed.is_end_known and len(records) == len(listed.items)
    return Records(tuple(records), listed.next_cursor, is_whole)


def _record(raw: bytes, key: str) -> Record:
    identifier = text_of(fields_of(raw), key)
    if not identifier:
        raise ApiAnswerError(f"a record has no {key}")
    if len(raw) > MAX_RECORD_BYTES:
        raise ApiAnswerError(f"a record has {len(raw)} bytes, more than {MAX_RECORD_BYTES}")
    return Record(identifier, raw)
