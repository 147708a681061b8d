"""`floradl list`: prints what the API lists: its own pages, a record on each line, or a table."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from floradl.api.client import FloraApi
from floradl.api.models import Generation, Scope
from floradl.api.pages import Page, PageQuery
from floradl.api.records import ASSET_STATUS
from floradl.api.unknown_ids import unknown_places
from floradl.api.walk import iter_run_pages
from floradl.cli.config import Settings
from floradl.cli.context import open_api, write_line
from floradl.cli.json_output import escaped
from floradl.cli.ui.console import Console
from floradl.cli.ui.tables import Column, cut, format_age, table_lines
from floradl.cli.ui.units import format_bytes
from floradl.clock import Clock
from floradl.constants import SOURCE_WORDS, Source, Status, type_word
from floradl.errors import ApiUnavailableError, Exit, UsageError, printable

_BEGIN = (Column("created"), Column("status", least=5))
_PROGRESS = Column("", is_number=True)
_END = (Column("outputs", is_number=True, rank=3), Column("cost", is_number=True, rank=1))
_COLUMNS = {
    Source.GENERATIONS: (*_BEGIN, _PROGRESS, Column("run"), Column("model", least=8, rank=2), *_END),
    Source.TECHNIQUE_RUNS: (*_BEGIN, _PROGRESS, Column("run"), Column("technique", least=8, rank=2), *_END),
    Source.ASSETS: (
        *_BEGIN,
        Column("asset"),
        Column("name", least=8, rank=1),
        Column("type", rank=3),
        Column("size", is_number=True, rank=2),
    ),
    Source.CANVAS: (Column("node"), Column("type", least=5, rank=1), Column("label", least=8)),
}
_API_STATUS: dict[str, str] = {ours: word for word, ours in ASSET_STATUS.items()}
_CLEAR = "\x1b[H\x1b[J"
"""Moves the cursor to the top and clears the screen, by VT100's sequences, which every terminal has."""


@dataclass(frozen=True, slots=True)
class _View:
    """What is asked for, and how it is shown.

    Args:
        query: the first page.
        shape: `json`, `jsonl` or `table`.
        every: whether all pages are shown, not only the first.
        is_redrawn: whether each answer takes the place of the one before (`--watch` on a terminal).
    """

    query: PageQuery
    shape: str
    every: bool
    is_redrawn: bool

    @property
    def source(self) -> Source:
        """The list that is asked for."""
        return Source(self.query.scope.source)


def run(settings: Settings) -> int:
    """Print one page, or all, in the format asked for; with `--watch` again and again."""
    with Console(quiet=settings.quiet, verbose=settings.verbose) as console:
        query = _query(settings)
        return asyncio.run(_list(settings, query, open_api(settings, Clock(), console.warn), console))


def _query(settings: Settings) -> PageQuery:
    """The first page that the settings ask for.

    Raises:
        UsageError: the API cannot filter this list so.
    """
    source = Source(settings.list_source)
    if settings.status is not None and source in (Source.ASSETS, Source.CANVAS):
        raise UsageError(f"the API does not tell {SOURCE_WORDS[source]} by --status", hint="Leave it out.")
    if settings.technique_id is not None and source is not Source.TECHNIQUE_RUNS:
        hint = f"Give --source {Source.TECHNIQUE_RUNS} too."
        raise UsageError("--technique-id is for the list of technique runs", hint=hint)
    if source is Source.CANVAS and settings.project_id is None:
        raise UsageError("--source canvas needs --project-id", hint="There is a canvas for each project.")
    scope = Scope(settings.workspace_id, settings.project_id, source)
    return PageQuery(scope, settings.status, settings.cursor, settings.limit, settings.technique_id)


async def _list(settings: Settings, query: PageQuery, api: FloraApi, console: Console) -> int:
    is_terminal = sys.stdout.isatty()
    view = _View(
        query=query,
        shape=settings.format or ("table" if is_terminal else "json"),
        every=settings.all,
        is_redrawn=is_terminal and settings.watch is not None,
    )
    async with api:
        if settings.watch is None:
            return await _show(view, api, console, Clock())
        return await _watch(view, api, console, Clock(), settings.watch)


async def _watch(view: _View, api: FloraApi, console: Console, clock: Clock, every_s: float) -> int:
    """Show the list again and again until Ctrl-C. An API that cannot be reached may be back the next time."""
    while True:
        try:
            await _show(view, api, console, clock)
        except ApiUnavailableError as exc:
            console.error(exc)
        await clock.sleep(every_s)


async def _show(view: _View, api: FloraApi, console: Console, clock: Clock) -> int:
    bad_records, shown, is_first = 0, 0, True
    pages: list[Page] = []
    async for page in iter_run_pages(api, view.query, max_pages=None if view.every else 1):
        bad_records += len(page.bad_records)
        shown += len(page.generations)
        if view.is_redrawn:
            pages.append(page)  # the old answer stays on the screen until the new one is complete
        else:
            _print_page(page, view, clock.now_ms(), is_first=is_first)
        is_first = False
    if view.is_redrawn:
        _redraw(pages, view, clock.now_ms())
    elif view.shape == "table" and not shown:
        console.say(f"No such {view.query.words}.")
    if not shown and not bad_records and not view.is_redrawn and view.query.cursor is None:
        for problem in await unknown_places(api, [view.query.scope]):
            raise problem
    if page.next_cursor is not None and not view.every and not view.is_redrawn:
        console.say(f"There is more: --all, or --cursor {printable(page.next_cursor)}")
    if bad_records and view.shape != "json":
        console.warn(f"{bad_records} records could not be read; --format json shows them as they are")
        return int(Exit.INCOMPLETE)
    return int(Exit.OK)


def _redraw(pages: Sequence[Page], view: _View, now_ms: int) -> None:
    """Show an answer in place of the one before; a table is cut to the height of the terminal."""
    sys.stdout.write(_CLEAR)
    sys.stdout.flush()
    if view.shape != "table":
        for page in pages:
            _print_page(page, view, now_ms, is_first=False)
        return
    size = shutil.get_terminal_size()
    generations = [generation for page in pages for generation in page.generations]
    lines = list_lines(generations, size.columns, now_ms, source=view.source)
    room = max(2, size.lines - 1)
    if len(lines) > room:
        lines[room - 1 :] = [cut(f"… {len(lines) - room + 1} more", size.columns)]
    write_line("\n".join(lines if generations else [f"No such {view.query.words}."]).encode(errors="replace"))


def _print_page(page: Page, view: _View, now_ms: int, *, is_first: bool) -> None:
    if view.shape == "json":
        write_line(_for_stdout(page.body))
    elif view.shape == "jsonl":
        for generation in page.generations:
            write_line(_for_stdout(_one_line(generation.raw)))
    elif page.generations:
        width = shutil.get_terminal_size().columns
        for line in list_lines(page.generations, width, now_ms, source=view.source, with_head=is_first):
            write_line(line.encode(errors="replace"))


def _for_stdout(body: bytes) -> bytes:
    """JSON of the API: for a program as the API wrote it, for a terminal without anything that it obeys."""
    return escaped(body) if sys.stdout.isatty() else body


def _one_line(raw: bytes) -> bytes:
    """A record on one line, byte for byte as the API gave it unless it has line breaks between fields."""
    return raw if b"\n" not in raw and b"\r" not in raw else msgspec.json.format(raw, indent=-1)


def list_lines(
    items: Iterable[Generation],
    width: int,
    now_ms: int,
    *,
    source: Source = Source.GENERATIONS,
    with_head: bool = True,
) -> list[str]:
    """A list as a table that is at most `width` cells wide; ages are counted from `now_ms`, Unix ms."""
    rows = [_row(item, source, now_ms) for item in items]
    return table_lines(_COLUMNS[source], rows, width, with_head=with_head)


def _row(item: Generation, source: Source, now_ms: int) -> tuple[str, ...]:
    identifier = printable(item.run_id, limit=40)
    created = "" if item.created_at_ms is None else format_age((now_ms - item.created_at_ms) / 1000)
    if source is Source.CANVAS:
        return identifier, _kind(item), printable(item.name or "", limit=80)
    if source is Source.ASSETS:
        return created, *_asset_facts(item)
    model = item.model_id if source is Source.GENERATIONS else item.technique_name or item.technique_id
    is_at_work = item.progress is not None and item.status == Status.RUNNING
    return (
        created,
        printable(item.status, limit=20),
        f"{item.progress:.0f}%" if is_at_work else "",
        identifier,
        printable(model or "", limit=80),
        "" if item.outputs is None else str(len(item.outputs)),
        "" if item.charged_cost is None else f"${item.charged_cost:.3f}",
    )


def _asset_facts(asset: Generation) -> tuple[str, ...]:
    (file,) = asset.outputs or (None,)
    return (
        printable(_API_STATUS.get(asset.status, asset.status), limit=20),
        printable(asset.run_id, limit=40),
        printable(asset.name or "", limit=80),
        _kind(asset),
        "" if file is None or file.size_bytes is None else format_bytes(file.size_bytes),
    )


def _kind(item: Generation) -> str:
    """The type of an item's first file, in a word."""
    return printable(type_word(item.outputs[0].type) if item.outputs else "", limit=20)
