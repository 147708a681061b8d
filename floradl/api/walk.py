"""Walking the pages of one list while it changes, without missing a run.

`GET /generations` lists runs newest first, by offset. A run that is added while the pages are read pushes the
later runs down, and they show again. A run that is removed pulls the later runs up: one of them crosses from
the page to be read next onto the page that was just read, and a plain walk would skip it.

So after each further page the walk reads the page before it again. If that page holds the same runs, nothing
crossed the edge between the two. If it changed, the walk goes back, page by page, until the first run of a
page is one it met on its way down: every run above that one was met then, wherever it is now. From there
it walks down again. A list that changes faster than it can be read is an error, so it seals nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable
from contextlib import aclosing
from dataclasses import replace
from itertools import pairwise

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.pages import Page, PageQuery
from floradl.api.paging import follow_cursors
from floradl.constants import Source, Status
from floradl.errors import ApiAnswerError, printable

_MAX_RETURNS = 25  # how often a walk goes back before it gives up
_REMEMBERED_PAGES = 100  # pages whose ids are kept, to recognise a run met on the way down
_MAX_EMPTY_PAGES = 20  # in a row; an API that always names a next page would never end

log = logging.getLogger(__name__)

OVERLAP_MS = 3_600_000
"""How far below the seal a scan walks, for runs that were created while the last scan was starting."""


class Walk:
    """Reads the pages of one list from the newest run down.

    The walk ends at the end of the list, after a page whose oldest run is older than `floor_ms`, or after a
    page whose oldest run is older than `seal_ms` and whose runs are all known. All must be known because a
    run with a wrong date far in the future could set a seal that hides the runs to come. While pages are
    not newest first, their dates prove nothing, and the walk goes on to the end.

    Args:
        api: an open session.
        query: which list; its cursor is not used.
        floor_ms: the moment, in unix milliseconds, below which the walk need not go; None: to the end.
        seal_ms: the seal of the last scan, below which runs should be known; None: there is no seal.
        is_known: whether the run with this id is recorded in the archive.
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
        self._trail: list[str | None] = [None]  # cursors of the pages from the top to the current one
        self._given: set[str] = set()
        self._passed: set[str] = set()
        self._met: deque[frozenset[str]] = deque(maxlen=_REMEMBERED_PAGES)
        self._unknown: set[str] = set()
        self._is_ordered = True
        self._empty_pages = 0

    async def iter_pages(self) -> AsyncGenerator[Page, None]:
        """Give every page that was read, repeats included, so that runs may come more than once.

        Raises:
            ApiAnswerError: the list changes faster than it can be read, or has too many empty pages in a row.
            ApiError: a page could not be had.
        """
        page = await self._read(None)
        is_last, returns = self._is_last(page), 0
        yield page
        while not is_last and page.next_cursor is not None:
            cursor = page.next_cursor
            self._given.add(
                cursor
            )  # only for this request: the page must not name its own cursor as the next
            following = await self._read(cursor)
            self._given.discard(cursor)
            is_last = cursor not in self._passed and self._is_last(following)
            if not is_last:
                # A page that once held something new does not end the walk when it is read again, since
                # nothing proved that the runs below it are old.
                self._passed.add(cursor)
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
        """Leave the current page and read the one above it again."""
        left = self._trail.pop()
        self._given.discard(left or "")
        if self._met:
            self._met.pop()
        return await self._read(self._trail[-1])

    async def _read(self, cursor: str | None) -> Page:
        """Read one page. It may not name a cursor on the way down to it, which would lead in a circle."""
        query = PageQuery(self._query.scope, self._query.status, cursor, self._query.limit)
        page = await self._api.page(query, given_cursors=self._given)
        self._note(page)
        return page

    def _note(self, page: Page) -> None:
        """Remember what this page tells about the list: its order, empty pages, runs that are not known."""
        moments = [run.created_at_ms for run in page.generations]
        in_order = all(
            newer is not None and older is not None and newer >= older for newer, older in pairwise(moments)
        )
        self._is_ordered = self._is_ordered and in_order and None not in moments
        self._empty_pages = 0 if page.generations or page.bad_records else self._empty_pages + 1
        if self._empty_pages > _MAX_EMPTY_PAGES:
            raise ApiAnswerError(f"the API gave {_MAX_EMPTY_PAGES} empty pages in a row, and more to come")
        if self._seal_ms is not None:
            # Runs are recorded while the walk goes on. One that was unknown at first stays so for this walk:
            # being recorded since does not prove that the runs below it are known.
            self._unknown.update(run_id for run_id in _ids(page) if not self._is_known(run_id))

    def _is_last(self, page: Page) -> bool:
        """Whether every run below this page is known or not wanted."""
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
    """The status whose list a scan walks last; None: the source is read as one list of every status.

    Generations are listed by status, and completed runs are the last list: failed runs need not be read.
    Technique runs and assets are fewer. Each is read as one list, in which a run does not move from one list
    to another as it completes, so a night without news costs one request.
    """
    return Status.COMPLETED if scope.source == Source.GENERATIONS else None


async def iter_run_pages(
    api: FloraApi, query: PageQuery, *, max_pages: int | None = None
) -> AsyncGenerator[Page, None]:
    """Read the pages of a source's list once each, from the query's cursor to the end or to `max_pages`.

    Runs that are removed while it reads can move others across the edge of a page, where this misses them.
    `Walk` reads the same list without a gap.

    Raises:
        ApiError: as `FloraApi.page`.
    """

    def read(cursor: str | None, given_cursors: Container[str]) -> Awaitable[Page]:
        return api.page(replace(query, cursor=cursor), given_cursors=given_cursors)

    async with aclosing(follow_cursors(read, cursor=query.cursor, max_pages=max_pages)) as pages:
        async for page in pages:
            yield page


async def iter_listed(
    api: FloraApi, scope: Scope, run_ids: Iterable[str], *, down_to_ms: int | None
) -> AsyncGenerator[Generation, None]:
    """Find some completed runs in their list, whose records have fields that `GET /runs/{run_id}` lacks.

    Args:
        api: an open session.
        scope: the source, workspace or project whose list is walked.
        run_ids: the ids of the runs to find; those that the list does not have are left out.
        down_to_ms: when the oldest of them was created, in unix milliseconds; None: walk the whole list.

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
    """Return a completed run with its outputs; asks for the run by its id where its listed record has none.

    Raises:
        ApiAnswerError: the run's own record says that it is not completed.
        ApiError: the run could not be asked for.
    """
    if run.outputs is not None:
        return run
    asked = await api.run(run.run_id, known=run)
    if asked.status != Status.COMPLETED:
        raise ApiAnswerError(f"listed as completed, and by itself {printable(asked.status, limit=40)}")
    return asked
