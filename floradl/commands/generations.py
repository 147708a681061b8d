"""`floradl list`: the generation history at the command line, as the API gives it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from floradl.api import FloraApi, Page, PageQuery
from floradl.clock import Clock
from floradl.commands.context import open_api, write_line
from floradl.config import Settings
from floradl.errors import ApiUnavailableError, Exit, printable
from floradl.model import Generation, Scope
from floradl.progress import Console
from floradl.tables import Column, cut, format_age, table_lines
from floradl.words import Status

_COLUMNS = (
    Column("created"),
    Column("status", least=5),
    Column("", is_number=True),
    Column("run"),
    Column("model", least=8, rank=2),
    Column("outputs", is_number=True, rank=3),
    Column("cost", is_number=True, rank=1),
)
_CLEAR = "\x1b[H\x1b[J"
"""To the first line, and nothing below it: VT100's control sequences, which every terminal has."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What is shown, and how: `is_redrawn` says that the terminal shows one answer at a time."""

    query: PageQuery
    shape: str
    every: bool
    is_redrawn: bool


def run(settings: Settings) -> int:
    """Print one page, or all, in the format asked for; with `--watch` again and again."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose)
    return asyncio.run(_list(settings, open_api(settings, Clock(), console.warn), console))


async def _list(settings: Settings, api: FloraApi, console: Console) -> int:
    is_terminal = sys.stdout.isatty()
    scope = Scope(settings.workspace_id, settings.project_id)
    look = _Look(
        query=PageQuery(scope, settings.status, settings.cursor, settings.limit),
        shape=settings.format or ("table" if is_terminal else "json"),
        every=settings.all,
        is_redrawn=is_terminal and settings.watch is not None,
    )
    async with api:
        if settings.watch is None:
            return await _show(look, api, console, Clock())
        return await _watch(look, api, console, Clock(), settings.watch)


async def _watch(look: _Look, api: FloraApi, console: Console, clock: Clock, every_s: float) -> int:
    """Show it until somebody stops it. An API that does not answer for once may do so later."""
    while True:
        try:
            await _show(look, api, console, clock)
        except ApiUnavailableError as exc:
            console.error(exc)
        await clock.sleep(every_s)


async def _show(look: _Look, api: FloraApi, console: Console, clock: Clock) -> int:
    bad_records, shown, is_first = 0, 0, True
    pages: list[Page] = []
    async for page in _iter_pages(api, look.query, every=look.every):
        bad_records += len(page.bad_records)
        shown += len(page.generations)
        if look.is_redrawn:
            pages.append(page)  # until all is there, so that the screen is not empty meanwhile
        else:
            _print_page(page, look.shape, clock.now_ms(), is_first=is_first)
        is_first = False
    if look.is_redrawn:
        _redraw(pages, look.shape, clock.now_ms())
    elif look.shape == "table" and not shown:
        console.say("No such runs.")
    if page.next_cursor is not None and not look.every and not look.is_redrawn:
        console.say(f"There is more: --all, or --cursor {printable(page.next_cursor)}")
    if bad_records and look.shape != "json":
        console.warn(f"{bad_records} records could not be read; --format json shows them as they are")
        return int(Exit.INCOMPLETE)
    return int(Exit.OK)


def _redraw(pages: Sequence[Page], shape: str, now_ms: int) -> None:
    """Show an answer in the place of the one before; of a table, as much as there is room for."""
    sys.stdout.write(_CLEAR)
    sys.stdout.flush()
    if shape != "table":
        for page in pages:
            _print_page(page, shape, now_ms, is_first=False)
        return
    size = shutil.get_terminal_size()
    generations = [generation for page in pages for generation in page.generations]
    lines = list_lines(generations, size.columns, now_ms)
    room = max(2, size.lines - 1)
    if len(lines) > room:
        lines[room - 1 :] = [cut(f"… {len(lines) - room + 1} more", size.columns)]
    write_line("\n".join(lines if generations else ["No such runs."]).encode(errors="replace"))


async def _iter_pages(api: FloraApi, query: PageQuery, *, every: bool) -> AsyncGenerator[Page, None]:
    given: set[str] = set()
    while True:
        page = await api.page(query, given_cursors=given)
        yield page
        if page.next_cursor is None or not every:
            return
        given.add(page.next_cursor)
        query = replace(query, cursor=page.next_cursor)


def _print_page(page: Page, shape: str, now_ms: int, *, is_first: bool) -> None:
    if shape == "json":
        write_line(page.body)
    elif shape == "jsonl":
        for generation in page.generations:
            write_line(_one_line(generation.raw))
    elif page.generations:
        width = shutil.get_terminal_size().columns
        for line in list_lines(page.generations, width, now_ms, with_head=is_first):
            write_line(line.encode(errors="replace"))


def _one_line(raw: bytes) -> bytes:
    """A record on one line: as it is, or without the line breaks between its fields."""
    return raw if b"\n" not in raw and b"\r" not in raw else msgspec.json.format(raw, indent=-1)


def list_lines(
    generations: Iterable[Generation], width: int, now_ms: int, *, with_head: bool = True
) -> list[str]:
    """Generations as a table that is at most `width` cells wide, with ages at `now_ms`."""
    rows = [_row(generation, now_ms) for generation in generations]
    return table_lines(_COLUMNS, rows, width, with_head=with_head)


def _row(run: Generation, now_ms: int) -> tuple[str, ...]:
    is_at_work = run.progress is not None and run.status == Status.RUNNING
    return (
        "" if run.created_at_ms is None else format_age((now_ms - run.created_at_ms) / 1000),
        printable(run.status, limit=20),
        f"{run.progress:.0f}%" if is_at_work else "",
        printable(run.run_id, limit=40),
        printable(run.model_id or "", limit=80),
        "" if run.outputs is None else str(len(run.outputs)),
        "" if run.charged_cost is None else f"${run.charged_cost:.3f}",
    )
