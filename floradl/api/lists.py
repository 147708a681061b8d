"""Any other list of the API, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from floradl.api.raw_json import NOT_READABLE, fields_of, items_verbatim, replace_half_pairs
from floradl.errors import ApiAnswerError

if TYPE_CHECKING:
    from floradl.api.client import FloraApi


MAX_PAGES = 1000
"""The most pages of projects that one discovery reads, of all workspaces together."""

MAX_RECORDS = 10_000
"""The most records of one answer, for an API that ignores `limit`."""

_PAGE_LIMIT = "100"


P = TypeVar("P", bound="Page")


class Page(Protocol):
    """A page of any list."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next one begins; None at the end."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a list: its items to the byte. An end is not known where the cursor is no text."""

    items: tuple[bytes, ...]
    next_cursor: str | None
    is_end_known: bool


async def iter_pages(
    api: FloraApi, path: str, params: Mapping[str, str], parse: Callable[[bytes], P], *, max_pages: int
) -> AsyncGenerator[P, None]:
    """The pages of a list, to its end or `max_pages`, when the last one still has a `next_cursor`.

    Args:
        api: an open session.
        path: the endpoint, such as `projects`.
        params: its query, without cursor and limit.
        parse: makes a page of an answer.
        max_pages: the most that are asked for.

    Raises:
        ApiError: as `FloraApi.ask`; a cursor that comes twice is an answer that makes no sense.
    """
    cursors: list[str] = []
    query = {**params, "limit": _PAGE_LIMIT}

    def parse_next(body: bytes) -> P:
        page = parse(body)
        if page.next_cursor in cursors:
            raise ApiAnswerError("the API gave a page cursor a second time")
        return page

    for _ in range(max_pages):
        page = await api.ask(path, query, parse_next)
        yield page
        if page.next_cursor is None:
            return
        cursors.append(page.next_cursor)
        query["cursor"] = page.next_cursor


def parse_list(body: bytes, name: str) -> Listed:
    """A page of any list: the field `name`, and `meta.next_cursor`.

    Raises:
        ApiAnswerError: there is no such list, or it has more than `MAX_RECORDS`.
    """
    fields = fields_of_answer(body)
    raw = fields.get(name, b"null")
    readable = replace_half_pairs(raw)
    try:
        items = msgspec.json.decode(readable, type=list[msgspec.Raw])
        meta = msgspec.json.decode(replace_half_pairs(fields.get("meta", b"null")))
    except NOT_READABLE as exc:
        raise ApiAnswerError(f"the API's answer has no {name}") from exc
    if len(items) > MAX_RECORDS:
        raise ApiAnswerError(f"the API's answer has {len(items)} {name}, more than {MAX_RECORDS}")
    cursor = meta.get("next_cursor") if isinstance(meta, dict) else None
    is_text = isinstance(cursor, str)
    return Listed(
        tuple(items_verbatim(raw, readable, items)),
        cursor if is_text and cursor else None,
        is_end_known=is_text or cursor is None,
    )


def fields_of_answer(body: bytes) -> dict[str, bytes]:
    """The fields of an answer of the API, each value as it was written.

    Raises:
        ApiAnswerError: the answer is HTML, or anything else that is no JSON object.
    """
    try:
        return fields_of(body)
    except ApiAnswerError as exc:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "no JSON object"
        raise ApiAnswerError(f"the API's answer is {kind}") from exc
