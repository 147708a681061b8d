"""The gallery's data as scripts: the bytes of a shelf's files and of `index.js`. Pure.

A page that is opened from disk may not read files, but it may load scripts. So each file is a script with one
call, `floradl.data(kind, name, JSON)`. The forms of the JSON are described in docs/format.md.

Everything in them comes from outside. The JSON is written so that it is also safe inside any script or page:
`<`, `>`, `&`, U+2028 and U+2029 are escaped, and all texts stand in arrays, so that none ever becomes the
name of a property.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from floradl.constants import Kind
from floradl.gallery.image_size import Size
from floradl.gallery.shelves import Shelf
from floradl.repository import layout
from floradl.repository.entries import OutputEntry, RunEntry, State

EXCERPT_CHARACTERS = 280
"""How much of a text stands in `list-…`, which the page loads for every shelf."""

TEXT_CHARACTERS = 8000
"""How much of a text the page can search and show; the whole text stands in the output's own file."""

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


@dataclass(frozen=True, slots=True)
class Appearance:
    """How an output looks: what the page shows of it that its entry does not say.

    Args:
        size: of a picture or film; None where it is unknown.
        has_thumbnail: whether the gallery has a small picture of it.
        text: the first `TEXT_CHARACTERS` of a text output.
        is_cut: whether the text goes on in its file.
        label: the label on its project's canvas, often the prompt; its first `TEXT_CHARACTERS`.
    """

    size: Size | None = None
    has_thumbnail: bool = False
    text: str = ""
    is_cut: bool = False
    label: str = ""


NOTHING = Appearance()
"""An output of which nothing is known but its entry."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A project's canvas, as the page links to it.

    Args:
        project_id: whose canvas it is.
        folder: its folder within the archive.
        files: names of the snapshots in it, the newest first.
    """

    project_id: str
    folder: str
    files: tuple[str, ...]


def thumbnail_name(sha256: str) -> str:
    """The name of an output's small picture, without extension: outputs with the same bytes share it."""
    return sha256[:32]


def list_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], appearances: Mapping[tuple[str, str], Appearance]
) -> bytes:
    """The file `list-…`: what the grid, the filters and the sorting need of a shelf's outputs.

    Args:
        shelf: the shelf.
        runs: the ids of its runs, in its order, with their entries.
        appearances: by run id and output key.
    """
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
                    _list_row(key, output, types[output.type], appearances.get((run_id, key), NOTHING))
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
    has_texts = any(_is_long(text) for each in appearances.values() for text in (each.text, each.label))
    lists = [folders, [*models], [*types], rows, int(has_texts), [list(pair) for pair in techniques]]
    return _script("list", shelf.name, lists)


def _folder(run_id: str, run: RunEntry) -> str | int:
    """A run's folder within its project's folder, or 0 where its name is the run's id.

    For an asset it is the path within the archive, with a `/` in front to tell the two apart.
    """
    if run.kind is Kind.RUN:
        name = layout.safe_name(run_id)
        return 0 if name == run_id else name
    return f"/{layout.item_place(run.kind, run.workspace_id, run.project_id, run_id)}"


def _list_row(key: str, output: OutputEntry, kind: int, appearance: Appearance) -> list[Any]:
    file = output.file or ""
    width, height = appearance.size or (0, 0)
    label = [appearance.label[:EXCERPT_CHARACTERS]] if appearance.label else []
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
        thumbnail_name(output.sha256) if appearance.has_thumbnail and output.sha256 else 0,
        appearance.text[:EXCERPT_CHARACTERS],
        *label,
    ]


def more_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], appearances: Mapping[tuple[str, str], Appearance]
) -> bytes:
    """The file `more-…`: what only the viewer shows, with runs and outputs in the order of `list-…`."""
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
                    int(appearances.get((run_id, key), NOTHING).is_cut),
                ]
                for key, output in run.outputs.items()
            ],
        ]
        for run_id, run in runs
    ]
    return _script("more", shelf.name, rows)


def text_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], appearances: Mapping[tuple[str, str], Appearance]
) -> bytes | None:
    """The file `text-…`: texts and labels that are longer than an excerpt; None where a shelf has none.

    A row is the number of the run, the number of its output, the text and the label. A text or label that
    is not longer than its excerpt in `list-…` is 0 here.
    """
    rows = [
        [
            run_number,
            number,
            appearance.text if _is_long(appearance.text) else 0,
            appearance.label if _is_long(appearance.label) else 0,
        ]
        for run_number, (run_id, run) in enumerate(runs)
        for number, key in enumerate(run.outputs)
        if _is_long((appearance := appearances.get((run_id, key), NOTHING)).text)
        or _is_long(appearance.label)
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
    """The file `index.js`, which the page loads first: all shelves and canvases, and the names of places.

    Args:
        archive_id: the archive's.
        updated_at: when the newest scan began; "" without any.
        shelves: in the order in which the page shows them.
        workspaces: their names by id.
        projects: their names by id.
        canvases: all canvases.
    """
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
    """Gives each value a number, in the order in which the values are first asked for."""

    def __missing__(self, value: object) -> int:
        self[value] = len(self)
        return self[value]
