"""The gallery's data as scripts."""

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
TEXT_CHARACTERS = 8000
"""How much of a text the page holds to search in and to show; all of it is in its file."""

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


@dataclass(frozen=True, slots=True)
class Appearance:
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


NOTHING = Appearance()


@dataclass(frozen=True, slots=True)
class Canvas:
    """A project's canvas, as far as the page tells of it: where its folder is, and what is in that."""

    project_id: str
    folder: str
    files: tuple[str, ...]


def thumbnail_name(sha256: str) -> str:
    """The name, without its extension, of an output's small picture: the same bytes have the same one."""
    return sha256[:32]


def list_script(
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Appearance]
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


def _list_row(key: str, output: OutputEntry, kind: int, looks: Appearance) -> list[Any]:
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
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Appearance]
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
    shelf: Shelf, runs: Sequence[tuple[str, RunEntry]], looks: Mapping[tuple[str, str], Appearance]
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
