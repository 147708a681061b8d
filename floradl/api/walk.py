"""Walking the pages of one list, without missing what moves from one page to another meanwhile.

`GET /generations` is newest first over an offset. What is inserted while paging pushes later items down, and
they show again; what is removed pulls them up, across the edge between the page that was read and the one
that comes next, where a plain walk would skip them.

So after each further page the one before it is read again. If it is as it was, nothing crossed the edge
between the two. If it is not, the walk goes back, page by page, to one whose first item it has met before
on its way down: all that lies above that item was met, wherever it is now. From there it walks on. A list
that never holds still is an error, not an end.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from itertools import pairwise

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.pages import Page, PageQuery
from floradl.constants import Source, Status
from floradl.errors import ApiAnswerError, printable

_MAX_RETURNS = 25
_REMEMBERED_PAGES = 100
_MAX_EMPTY_PAGES = 20

log = logging.getLogger(__name__)

OVERLAP_MS = 3_600_000
"""How far below the seal a scan walks: runs that were created while the last one was starting."""


class Walk:
    """The pages of one list.

    It ends with the list; or with a page that lies below `floor_ms`; or with one below `seal_ms` on which
    every run is known. The last is what keeps a run with a date far ahead, by whoever's mistake, from
    hiding the runs to come behind a seal. Pages that are not newest first prove nothing, and it walks on.

    Args:
        api: the API.
        query: which list; without a cursor.
        floor_ms: how far down to walk at most; None: to the end.
        seal_ms: everything below is known already, if it is; None: nothing is.
        is_known: whether a run is recorded.
    """

    def __init__(
        self,
        api: FloraApi,
        query: PageQuery,
        floor_ms: int | None,
        seal_ms: int | None,
        is_known: Callable[[str], bool],
    ) -> None:
        self._api = api
        self._query = query
        self._floor_ms = floor_ms
        self._seal_ms = seal_ms
        self._is_known = is_known
        self._trail: list[str | None] = [None]  # the cursors of the pages on the way down to here
        self._given: set[str] = set()
        self._passed: set[str] = set()
        self._met: deque[frozenset[str]] = deque(maxlen=_REMEMBERED_PAGES)
        self._unknown: set[str] = set()
        self._is_ordered = True
        self._empty_pages = 0

    async def iter_pages(self) -> AsyncGenerator[Page, None]:
        """Every page read, repeats included.

        Raises:
            ApiAnswerError: the list moves faster than it can be read, or is endless emptiness.
            ApiError: a page could not be had.
        """
        page = await self._read(None)
        is_last, returns = self._is_last(page), 0
        yield page
        while not is_last and page.next_cursor is not None:
            cursor = page.next_cursor
            self._given.add(cursor)  # while its own page is asked for, which must not lead to itself
            following = await self._read(cursor)
            self._given.discard(cursor)
            is_last = cursor not in self._passed and self._is_last(following)
            if not is_last:
                self._passed.add(cursor)  # where something new was once, what follows is not proven to be old
            yield following
            again = await self._read(self._trail[-1])
            yield again
            if _ids(again) == _ids(page):
                self._met.append(frozenset(_ids(page)))
                self._trail.append(cursor)
                self._given.add(cursor)
                page = following
                continue
            returns += 1
            if returns > _MAX_RETURNS:
                raise ApiAnswerError(f"the list of {self._query.words} never held still")
            log.info("the list of %s moved while it was read; going back", self._query.words)
            met = frozenset(_ids(page)).union(*self._met)
            while len(self._trail) > 1 and not met.intersection(_ids(again)[:1]):
                again = await self._step_back()
                yield again
            page, is_last = again, False

    async def _step_back(self) -> Page:
        left = self._trail.pop()
        self._given.discard(left or "")
        if self._met:
            self._met.pop()
        return await self._read(self._trail[-1])

    async def _read(self, cursor: str | None) -> Page:
        """One page; a cursor that was given on the way to it must not come again: a circle."""
        query = PageQuery(self._query.scope, self._query.status, cursor, self._query.limit)
        page = await self._api.page(query, given_cursors=self._given)
        self._note(page)
        return page

    def _note(self, page: Page) -> None:
        moments = [run.created_at_ms for run in page.generations]
        in_order = all(
            newer is not None and older is not None and newer >= older for newer, older in pairwise(moments)
        )
        self._is_ordered = self._is_ordered and in_order and None not in moments
        self._empty_pages = 0 if page.generations or page.bad_records else self._empty_pages + 1
        if self._empty_pages > _MAX_EMPTY_PAGES:
            raise ApiAnswerError(f"the API gave {_MAX_EMPTY_PAGES} empty pages in a row, and more to come")
        if self._seal_ms is not None:
            # What this walk brings is recorded while it goes on, and no older for that when it is read again.
            self._unknown.update(run_id for run_id in _ids(page) if not self._is_known(run_id))

    def _is_last(self, page: Page) -> bool:
        """Whether nothing that is wanted can lie below this page."""
        oldest_ms = page.generations[-1].created_at_ms if page.generations else None
        if oldest_ms is None or not self._is_ordered:
            return False
        if self._floor_ms is not None and oldest_ms < self._floor_ms:
            return True
        is_sealed = self._seal_ms is not None and oldest_ms < self._seal_ms
        return is_sealed and self._unknown.isdisjoint(_ids(page))


def _ids(page: Page) -> list[str]:
    return [run.run_id for run in page.generations]


def last_status(scope: Scope) -> Status | None:
    """The status of the list in which everything ends up; None: there is one list, of all that there is.

    Most of a long history is completed, and what failed in it need not be read. Technique runs and assets are
    fewer: one list of all of them, in which nothing moves as it goes on, costs a quiet night one request.
    """
    return Status.COMPLETED if scope.source == Source.GENERATIONS else None


async def iter_listed(
    api: FloraApi, scope: Scope, run_ids: Iterable[str], *, down_to_ms: int | None
) -> AsyncGenerator[Generation, None]:
    """Some completed runs as the list has them, for the fields that `GET /runs/{run_id}` lacks.

    Args:
        api: the API.
        scope: where they are.
        run_ids: which.
        down_to_ms: when the oldest of them was created; None walks everything.

    Raises:
        ApiError: a page could not be had.
    """
    wanted = set(run_ids)
    floor_ms = None if down_to_ms is None else down_to_ms - OVERLAP_MS
    walk = Walk(api, PageQuery(scope, last_status(scope)), floor_ms, None, lambda _: False)
    async with aclosing(walk.iter_pages()) as pages:
        async for page in pages:
            for run in page.generations:
                if run.run_id in wanted:
                    wanted.remove(run.run_id)
                    yield run
            if not wanted:
                return


async def with_outputs(api: FloraApi, run: Generation) -> Generation:
    """A completed run with its outputs, asked for when the list did not have them.

    Raises:
        ApiAnswerError: the run itself says that it is not completed.
        ApiError: it could not be asked for.
    """
    if run.outputs is not None:
        return run
    asked = await api.run(run.run_id, known=run)
    if asked.status != Status.COMPLETED:
        raise ApiAnswerError(f"listed as completed, and by itself {printable(asked.status, limit=40)}")
    return asked
