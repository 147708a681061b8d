"""Paths: one safe place for every output, whatever the ids hold, on every system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.layout import is_output_of, item_path, output_name, partial_path, safe_name
from floradl.storage import base

DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} | {
    f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"
}
OUR_NAMES = [
    ".floradl", "manifest.json", "SHA256SUMS", "sha256sums", "index.html", "gallery", "run.json",
    "project.json", "workspace.json", "assets", "canvas.mmd", "MANIFEST.JSON", "Gallery",
]  # fmt: skip
NASTY = [
    "", ".", "..", "...", "/", "\\", "../../etc/passwd", "a/b", "a\\b", "C:", "C:\\x", "a:b", "~", "~root",
    "a.", "a..", "a ", " a", "a\0b", "\n", "\x7f", "\x1b[2J", "a|b", 'a"b', "a<b", "a>b", "a?b", "a*b", "-rf",
    "con", "CON", "con.png", "Con.Png", "nul.", "aux.tar.gz", "com1", "COM1.txt", "com¹", "lpt².x",
    "lpt9", "CONIN$", "\ud83d", "\ude00", "\ud83d\ude00", "\U0001f600", "\xe9", "e\u0301", "\ufb01", "\u017f",
    "s", "fi", "\xdf", "ss", "\u212a", "K", "k", "\u0130", "i\u0307", "I", "i", "\u0131", "\u212b", "\xc5",
    "A\u030a", "a\u200d", "\u202egnp.exe", "\ufeffa", "x" * 80, "x" * 81, "X" * 80, "x" * 4000, "X" * 4000,
    "a~1", "A~1", "A~0", "a~~b", "aB~2", "run_aB", "run_Ab", "run_aB~u20", "a#2", "a%2F", "a%", *OUR_NAMES,
]  # fmt: skip
CHARACTERS = st.characters(codec=None) | st.sampled_from(
    "./\\:~ #aAbB\xe9\xc9\u0130\u0131\u017f\xdf\u212a\u212b\0\n\ud800\udfff"
)
RANDOM_IDS = st.text(CHARACTERS, max_size=40)
IDS = st.one_of(st.sampled_from(NASTY), RANDOM_IDS)
ORDINARY = st.builds(
    lambda kind, rest: f"{kind}_{rest}",
    st.sampled_from(["ws", "prj", "run", "output", "full-1"]),
    st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=40),
)


WAYS: list[Callable[[str], str]] = [
    str.lower, str.upper, str.swapcase, str.casefold, str.title, str.strip, safe_name,
    lambda s: s + ".", lambda s: s + " ", lambda s: s * 200, lambda s: s + s[-1:], lambda s: s[:24],
    partial(unicodedata.normalize, "NFC"), partial(unicodedata.normalize, "NFD"),
    partial(unicodedata.normalize, "NFKC"), partial(unicodedata.normalize, "NFKD"),
    lambda s: s.encode("utf-8", "surrogatepass").decode("latin-1"),
    lambda s: s.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"),
]  # fmt: skip


@st.composite
def look_alikes(draw: st.DrawFn) -> tuple[str, str]:
    """An id and one that is easily taken for it: another case or Unicode form, or one character more."""
    one = draw(IDS)
    return one, draw(st.sampled_from(WAYS))(one)


def seen_by_any_system(path: str) -> set[str]:
    """What file systems that ignore case or Unicode form make of a name."""
    forms = {unicodedata.normalize(form, path) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    return {path} | {unicodedata.normalize("NFC", form.casefold()) for form in forms | {path}}


def assert_valid_everywhere(component: str) -> None:
    """Fail unless Linux, macOS and Windows all take this as one name."""
    assert 0 < len(component.encode()) <= 120
    assert re.fullmatch(r"[A-Za-z0-9_.~-]+", component, re.ASCII)
    assert component[0] not in ".-"
    assert component[-1] not in ". "
    assert component.split(".")[0].upper() not in DEVICES


@given(st.tuples(IDS, IDS, IDS, IDS))
def test_every_component_is_valid_everywhere(ids: tuple[str, str, str, str]) -> None:
    """Whatever the ids are, the path has four names that every system accepts."""
    workspace, project, run, key = ids
    path = item_path(Kind.RUN, workspace, project, run) / output_name(key, ".png")
    assert len(path.parts) == 4
    assert not path.is_absolute()
    for component in path.parts:
        assert_valid_everywhere(component)
    assert layout.is_place(str(path))


@pytest.mark.parametrize("identifier", NASTY, ids=[ascii(text)[:30] for text in NASTY])
def test_nasty_ids_are_valid_everywhere(identifier: str) -> None:
    """Each of the known troublemakers becomes a valid name, the same one every time."""
    assert_valid_everywhere(safe_name(identifier))
    assert safe_name(identifier) == safe_name("".join(list(identifier)))


def test_nasty_ids_stay_apart() -> None:
    """No two of the known troublemakers share a name on any file system."""
    names = [seen_by_any_system(safe_name(text)) for text in dict.fromkeys(NASTY)]
    assert all(not one & other for one, other in combinations(names, 2))


@given(look_alikes())
@example(("run_aB", "run_aB~u20"))
@example(("\u0130", "i\u0307"))
def test_look_alikes_stay_apart(pair: tuple[str, str]) -> None:
    """Two ids share a name exactly when they are the same id, on every file system."""
    one, other = pair
    shared = seen_by_any_system(safe_name(one)) & seen_by_any_system(safe_name(other))
    assert bool(shared) == (one == other)


@given(st.tuples(IDS, IDS, IDS, IDS), st.tuples(IDS, IDS, IDS, IDS))
def test_distinct_outputs_have_distinct_paths(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Outputs that differ in any id differ in their path, also where case and Unicode form are ignored."""
    paths = [
        item_path(Kind.RUN, workspace, project, run) / output_name(key, ".png")
        for workspace, project, run, key in (one, other)
    ]
    shared = seen_by_any_system(str(paths[0])) & seen_by_any_system(str(paths[1]))
    assert bool(shared) == (one == other)


@given(st.permutations(["a", "b", "c"]), st.sampled_from(["a/b", "b/c", "", "a"]))
def test_ids_do_not_flow_into_each_other(ids: list[str], glued: str) -> None:
    """Moving characters from one id to the next gives another path."""
    workspace, project, run = ids
    assert (
        item_path(Kind.RUN, workspace, project, run) != item_path(Kind.RUN, glued, project, run)
        or glued == workspace
    )


@given(IDS, st.sampled_from([".png", ".json", ".txt", ".html", ".bin"]))
def test_no_id_takes_a_name_of_the_archive(identifier: str, extension: str) -> None:
    """Neither a folder nor a file of an output ever stands where the archive has its own."""
    ours = {name.casefold() for name in OUR_NAMES}
    assert safe_name(identifier).casefold() not in ours
    assert output_name(identifier, extension).casefold() not in ours


@pytest.mark.parametrize("name", [*OUR_NAMES, "run", "manifest", "index", "project", "workspace", "canvas"])
def test_names_of_the_archive_are_left_to_it(name: str) -> None:
    """An id that is called like one of the archive's files gets another name, with any extension."""
    ours = {own.casefold() for own in OUR_NAMES}
    assert safe_name(name).casefold() not in ours
    for extension in (".json", ".html", ".mmd", ".png"):
        assert output_name(name, extension).casefold() not in ours


@given(ORDINARY)
def test_ordinary_ids_stay_as_they_are(identifier: str) -> None:
    """People find their runs by the ids that FLORA shows."""
    assert safe_name(identifier) == identifier


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("ws_abc", "ws_abc"),
        ("output_1", "output_1"),
        ("full-1", "full-1"),
        ("top-detail-2", "top-detail-2"),
        ("a.b", "a.b"),
        ("_", "_"),
        ("0", "0"),
        ("x" * 80, "x" * 80),
        ("run_aB", "run_aB~u20"),
        ("A", "A~u1"),
        ("X" * 80, "X" * 80 + "~u" + "f" * 20),
        ("ABCabc", "ABCabc~u7"),
        ("", "_~~4oymiquy7qobjgx36tejs35zeq"),
        ("..", "_~~l3a7pzya6n6d2czjqhieqvp4gq"),
        ("output_1#2", "output_1-2~~d4pmyjtu3qjxepz66jl4dumkfq"),
        ("CON", "con~~upn4jnsevgrmkhtukco62xcgzq"),
    ],
)  # fmt: skip
def test_names_never_change(identifier: str, name: str) -> None:
    """A name given once is given for ever: archives that exist depend on it."""
    assert safe_name(identifier) == name


@pytest.mark.parametrize(
    ("run_id", "key", "name"),
    [
        ("run_a", "output_1", "66k246ieefegbz6zkfudidbq2nlnrmqf.part"),
        ("", "", "xj3iwmy73bwozab34bhfnkzlhvga5ghp.part"),
        ("run\ud83d", "../x", "v5rnw4xhk5jzxkbfxe3galjxd4kvvvwk.part"),
    ],
)
def test_names_of_partials_never_change(run_id: str, key: str, name: str) -> None:
    """A partial that an older floradl left is found again."""
    assert partial_path(run_id, key) == base.PARTIALS / name


def test_folders_never_change() -> None:
    """A whole folder, each of its ids of another kind, stays where it was."""
    assert (
        str(item_path(Kind.RUN, "WS_A", "..", "run_\xe9"))
        == "WS_A~ub/_~~l3a7pzya6n6d2czjqhieqvp4gq/run_~~aexqdncmbunuttli6aayicjtpa"
    )


@pytest.mark.parametrize("identifier", ["x" * 81, "con", "run", "\xe9", "a b", "-a", ".a", "a.", "a~1"])
def test_other_ids_are_hashed_and_still_readable(identifier: str) -> None:
    """What is not ordinary shows a short rest of itself and 26 characters that tell it from all others."""
    assert re.fullmatch(r"[a-z0-9_-]{1,24}~~[a-z2-7]{26}", safe_name(identifier))


@given(IDS, IDS, IDS)
def test_records_of_places_are_where_no_run_is(workspace: str, project: str, run: str) -> None:
    """The records of a project and a workspace lie beside the runs' folders and are told by their places."""
    record, above = layout.project_record(workspace, project), layout.workspace_record(workspace)
    folder = item_path(Kind.RUN, workspace, project, run)
    assert record.parent == folder.parent
    assert above.parent == folder.parent.parent
    assert record != folder
    assert above != folder.parent
    assert layout.is_name_record(str(record))
    assert layout.is_name_record(str(above))
    assert not layout.is_name_record(str(folder))
    assert not layout.is_name_record(str(folder / "project.json"))
    assert not layout.is_name_record("workspace.json")


def test_documented_example() -> None:
    """The tree looks as the documentation draws it."""
    folder = item_path(Kind.RUN, "ws_abc", "prj_def", "run_ghi")
    assert folder == PurePosixPath("ws_abc/prj_def/run_ghi")
    assert folder / layout.RUN_RECORD == PurePosixPath("ws_abc/prj_def/run_ghi/run.json")
    assert output_name("output_1", ".png") == "output_1.png"


@given(IDS, IDS, st.sampled_from([".png", ".txt", ".gz", ".b"]))
def test_a_file_is_of_its_output_alone(key: str, other: str, extension: str) -> None:
    """A file is recognised as its own output's, and as no other's."""
    assert is_output_of(output_name(key, extension), key)
    assert is_output_of(output_name(key, extension), other) == (key == other)


@pytest.mark.parametrize(
    ("name", "is_its"),
    [
        ("output_1.png", True),
        ("output_1.webp", True),
        ("output_1", False),
        ("output_10.png", False),
        ("output_1.png.part", False),
        ("Output_1.png", False),
        ("run.json", False),
        ("", False),
    ],
)
def test_is_output_of(name: str, is_its: bool) -> None:
    """Only `<output_id><extension>` is a file of the output."""
    assert is_output_of(name, "output_1") is is_its


@given(st.tuples(IDS, IDS), st.tuples(IDS, IDS))
@example(("a", "bc"), ("ab", "c"))
@example(("1:a", "b"), ("a", "b"))
@example(("run", "\ud83d\ude00"), ("run", "\U0001f600"))
def test_partials_are_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Each (run, output) has a partial of its own, in the private folder, the same every time."""
    path = partial_path(*one)
    assert (path == partial_path(*other)) == (one == other)
    assert path == partial_path(*one)
    assert path.parent == base.PARTIALS
    assert re.fullmatch(r"[a-z2-7]{32}\.part", path.name)


@given(st.text(alphabet="ABab01_", min_size=1, max_size=8))
def test_no_name_looks_like_a_short_name_of_windows(identifier: str) -> None:
    """NTFS may give OUTPUT~1 to another file of the folder; no id is ever called so."""
    assert not re.search(r"~\d+$", safe_name(identifier))


@given(st.text(max_size=90))
def test_an_id_is_told_from_its_name_where_it_can_be(identifier: str) -> None:
    """From the name of an ordinary id comes the id; from a hash nothing, and never another id."""
    name = safe_name(identifier)
    assert layout.identifier_of(name) == (None if "~~" in name else identifier)


@pytest.mark.parametrize("name", ["run_a~u1", "A", "..", "run~", "con", "a b", "run_aB~u10"])
def test_a_name_that_no_id_has(name: str) -> None:
    """What stands in a folder need not have been made here."""
    assert layout.identifier_of(name) is None


@given(st.text(max_size=90), st.text(max_size=90), st.text(max_size=90), st.text(max_size=90))
def test_flat_names_are_apart(run_id: str, key: str, other_run: str, other_key: str) -> None:
    """In one folder of files no two outputs share a name."""
    one = f"{layout.flat_prefix(Kind.RUN, run_id)}{output_name(key, '.png')}"
    other = f"{layout.flat_prefix(Kind.RUN, other_run)}{output_name(other_key, '.png')}"
    assert (one == other) is ((run_id, key) == (other_run, other_key))


@given(st.text(max_size=90), st.text(max_size=90), st.text(max_size=90), st.text(max_size=90))
def test_flat_names_of_other_kinds_are_apart(
    asset_id: str, other_asset: str, identifier: str, key: str
) -> None:
    """An upload bears its own id, which no other's file does, nor that of a run or a canvas."""
    name = f"{layout.flat_prefix(Kind.ASSET, asset_id)}{output_name(asset_id, '.png')}"
    other = f"{layout.flat_prefix(Kind.ASSET, other_asset)}{output_name(other_asset, '.png')}"
    assert (name.casefold() == other.casefold()) is (asset_id == other_asset)
    for kind in (Kind.RUN, Kind.CANVAS):
        assert name != f"{layout.flat_prefix(kind, identifier)}{output_name(key, '.png')}"


@pytest.mark.parametrize(
    ("name", "snapshot"),
    [
        ("20261126t023000z-canvas.mmd", ("20261126t023000z-canvas", "canvas")),
        ("20261126t023000z-nodes.json", ("20261126t023000z-nodes", "nodes")),
        ("20261126t023000z-nodes.mmd", None),
        ("20261126t023000z-canvas.json", None),
        ("20261126t023000z-other.json", None),
        ("20261126T023000Z-canvas.mmd", None),
        ("2026112t023000z-canvas.mmd", None),
        ("20261126t023000z-canvas.mmd.bak", None),
        ("run.json", None),
    ],
)
def test_names_of_snapshots(name: str, snapshot: tuple[str, str] | None) -> None:
    """A snapshot is told by its name alone, which says when it was taken and of what."""
    assert layout.snapshot_of(name) == snapshot
    if snapshot is not None:
        assert output_name(snapshot[0], layout.SNAPSHOTS[snapshot[1]]) == name
        assert layout.is_output_of(name, snapshot[0])


@pytest.mark.parametrize("name", sorted(layout.OWN_NAMES))
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_no_id_takes_the_name_of_the_archives_own_files(name: str, change: Callable[[str], str]) -> None:
    """Neither a folder nor a file of an output gets one of them, also where case is ignored."""
    own = {each.lower() for each in layout.OWN_NAMES}
    stem, dot, suffix = change(name).rpartition(".")
    for identifier in (change(name), stem or name, stem.lower() or name):
        assert layout.safe_name(identifier).lower() not in own
        extension = f".{suffix.lower()}" if dot else ".json"
        file = layout.output_name(identifier, extension)
        assert file.lower() not in own
        assert layout.is_output_of(file, identifier)
    assert not layout.is_output_of(name, stem or name)


def test_an_asset_named_asset() -> None:
    """Only the name of its record is kept from it; a picture bears the name that it always had."""
    assert layout.output_name("asset", ".png") == "asset.png"
    assert layout.is_output_of("asset.png", "asset")
    file = layout.output_name("asset", ".json")
    assert file.startswith("asset~~")
    assert layout.is_output_of(file, "asset")
