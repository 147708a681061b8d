"""Following the API's cursors from page to page, with the guards that end a list which never would.

Every list of the API tells in `meta.next_cursor` where its next page begins. An API with a fault may give a
cursor that it gave before, and a reader who followed it would read the same pages for ever. So a repeated
cursor makes the answer an `ApiAnswerError`, and a reader may set the most pages that it wants.

`walk.Walk` goes back and forth between pages and follows cursors itself; it shares the guard.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from typing import Protocol, TypeVar

from floradl.errors import ApiAnswerError


class CursorPage(Protocol):
    """A page of any list."""

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last page."""


P = TypeVar("P", bound=CursorPage)


def refuse_repeated_cursor(
    parse: Callable[[bytes], P], given_cursors: Container[str]
) -> Callable[[bytes], P]:
    """Make a parser that also refuses a page whose `next_cursor` was given before.

    The check is part of parsing, so that `FloraApi` asks again, as for any other answer that makes no sense.

    Args:
        parse: makes a page of the bytes of an answer.
        given_cursors: cursors that led to the page being read; read anew at each call.
    """

    def parse_next(body: bytes) -> P:
        page = parse(body)
        if page.next_cursor is not None and page.next_cursor in given_cursors:
            raise ApiAnswerError("the API gave a page cursor a second time")
        return page

    return parse_next


async def follow_cursors(
    read: Callable[[str | None, Container[str]], Awaitable[P]],
    *,
    cursor: str | None = None,
    max_pages: int | None = None,
) -> AsyncGenerator[P, None]:
    """Read the pages of a list one after another, to its end or to `max_pages`.

    Where `max_pages` ended it, the last page still has a `next_cursor`.

    Args:
        read: asks for the page at a cursor; its second argument are the cursors given so far, for
            `refuse_repeated_cursor`.
        cursor: where to begin; None: at the list's first page.
        max_pages: the most pages to ask for; None: as many as there are.

    Raises:
        ApiError: whatever `read` raised.
    """
    given_cursors: set[str] = set()
    pages = 0
    while max_pages is None or pages < max_pages:
        page = await read(cursor, given_cursors)
        pages += 1
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return
        given_cursors.add(cursor)
