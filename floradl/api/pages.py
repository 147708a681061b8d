"""Queries and pages of runs, uploads and nodes."""

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
"""The most a page may hold; without a limit the API gives fewer."""

MAX_RECORDS = 10_000
"""The most records of one page that are read, for an API that ignores `limit`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How what a source lists is asked for.

    Args:
        path: of the list; `{}` stands for a project's id.
        field: the list's name in an answer.
        each: the path that one thing's id is put behind; "" where there is none.
        parse: reads a record.
    """

    path: str
    field: str
    each: str
    parse: Parser


class Parser(Protocol):
    """`parse_generation`, or its like of another list."""

    def __call__(self, raw: bytes, *, known: Generation | None = None) -> Generation:
        """Read one record; what it lacks is taken from `known`."""


ENDPOINTS = {
    Source.GENERATIONS: Endpoint("generations", "generations", "runs", parse_generation),
    Source.TECHNIQUE_RUNS: Endpoint("technique-runs", "technique_runs", "runs", parse_generation),
    Source.ASSETS: Endpoint("assets", "assets", "assets", parse_asset),
    Source.CANVAS: Endpoint("projects/{}/nodes", "nodes", "", parse_node),
}
_LISTED_WORDS = {Source.GENERATIONS: "runs", Source.CANVAS: "nodes"}


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The query of the list that the scope's source names. `limit` None leaves the API's own default.

    The list of a canvas is that of the scope's project, which there must be; `technique_id` is for technique
    runs alone.
    """

    scope: Scope = EVERYTHING
    status: str | None = None
    cursor: str | None = None
    limit: int | None = PAGE_LIMIT
    technique_id: str | None = None

    @property
    def words(self) -> str:
        """What the list holds, for people."""
        source = Source(self.scope.source)
        words = _LISTED_WORDS.get(source, SOURCE_WORDS[source])
        return words if self.status is None else f"{self.status} {words}"

    def params(self) -> dict[str, str]:
        """The query parameters, without those that are not set."""
        is_placed = self.scope.source != Source.CANVAS  # whose project stands in the path
        given = {
            "workspace_id": self.scope.workspace_id if is_placed else None,
            "project_id": self.scope.project_id if is_placed else None,
            "technique_id": self.technique_id,
            "status": self.status,
            "cursor": self.cursor,
            "limit": None if self.limit is None else str(self.limit),
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of `GET /generations`, or of another list that is read like it.

    `bad_records` says what was wrong with each record that could not be read; `body` is the answer as it
    came. `next_cursor` is None at the end, which the API writes as null, "" or nothing.
    """

    generations: tuple[Generation, ...]
    bad_records: tuple[ApiAnswerError, ...]
    next_cursor: str | None
    body: bytes


class _Meta(msgspec.Struct):
    next_cursor: str | None = None


def parse_page(body: bytes, source: Source = Source.GENERATIONS) -> Page:
    """Read an answer of `GET /generations`, or of what else `source` names.

    A record that cannot be read does not cost the others: it is told in `bad_records`.

    Raises:
        ApiAnswerError: the answer is no page: HTML, broken JSON, a list that is missing.
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
