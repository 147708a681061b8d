"""The gallery's data: which runs stand in which file, and what the files say. Pure.

A page that is opened from disk may not read files; it may load scripts. So the data are scripts, each a call
with one JSON literal. They are cut by time into *shelves* of some thousand outputs, so that a night's work
changes one or two of them:

- A shelf is a month (UTC) of `created_at`, `202603`; one that holds more than `MAX_OUTPUTS` is halved in
  time, again and again: `202603a`, `202603bb`. Runs without a date are on `undated`, halved by their ids.
- A shelf's files are named after it and a digest of all they are made from (`Shelf.name`). A file that is
  there under its name needs no writing, and is never changed.
- Of each shelf there are up to three: `list-…` has what the grid, filters and sorting need, `more-…` what the
  viewer shows beside that, `text-…` the texts that are longer than an excerpt.

Everything in them comes from outside. JSON is written so that it is also a script, in any page: without `<`,
`>`, `&`, U+2028 and U+2029; and in arrays, so that no text is ever the name of a property.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from floradl.clock import MAX_MS
from floradl.constants import Kind
from floradl.gallery.image_size import Size
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State

MAX_OUTPUTS = 2000
EXCERPT_CHARACTERS = 280
TEXT_CHARACTERS = 8000
"""How much of a text the page holds to search in and to show; all of it is in its file."""

_FORM = b"4"
"""Part of every name: another form of the files gives other names."""

_UNDATED = "undated"
_COUNTED = 200
_DIGITS = re.compile(r"([0-9]{1,18})")
_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


@dataclass(frozen=True, slots=True)
class Looks:
    """What an output looks like, beside its entry.

    Args:
        size: of a picture or film.
        has_thumbnail: whether a small picture of it is in the gallery.
        text: of a text output, its first `TEXT_CHARACTERS`.
        is_cut: whether its file has more of it.
        label: what its project's canvas says of it, often the prompt; its first `TEXT_CHARACTERS`.
    """

    size: Size | None = None
    has_thumbnail: bool = False
    text: str = ""
    is_cut: bool = False
    label: str = ""


NOTHING = Looks()


@dataclass(frozen=True, slots=True)
class Shelf:
    """Some runs that stand in the same files, the newest first."""

    name: str
    run_ids: tuple[str, ...]
    outputs: int


@dataclass(frozen=True, slots=True)
class Canvas:
    """A project's canvas, as far as the page tells of it: where its folder is, and what is in that."""

    project_id: str
    folder: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """A run or an asset as far as its shelf depends on it."""

    run_id: str
    created_at: int | None
    outputs: int


@dataclass(frozen=True, slots=True)
class _Span:
    """Runs with a place each on a line between two ends, and what they are called together."""

    name: str
    start: int
    end: int
    runs: list[tuple[int, Counted]]


def shelves_of(
    runs: Iterable[Counted], digest_of: Callable[[Sequence[str]], str], max_outputs: int = MAX_OUTPUTS
) -> list[Shelf]:
    """All runs on their shelves, the newest first, those without a date last.

    Args:
        runs: in any order.
        digest_of: tells the state of some runs, by their ids.
        max_outputs: how many make a shelf too long.
    """
    found = [piece for span in _months(runs) for piece in _halved(span, max_outputs)]
    found.sort(key=lambda span: (span.name.startswith(_UNDATED), -span.start))
    return [_shelf(span, digest_of) for span in found]


def _months(runs: Iterable[Counted]) -> Iterable[_Span]:
    spans: dict[str, _Span] = {}
    for run in runs:
        if run.created_at is None or not 0 <= run.created_at <= MAX_MS:
            span = spans.setdefault(_UNDATED, _Span(_UNDATED, 0, 1 << 32, []))
            span.runs.append((zlib.crc32(run.run_id.encode("utf-8", "surrogatepass")), run))
            continue
        moment = datetime.fromtimestamp(run.created_at // 1000, UTC)
        name = f"{moment.year:04}{moment.month:02}"
        if name not in spans:
            spans[name] = _Span(name, _month_ms(moment.year, moment.month), _month_end_ms(moment), [])
        spans[name].runs.append((run.created_at, run))
    return spans.values()


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


def _month_end_ms(moment: datetime) -> int:
    if (moment.year, moment.month) == (9999, 12):
        return MAX_MS + 1
    return _month_ms(moment.year + moment.month // 12, moment.month % 12 + 1)


def _halved(span: _Span, max_outputs: int) -> Iterator[_Span]:
    outputs = sum(run.outputs for _, run in span.runs)
    if not span.runs:
        return
    if outputs <= max_outputs or len(span.runs) == 1 or span.end - span.start < 2:
        yield span
        return
    middle = (span.start + span.end) // 2
    early = [item for item in span.runs if item[0] < middle]
    late = [item for item in span.runs if item[0] >= middle]
    yield from _halved(_Span(f"{span.name}a", span.start, middle, early), max_outputs)
    yield from _halved(_Span(f"{span.name}b", middle, span.end, late), max_outputs)


def _shelf(span: _Span, digest_of: Callable[[Sequence[str]], str]) -> Shelf:
    ordered = sorted(span.runs, key=lambda item: (item[1].created_at or 0, item[1].run_id), reverse=True)
    run_ids = tuple(run.run_id for _, run in ordered)
    outputs = sum(run.outputs for _, run in ordered)
    return Shelf(f"{span.name}-{digest_of(run_ids)}", run_ids, outputs)


def digest(maker: str, entries: Iterable[tuple[str, bytes | msgspec.Raw]]) -> str:
    """What a shelf's files are made from, in 20 digits.

    Args:
        maker: what else decides what is in them.
        entries: ids of runs with their entries as they are stored.
    """
    state = hashlib.blake2b(_FORM + maker.encode(), digest_size=10)
    for run_id, entry in entries:
        state.update(run_id.encode("utf-8", "surrogatepass"))
        state.update(entry)
    return state.hexdigest()


def in_order(run: RunEntry) -> RunEntry:
    """A run with its outputs by key, as people count: `output_2` before `output_10`.

    The manifest has them in the order in which they came.
    """
    outputs = dict(sorted(run.outputs.items(), key=lambda item: _counting(item[0])))
    return msgspec.structs.replace(run, outputs=outputs)


def _counting(key: str) -> list[tuple[int, str]]:
    """What a key is sorted by: its texts, and its numbers by their values."""
    return [(int(part) if part.isdecimal() else -1, part) for part in _DIGITS.split(key[:_COUNTED])]


def thumbnail_name(sha256: str) -> str:
    """The name, without its extension, of an output's small picture: the same bytes have the same one."""
    return sha256[:32]


def list_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Looks]
) -> bytes:
    """What the grid needs of a shelf; docs/format.md has it."""
    places, models, types, techniques = _Numbers(), _Numbers(), _Numbers(), _Numbers()
    rows = []
    for run_id, run in runs:
        technique = (run.technique_id or run.technique_name or "", run.technique_name or "")
        rows.append(
            [
                run_id,
                _folder(run_id, run),
                places[run.workspace_id, run.project_id],
                -1 if run.model_id is None else models[run.model_id],
                run.created_at,
                run.charged_cost,
                int(run.vanished_at is not None),
                [
                    _list_row(key, output, types[output.type], looks.get((run_id, key), NOTHING))
                    for key, output in run.outputs.items()
                ],
                int(run.kind is Kind.ASSET),
                techniques[technique] if any(technique) else -1,
                run.name or 0,
            ]
        )
    folders = [
        [workspace_id, project_id, str(layout.project_record(workspace_id, project_id).parent)]
        for workspace_id, project_id in places
    ]
    has_texts = any(_is_long(text) for look in looks.values() for text in (look.text, look.label))
    lists = [folders, [*models], [*types], rows, int(has_texts), [list(pair) for pair in techniques]]
    return _script("list", shelf.name, lists)


def _folder(run_id: str, run: RunEntry) -> str | int:
    """A run's folder within its project's, 0 where that is called as the run; an asset's, with `/` first."""
    if run.kind is Kind.RUN:
        name = layout.safe_name(run_id)
        return 0 if name == run_id else name
    return f"/{layout.item_place(run.kind, run.workspace_id, run.project_id, run_id)}"


def _list_row(key: str, output: OutputEntry, kind: int, looks: Looks) -> list[Any]:
    file = output.file or ""
    width, height = looks.size or (0, 0)
    label = [looks.label[:EXCERPT_CHARACTERS]] if looks.label else []
    if output.state != State.ARCHIVED:
        note = output.error.code if output.error else "unknown"
        return [key, kind, 1, "", 0, 0, 0, 0, note, *label]
    return [
        key,
        kind,
        0,
        file.removeprefix(key) if file.startswith(f"{key}.") else f"/{file}",
        output.size_bytes or 0,
        width,
        height,
        thumbnail_name(output.sha256) if looks.has_thumbnail and output.sha256 else 0,
        looks.text[:EXCERPT_CHARACTERS],
        *label,
    ]


def more_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Looks]
) -> bytes:
    """What the viewer shows beside that, in the same order."""
    rows = [
        [
            run.completed_at,
            run.vanished_at,
            [
                [
                    output.sha256,
                    output.content_type,
                    output.url,
                    output.archived_at,
                    output.attempts,
                    output.error.message if output.error else None,
                    output.error.at if output.error else None,
                    int(looks.get((run_id, key), NOTHING).is_cut),
                ]
                for key, output in run.outputs.items()
            ],
        ]
        for run_id, run in runs
    ]
    return _script("more", shelf.name, rows)


def text_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Looks]
) -> bytes | None:
    """The texts and labels that are longer than an excerpt, by the numbers of run and output; None without.

    What is not longer is 0.
    """
    rows = [
        [
            run_number,
            number,
            look.text if _is_long(look.text) else 0,
            look.label if _is_long(look.label) else 0,
        ]
        for run_number, (run_id, run) in enumerate(runs)
        for number, key in enumerate(run.outputs)
        if _is_long((look := looks.get((run_id, key), NOTHING)).text) or _is_long(look.label)
    ]
    return _script("text", shelf.name, rows) if rows else None


def index_script(
    archive_id: str,
    updated_at: str,
    shelves: Iterable[Shelf],
    workspaces: Mapping[str, str],
    projects: Mapping[str, str],
    canvases: Iterable[Canvas] = (),
) -> bytes:
    """What the page loads first: which shelves and canvases there are, and what places are called."""
    rows = [[shelf.name, shelf.outputs, len(shelf.run_ids)] for shelf in shelves]
    return _script(
        "index",
        archive_id,
        [
            updated_at,
            rows,
            [list(pair) for pair in workspaces.items()],
            [*map(list, projects.items())],
            [[canvas.project_id, canvas.folder, canvas.files] for canvas in canvases],
        ],
    )


def _is_long(text: str) -> bool:
    return len(text) > EXCERPT_CHARACTERS


def _script(kind: str, name: str, value: object) -> bytes:
    data = msgspec.json.encode(value)
    for character, escape in _ESCAPES:
        data = data.replace(character, escape)
    return b'floradl.data("%s","%s",%s);\n' % (kind.encode(), name.encode(), data)


class _Numbers(dict[Any, int]):
    """Numbers values in the order in which they are asked for."""

    def __missing__(self, value: object) -> int:
        self[value] = len(self)
        return self[value]
