"""Lists of projects, workspaces and canvas nodes, read page by page.

These lists are short, so they are read plainly, from the first page to the last. The lists of runs and
assets have records of their own (`pages`) and may move while they are read (`walk`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from floradl.api.paging import P, follow_cursors, refuse_repeated_cursor
from floradl.api.raw_json import NOT_READABLE, fields_of, items_verbatim, replace_half_pairs
from floradl.errors import ApiAnswerError

if TYPE_CHECKING:
    from floradl.api.client import FloraApi

MAX_PAGES = 1000
"""How many pages of projects one discovery reads at most, counted over all workspaces."""

MAX_RECORDS = 10_000
"""How many records one answer may hold at most. It bounds the memory where the API ignores `limit`."""

_PAGE_LIMIT = "100"


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of a list, its records not parsed yet.

    Args:
        items: each record exactly as the API wrote it.
        next_cursor: where the next page begins; None where the API names no next page.
        is_end_known: False where the cursor is neither a text nor absent (a number, say). Whether more
            records follow cannot be told then, so the list must not count as whole.
    """

    items: tuple[bytes, ...]
    next_cursor: str | None
    is_end_known: bool


async def iter_pages(
    api: FloraApi, path: str, params: Mapping[str, str], parse: Callable[[bytes], P], *, max_pages: int
) -> AsyncGenerator[P, None]:
    """Read the pages of a list, to its end or to `max_pages`.

    Where `max_pages` ended it, the last page still has a `next_cursor`.

    Args:
        api: an open session.
        path: the endpoint below the base URL, such as `projects`.
        params: the query parameters, without `cursor` and `limit`.
        parse: makes a page of the bytes of an answer.
        max_pages: how many pages are asked for at most.

    Raises:
        ApiError: as `FloraApi.ask`; a repeated cursor is an `ApiAnswerError`.
    """

    def read(cursor: str | None, given_cursors: Container[str]) -> Awaitable[P]:
        query = {**params, "limit": _PAGE_LIMIT}
        if cursor is not None:
            query["cursor"] = cursor
        return api.ask(path, query, refuse_repeated_cursor(parse, given_cursors))

    async with aclosing(follow_cursors(read, max_pages=max_pages)) as pages:
        async for page in pages:
            yield page


def parse_list(body: bytes, name: str) -> Listed:
    """Split an answer into its records and its cursor, which FLORA gives as `meta.next_cursor`.

    Args:
        body: the answer.
        name: the field of the answer that holds the list.

    Raises:
        ApiAnswerError: the answer has no such list, or the list has more than `MAX_RECORDS` records.
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
    """Split an answer into its fields. Each value stays JSON, exactly as the API wrote it.

    Raises:
        ApiAnswerError: the answer is no JSON object. The message says so where it is a page of HTML, which
            a proxy or a login page sends in place of the API.
    """
    try:
        return fields_of(body)
    except ApiAnswerError as exc:
        kind = "HTML" if body.lstrip()[:1] == b"<" else "no JSON object"
        raise ApiAnswerError(f"the API's answer is {kind}") from exc
