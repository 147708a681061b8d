"""`floradl list`: the generation history at the command line, as the API gives it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

import msgspec

from floradl.api import FloraApi, Page, PageQuery
from floradl.clock import Clock, format_ms
from floradl.commands.context import open_api, write_line
from floradl.config import Settings
from floradl.errors import Exit, printable
from floradl.model import Generation, Scope
from floradl.progress import Console

_COLUMNS = ("created (UTC)", "status", "run", "model", "outputs", "cost")


def run(settings: Settings) -> int:
    """Print one page, or all, in the format asked for."""
    console = Console(quiet=settings.quiet, verbose=settings.verbose)
    return asyncio.run(_list(settings, open_api(settings, Clock(), console.warn), console))


async def _list(settings: Settings, api: FloraApi, console: Console) -> int:
    is_terminal = sys.stdout.isatty()
    shape = settings.format or ("table" if is_terminal else "json")
    query = PageQuery(
        Scope(settings.workspace_id, settings.project_id), settings.status, settings.cursor, settings.limit
    )
    bad_records, is_first = 0, True
    async with api:
        async for page in _iter_pages(api, query, every=settings.all):
            _print_page(page, shape, is_first=is_first)
            bad_records += len(page.bad_records)
            is_first = False
        if page.next_cursor is not None and not settings.all:
            console.say(f"There is more: --all, or --cursor {printable(page.next_cursor)}")
    if bad_records and shape != "json":
        console.warn(f"{bad_records} records could not be read; --format json shows them as they are")
        return int(Exit.INCOMPLETE)
    return int(Exit.OK)


async def _iter_pages(api: FloraApi, query: PageQuery, *, every: bool) -> AsyncGenerator[Page, None]:
    given: set[str] = set()
    while True:
        page = await api.page(query, given_cursors=given)
        yield page
        if page.next_cursor is None or not every:
            return
        given.add(page.next_cursor)
        query = replace(query, cursor=page.next_cursor)


def _print_page(page: Page, shape: str, *, is_first: bool) -> None:
    if shape == "json":
        write_line(page.body)
    elif shape == "jsonl":
        for generation in page.generations:
            write_line(_one_line(generation.raw))
    else:
        width = shutil.get_terminal_size().columns
        for line in table_lines(page.generations, width, with_head=is_first):
            write_line(line.encode())


def _one_line(raw: bytes) -> bytes:
    """A record on one line: as it is, or without the line breaks between its fields."""
    return raw if b"\n" not in raw and b"\r" not in raw else msgspec.json.format(raw, indent=-1)


def table_lines(generations: Iterable[Generation], width: int, *, with_head: bool) -> list[str]:
    """Generations as a table that is at most `width` columns wide; the model gives way first."""
    rows = [_COLUMNS] if with_head else []
    for generation in generations:
        moment = format_ms(generation.created_at_ms) if generation.created_at_ms else ""
        outputs = "" if generation.outputs is None else str(len(generation.outputs))
        cost = "" if generation.charged_cost is None else f"${generation.charged_cost:.3f}"
        status = generation.status
        if generation.progress is not None and status == "running":
            status = f"running {generation.progress:.0f}%"
        rows.append(
            (
                moment.replace("T", " ")[:16],
                printable(status, limit=12),
                printable(generation.run_id, limit=40),
                printable(generation.model_id or "", limit=60),
                outputs,
                cost,
            )
        )
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(len(_COLUMNS))]
    spare = width - sum(widths) - 2 * (len(widths) - 1)
    widths[3] = max(8, widths[3] + min(0, spare))
    return [
        "  ".join(_cell(text, size) for text, size in zip(row, widths, strict=True))[:width].rstrip()
        for row in rows
    ]


def _cell(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"
