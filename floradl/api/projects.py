"""What the key can see: workspaces, and the projects in them, as the API lists them.

Discovery asks once for the workspaces and once per hundred projects of a workspace; a project that is named
costs one request. What the API refuses for one workspace is a problem to tell, and leaves the others; only a
key that it does not know, and an API that does not answer, end it. Everything in a record but its id may be
missing, and a project is taken once, however often it is listed.

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

if TYPE_CHECKING:  # who only reads names needs no HTTP
    from floradl.api.client import FloraApi

MAX_RECORD_BYTES = 1024 * 1024
"""More than any record of a project or workspace; a larger one is left out."""

_UNAUTHORIZED = 401
_MAX_MODIFIED = 100

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """The record of a workspace or project, to the byte, and its id."""

    identifier: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Records:
    """Some of a list. `is_whole` is False where a record was left out or nobody knows what follows."""

    items: tuple[Record, ...]
    next_cursor: str | None = None
    is_whole: bool = True
    pages: int = 1


@dataclass(frozen=True, slots=True)
class Project:
    """A project that the key sees.

    `workspace_id` is the record's, else that in whose list it stood; `name` is not printable yet;
    `last_modified` is the API's value as JSON, good to tell a change by, "" where there is none.
    """

    project_id: str
    workspace_id: str
    name: str
    last_modified: str
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Discovery:
    """What one discovery found.

    Args:
        workspaces: id → record, as far as they were listed; None: not asked for, or refused.
        has_asked_workspaces: whether they were asked for.
        has_all_workspaces: whether these are all that the key sees.
        projects: id → project, in the order in which they were met.
        asked: workspaces whose projects were asked for.
        complete: those of them whose projects are all here.
        named: projects that were asked for by their id.
        problems: what could not be had, each named.
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
    """Ask which projects there are.

    Args:
        api: an open session.
        scopes: the whole account, workspaces, or projects; their source does not matter.
        known: workspaces to ask for where the whole account is in scope and the API does not list them.

    Raises:
        KeyRefusedError: the API does not know the key (401).
        ApiUnavailableError: it does not answer.
    """
    return await _Discovering(api).all_of(list(dict.fromkeys(scopes)), known)


class _Discovering:
    """The state of one `discover`."""

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
        """The answer, or None where the API refuses just this."""
        try:
            return await asking
        except ApiError as exc:
            if is_final(exc) and not isinstance(exc, ApiAnswerError):
                raise
            self._problems.append(exc.concerning(what))
            return None


def is_final(error: ApiError) -> bool:
    """Whether asking for anything else would end the same: no answer, or a key that is none."""
    return error.is_retryable or error.status == _UNAUTHORIZED


async def ask_workspaces(api: FloraApi) -> Records:
    """The workspaces that the key sees.

    Raises:
        ApiError: as `FloraApi.ask`.
    """
    return await api.ask("workspaces", {}, lambda body: parse_records(body, "workspaces", "workspace_id"))


async def ask_projects(
    api: FloraApi, workspace_id: str, *, max_pages: int, wanted: Collection[str] | None = None
) -> Records:
    """The projects of a workspace, page by page.

    Args:
        api: an open session.
        workspace_id: the workspace.
        max_pages: the end, if it comes to that: what is given then still has a `next_cursor`.
        wanted: an end as soon as all of these are met.

    Raises:
        ApiError: as `FloraApi.ask`; a cursor that comes twice is an answer that makes no sense.
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
    """One project.

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
    """The endpoint of a project, whatever its id holds.

    Raises:
        ApiNotFoundError: no project can have this id, which would lead to another endpoint.
    """
    if project_id in ("", ".", ".."):
        raise ApiNotFoundError("no project can have this id")
    return f"projects/{quote(project_id, safe='', errors='surrogatepass')}"


def _parse_answer(body: bytes, wrap: str, key: str) -> Record:
    """An answer that is a record, or has one below `wrap`.

    Raises:
        ApiAnswerError: it is none.
    """
    fields = fields_of_answer(body)
    return _record(body.strip() if key in fields or wrap not in fields else fields[wrap], key)


def parse_records(body: bytes, name: str, key: str) -> Records:
    """The records of a list, those without an id left out.

    Args:
        body: the answer.
        name: the field that has them.
        key: the field of a record that is its id.

    Raises:
        ApiAnswerError: there is no such list.
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
