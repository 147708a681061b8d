"""Queries for the lists of runs, assets and canvas nodes, and the pages that answer them.

All four lists are read into the same value, `Generation`, so the rest of floradl handles one kind only.
Source of paths and parameters: FLORA's API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec

from floradl.api.models import EVERYTHING, Generation, Scope
from floradl.api.raw_json import NOT_READABLE, items_verbatim, replace_half_pairs
from floradl.api.records import parse_asset, parse_generation, parse_node
from floradl.constants import SOURCE_WORDS, Source
from floradl.errors import ApiAnswerError, printable

PAGE_LIMIT = 100
"""The largest `limit` that the API takes. Without a limit its pages are smaller and take more requests."""

MAX_RECORDS = 10_000
"""How many records one page may hold at most. It bounds the memory where the API ignores `limit`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The endpoints of one source: its list, and a single record of it.

    Args:
        path: the path of the list below the base URL; `{}` stands for a project's id.
        field: the field of an answer that holds the list.
        each: the path to which an id is appended to ask for one record; "" where there is no such endpoint.
        parse: reads one record.
    """

    path: str
    field: str
    each: str
    parse: Parser


class Parser(Protocol):
    """A function that reads one record, such as `parse_generation`."""

    def __call__(self, raw: bytes, *, known: Generation | None = None) -> Generation:
        """Read one record; fields that `raw` lacks come from `known`, an earlier record of the same id."""


ENDPOINTS = {
    Source.GENERATIONS: Endpoint("generations", "generations", "runs", parse_generation),
    Source.TECHNIQUE_RUNS: Endpoint("technique-runs", "technique_runs", "runs", parse_generation),
    Source.ASSETS: Endpoint("assets", "assets", "assets", parse_asset),
    Source.CANVAS: Endpoint("projects/{}/nodes", "nodes", "", parse_node),
}
_LISTED_WORDS = {Source.GENERATIONS: "runs", Source.CANVAS: "nodes"}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """What to ask a list for.

    Args:
        scope: which source's list, and of which workspace or project. The list of canvas nodes belongs to a
            project, so the scope of a canvas must name one.
        status: only records with this status; None: any.
        cursor: where the page begins; None: at the list's beginning.
        limit: how many records a page may hold; None: the API's own default.
        technique_id: only runs of this technique; the API takes it for technique runs alone.
    """

    scope: Scope = EVERYTHING
    status: str | None = None
    cursor: str | None = None
    limit: int | None = PAGE_LIMIT
    technique_id: str | None = None

    @property
    def words(self) -> str:
        """What the list holds, as messages say it: "completed runs"."""
        source = Source(self.scope.source)
        words = _LISTED_WORDS.get(source, SOURCE_WORDS[source])
        return words if self.status is None else f"{self.status} {words}"

    def params(self) -> dict[str, str]:
        """The query parameters of the request; those that are None are left out."""
        # The list of canvas nodes names the project in its path, and takes no workspace.
        is_filtered = self.scope.source != Source.CANVAS
        given = {
            "workspace_id": self.scope.workspace_id if is_filtered else None,
            "project_id": self.scope.project_id if is_filtered else None,
            "technique_id": self.technique_id,
            "status": self.status,
            "cursor": self.cursor,
            "limit": None if self.limit is None else str(self.limit),
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list of a source.

    Args:
        generations: the records that could be read, in the API's order.
        bad_records: one error for each record that could not be read.
        next_cursor: where the next page begins; None on the last page, on which the API writes null, ""
            or no cursor at all.
        body: the whole answer, to the byte.
    """

    generations: tuple[Generation, ...]
    bad_records: tuple[ApiAnswerError, ...]
    next_cursor: str | None
    body: bytes


class _Meta(msgspec.Struct):
    next_cursor: str | None = None


def parse_page(body: bytes, source: Source = Source.GENERATIONS) -> Page:
    """Read one answer of the list of `source`.

    A record that cannot be read becomes an entry of `bad_records`, and the other records are still read.

    Raises:
        ApiAnswerError: the answer is not a page: it is HTML or broken JSON, lacks the list, or holds more
            than `MAX_RECORDS` records.
    """
    endpoint, words = ENDPOINTS[source], SOURCE_WORDS[source]
    try:
        readable = replace_half_pairs(body)
        fields = msgspec.json.decode(readable, type=dict[str, msgspec.Raw])
        records = msgspec.json.decode(fields[endpoint.field], type=list[msgspec.Raw])
        meta = msgspec.json.decode(fields.get("meta", b"null"), type=_Meta | None)
    except KeyError as exc:
        raise ApiAnswerError(f"the API's answer is not a page of {words}: it has none") from exc
    except NOT_READABLE as exc:
        kind = "HTML" if body.lstrip()[:1] == b"<" else f"not a page of {words}"
        raise ApiAnswerError(f"the API's answer is {kind}: {printable(str(exc))}") from exc
    if len(records) > MAX_RECORDS:
        raise ApiAnswerError(f"the API's page has {len(records)} records, more than {MAX_RECORDS}")
    generations, bad_records = [], []
    for raw in items_verbatim(body, readable, records):
        try:
            generations.append(endpoint.parse(raw))
        except ApiAnswerError as exc:
            bad_records.append(exc)
    next_cursor = (meta.next_cursor if meta else None) or None
    return Page(tuple(generations), tuple(bad_records), next_cursor, body)
