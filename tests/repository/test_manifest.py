"""The state of an archive in memory: what it holds, what survives in it, and the bytes that it makes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floradl.api.models import EVERYTHING, Scope
from floradl.constants import Kind
from floradl.errors import Exit, ManifestError
from floradl.repository.entries import (
    JournalHeader,
    LabelsOp,
    Op,
    OutputEntry,
    OutputOp,
    RunEntry,
    RunFacts,
    RunOp,
    ScanOp,
    SourcesOp,
    State,
    VanishedOp,
)
from floradl.repository.manifest import Manifest
from tests.repository.manifest_support import (
    ARCHIVED,
    BASE_URL,
    FAILED,
    SUM,
    changed,
    checksums,
    encoded,
    facts,
    fed,
    recorded,
    scan_op,
    snapshot,
    told,
)
from tests.repository.test_journal import OPS

# ---------------------------------------------------------------------------------------------- in memory


def test_what_numbers_need() -> None:
    """Every run is counted once, changed just now or stored before, with what its outputs come to."""
    manifest = Manifest.parse(encoded(fed(*recorded("run_1"), *recorded("run_2", entry=FAILED))))
    manifest.apply(RunOp("run_2", facts("run_2", cost=0.5)))
    manifest.apply(VanishedOp("run_2", "then"))
    (one, first), (two, second) = manifest.iter_counted()
    assert (one, first.charged_cost, first.vanished_at) == ("run_1", None, None)
    assert first.outputs["output_1"].size_bytes == ARCHIVED.size_bytes
    assert (two, second.charged_cost, second.vanished_at) == ("run_2", 0.5, "then")
    assert second.outputs["output_1"].error == FAILED.error


def test_an_entry_as_it_is_stored() -> None:
    """The same bytes for as long as nothing of the run changes, just recorded or read again; others after."""
    manifest = fed(*recorded("run_1"), *recorded("run_2"))
    before = bytes(manifest.stored("run_1"))
    assert bytes(Manifest.parse(encoded(manifest)).stored("run_1")) == before
    manifest.apply(VanishedOp("run_2", "then"))
    assert bytes(manifest.stored("run_1")) == before
    manifest.apply(VanishedOp("run_1", "then"))
    assert bytes(manifest.stored("run_1")) != before


KINDS = {
    "asset_1": (Kind.ASSET, "ws_a/_workspace/assets/asset_1"),
    "prj_b": (Kind.CANVAS, "ws_a/prj_b/canvas"),
}


def of_kinds() -> list[Op]:
    """A run, an asset of no project and a canvas, each with one output, recorded in this order."""
    ops = recorded("run_1")
    for name, (kind, place) in KINDS.items():
        project_id = "" if kind is Kind.ASSET else "prj_b"
        its = RunFacts("ws_a", project_id, place, None, 1, None, None, "", kind=kind, name="logo.png")
        ops += [RunOp(name, its), OutputOp(name, name, msgspec.structs.replace(ARCHIVED, file=f"{name}.png"))]
        ops.append(SourcesOp(name, ("assets",)))
    return ops


def test_kinds_have_tables_of_their_own() -> None:
    """Assets and canvases do not stand among the runs, and come back from their tables as what they are."""
    manifest = fed(*of_kinds())
    tables = told(manifest)
    ids = [list(tables[name]) for name in ("runs", "assets", "canvases")]
    assert ids == [["run_1"], ["asset_1"], ["prj_b"]]
    again = Manifest.parse(encoded(manifest))
    assert told(again) == tables
    for state in (manifest, again):
        assert [state.kind(name) for name in ("run_1", "asset_1", "prj_b", "x")] == [
            Kind.RUN, Kind.ASSET, Kind.CANVAS, Kind.RUN,
        ]  # fmt: skip
        assert [state.count(kind) for kind in Kind] == [1, 1, 1]
        assert [entry.kind for _, entry in state.iter_entries()] == list(Kind)
        assert [[name for name, _ in state.iter_entries(kind)] for kind in Kind] == ids
        assert state.entry("asset_1").name == "logo.png"
        assert checksums(state).splitlines() == [
            f"{SUM}  ws_a/prj_b/run_1/output_1.png",
            f"{SUM}  ws_a/_workspace/assets/asset_1/asset_1.png",
            f"{SUM}  ws_a/prj_b/canvas/prj_b.png",
        ]


def test_one_id_for_two_things_is_refused() -> None:
    """A manifest in which a run and an asset have one id is not read: nobody knows which was meant."""
    tables: dict[str, Any] = {"runs": {"x": {}}, "assets": {"x": {}}}
    with pytest.raises(ManifestError, match="two things"):
        Manifest.parse(snapshot(**tables))


def test_an_entry_put_from_elsewhere_keeps_its_kind() -> None:
    """Taken over from another manifest, an asset goes to the table of assets; a broken entry to the runs."""
    source, manifest = fed(*of_kinds()), fed()
    manifest.put("asset_1", source.stored("asset_1"))
    manifest.put("broken", msgspec.Raw(b'{"kind": 5}'))
    assert (manifest.kind("asset_1"), manifest.kind("broken")) == (Kind.ASSET, Kind.RUN)
    manifest.put("asset_1", msgspec.Raw(b'{"kind": "asset"}'))
    assert manifest.drop_unreadable() == ["asset_1", "broken"]
    assert (manifest.count(Kind.ASSET), manifest.count(Kind.RUN)) == (0, 0)


def test_which_lists_have_a_run() -> None:
    """Without a word about it a run is one of `generations`, as all runs of version 1 are."""
    manifest = fed(*recorded("run_1"))
    assert manifest.entry("run_1").sources == ("generations",)
    manifest.apply(SourcesOp("run_1", ("generations", "technique-runs")))
    manifest.apply(RunOp("run_1", facts("run_1")))
    assert Manifest.parse(encoded(manifest)).entry("run_1").sources == ("generations", "technique-runs")


def test_what_a_canvas_says_of_a_run_is_told_by_its_hash() -> None:
    """New labels change the stored entry, by which the gallery knows; new facts leave them; the sums stay."""
    manifest = Manifest.parse(encoded(fed(*recorded("run_1"))))
    before = bytes(manifest.stored("run_1"))
    assert manifest.entry("run_1").labels_sha256 is None
    manifest.apply(LabelsOp("run_1", "cd" * 32))
    assert bytes(manifest.stored("run_1")) != before
    manifest.apply(RunOp("run_1", facts("run_1")))
    again = Manifest.parse(encoded(manifest))
    assert again.entry("run_1").labels_sha256 == "cd" * 32
    assert again.entry("run_1").outputs == {"output_1": ARCHIVED}
    assert not manifest.has_changed_files
    assert manifest.changed_runs == {"run_1"}


def test_new_facts_take_the_place_of_all_old_ones() -> None:
    """What a record does not say any more is not kept from the one before; outputs and other keys stay."""
    manifest = fed(*recorded("run_1"))
    named = msgspec.structs.replace(
        facts("run_1"), technique_id="tech_1", technique_name="Relight", output_count=3
    )
    manifest.apply(RunOp("run_1", named))
    assert manifest.entry("run_1").technique_name == "Relight"
    manifest.apply(RunOp("run_1", facts("run_1")))
    entry = manifest.entry("run_1")
    assert (entry.technique_id, entry.technique_name, entry.output_count) == (None, None, None)
    assert entry.outputs == {"output_1": ARCHIVED}


def test_an_older_manifest_is_read_and_written_as_this_version() -> None:
    """What version 1 had is all there, and says that it is version 2 from then on."""
    manifest = Manifest.parse(snapshot(runs={"run_1": {"workspace_id": "ws_a"}}, note="x"))
    assert told(manifest)["version"] == 2
    assert told(manifest)["note"] == "x"
    assert told(manifest)["runs"] == {"run_1": {"workspace_id": "ws_a"}}


def test_a_closed_list_is_open_again_with_its_next_scan() -> None:
    """Since when a list is refused stands in its scan's entry, and not in that of a scan that came after."""
    before = scan_op()
    closed = ScanOp(msgspec.structs.replace(before.scan, refused_at="2026-11-23T02:30:00Z"))
    manifest = Manifest.parse(encoded(fed(before, closed)))
    assert [scan.refused_at for scan in manifest.scans()] == ["2026-11-23T02:30:00Z"]
    manifest.apply(before)
    assert [scan.refused_at for scan in manifest.scans()] == [None]
    assert "refused_at" not in told(manifest)["scans"][0]


def test_all_scans() -> None:
    """The scans of all scopes are told, each with its last."""
    manifest = fed(scan_op(), scan_op(7), scan_op(9, None))
    assert [(scan.scope.project_id, scan.sealed_before) for scan in manifest.scans()] == [
        ("prj_b", 7),
        (None, 9),
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(OPS, max_size=12))
def test_twice_is_once(ops: list[Op]) -> None:
    """A change made twice in a row, and a journal replayed over what it was folded into, change nothing."""
    once = told(fed(*ops))
    assert told(fed(*(op for op in ops for _ in range(2)))) == once
    folded = Manifest.parse(encoded(fed(*ops)))
    for op in ops:
        folded.apply(op)
    assert told(folded) == once


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(OPS, max_size=12), st.integers(0, 12))
def test_a_fold_in_between_changes_nothing(ops: list[Op], cut: int) -> None:
    """Written and read at any moment, the manifest goes on as if nothing had happened."""
    folded = Manifest.parse(encoded(fed(*ops[:cut])))
    assert told(folded) == told(fed(*ops[:cut]))
    for op in ops[cut:]:
        folded.apply(op)
    assert told(folded) == told(fed(*ops))


def test_the_documented_example() -> None:
    """The snapshot has the fields that the documentation shows, and absent ones are not written."""
    manifest = fed(*recorded(), OutputOp("run_1", "output_2", FAILED), scan_op(record=b'{"a": 1.0}'))
    assert told(manifest) == {
        "format": "floradl-manifest",
        "version": 2,
        "archive_id": "9f0c",
        "created_at": "2026-11-23T02:30:00Z",
        "updated_at": "then",
        "generator": told(manifest)["generator"],
        "base_url": BASE_URL,
        "scans": [
            {
                "scope": {"source": "generations", "workspace_id": None, "project_id": "prj_b"},
                "account": "acct",
                "sealed_before": 5,
                "open_runs": {"run_9": {"a": 1.0}},
                "last_scan_at": "x",
                "last_full_scan_at": "y",
            }
        ],
        "runs": {
            "run_1": {
                "workspace_id": "ws_a",
                "project_id": "prj_b",
                "path": "ws_a/prj_b/run_1",
                "model_id": "t2i",
                "created_at": 1000,
                "completed_at": 2000,
                "charged_cost": None,
                "record_sha256": "00",
                "outputs": {
                    "output_1": {
                        "type": "imageUrl",
                        "state": "archived",
                        "file": "output_1.png",
                        "size_bytes": 7,
                        "sha256": SUM,
                        "content_type": "image/png",
                        "url": "https://h/1",
                        "archived_at": "now",
                    },
                    "output_2": {
                        "type": "imageUrl",
                        "state": "failed",
                        "attempts": 6,
                        "error": {"code": "http_404", "message": "gone", "at": "now"},
                    },
                },
            }
        },
    }
    assert told(manifest)["generator"].startswith("floradl ")
    assert b'"a": 1.0' in encoded(manifest)


def test_a_new_archive_is_a_valid_file() -> None:
    """A manifest without runs and scans is whole JSON too, and has what it was made with."""
    manifest = fed()
    assert (manifest.archive_id, manifest.created_at, len(manifest)) == ("9f0c", "2026-11-23T02:30:00Z", 0)
    assert told(manifest)["runs"] == {}
    assert told(manifest)["scans"] == []
    assert checksums(manifest) == ""


def test_entries_are_found() -> None:
    """A run is there with its outputs, or it is not there; before and after it was written."""
    for state in (fed(*recorded()), Manifest.parse(encoded(fed(*recorded())))):
        assert len(state) == 1
        assert "run_1" in state
        assert "run_2" not in state
        assert state.run("run_2") is None
        entry = state.run("run_1")
        assert isinstance(entry, RunEntry)
        assert entry.outputs == {"output_1": ARCHIVED}
        assert entry.vanished_at is None
        assert [run_id for run_id, _ in state.iter_entries()] == ["run_1"]


def test_the_api_it_was_filled_from() -> None:
    """The archive tells from which API it was last filled, and before it first was, that it does not know."""
    manifest = fed(*recorded())
    assert manifest.base_url == ""
    assert Manifest.parse(encoded(manifest)).base_url == BASE_URL


def test_a_change_that_is_none() -> None:
    """What is no change of a manifest is an error, and never dropped in silence."""
    with pytest.raises(AssertionError, match="JournalHeader"):
        fed().apply(JournalHeader(1, "9f0c", "then"))  # type: ignore[arg-type]  # that is the point


def test_a_run_vanishes_and_returns() -> None:
    """A run that the API lists no more stays with its outputs; when it is listed again, nothing shows."""
    manifest = fed(*recorded(), VanishedOp("run_1", "today"))
    entry = manifest.run("run_1")
    assert entry is not None
    assert (entry.vanished_at, entry.outputs) == ("today", {"output_1": ARCHIVED})
    manifest.apply(VanishedOp("run_1", None))
    assert told(manifest) == told(fed(*recorded()))


def test_new_facts_leave_the_outputs_alone() -> None:
    """A cost that comes late is taken over, and what is archived stays."""
    manifest = fed(*recorded(), RunOp("run_1", facts(cost=0.5)))
    entry = manifest.run("run_1")
    assert entry is not None
    assert (entry.charged_cost, entry.outputs) == (0.5, {"output_1": ARCHIVED})


def test_a_failure_leaves_no_trace_once_it_is_cured() -> None:
    """An output that is archived at last has neither attempts nor error, and the other way round no hash."""
    cured, lost = fed(*recorded(entry=FAILED), *recorded()), fed(*recorded(), *recorded(entry=FAILED))
    assert told(cured) == told(fed(*recorded()))
    assert told(lost) == told(fed(*recorded(entry=FAILED)))


def test_each_scope_has_a_seal_of_its_own() -> None:
    """A scan replaces what is known of its own scope and of no other."""
    manifest = fed(scan_op(5), scan_op(6, None), scan_op(7))
    for state in (manifest, Manifest.parse(encoded(manifest))):
        seals = [
            state.scan(scope, "acct") for scope in (Scope(project_id="prj_b"), EVERYTHING, Scope("ws_a"))
        ]
        assert [seal and seal.sealed_before for seal in seals] == [7, 6, None]
        assert len(told(state)["scans"]) == 2


def test_more_runs_than_are_kept_at_hand() -> None:
    """Thousands of runs, changed again long after they were put away, all have their last facts."""
    ids = [f"run_{n}" for n in range(1500)]
    ops: list[Op] = [op for run_id in ids for op in recorded(run_id)]
    ops += [RunOp(run_id, facts(run_id, cost=0.25)) for run_id in ids[::3]]
    ops += [OutputOp(run_id, "output_2", FAILED) for run_id in reversed(ids[::2])]
    manifest = fed(*ops)
    assert len(manifest) == 1500
    assert [run_id for run_id, _ in manifest.iter_entries()] == ids
    for n, (_, entry) in enumerate(manifest.iter_entries()):
        assert entry.charged_cost == (0.25 if n % 3 == 0 else None)
        assert list(entry.outputs) == (["output_1", "output_2"] if n % 2 == 0 else ["output_1"])
    assert list(told(manifest)["runs"]) == ids
    assert checksums(manifest).count("\n") == 1500


@pytest.mark.parametrize("runs", [0, 1, 2, 2000, 2001, 4001])
def test_a_line_a_run(runs: int) -> None:
    """The snapshot has each run on a line of its own, so that two of them can be compared."""
    manifest = fed(*(op for n in range(runs) for op in recorded(f"run_{n}")))
    lines = encoded(manifest).decode().splitlines()
    assert [line.split('"')[1] for line in lines if line.startswith('"run_')] == [
        f"run_{n}" for n in range(runs)
    ]
    assert len(told(manifest)["runs"]) == runs
    sums = checksums(manifest).splitlines()
    assert sums == [f"{SUM}  ws_a/prj_b/run_{n}/output_1.png" for n in range(runs)]
    for pieces in (manifest.encode_checksums(), manifest.encode(updated_at="then", base_url=BASE_URL)):
        assert max(piece.count(b"\n") for piece in pieces) <= 2000, "all of it is in memory at once"


def test_checksums_stand_in_the_order_of_the_manifest() -> None:
    """Runs that come after uploads stand before them: who reads the manifest makes the same lines of it."""
    others = [
        RunOp(name, msgspec.structs.replace(facts(name), kind=kind, path=f"ws_a/prj_b/{place}"))
        for name, kind, place in (
            ("prj_b", Kind.CANVAS, "canvas"),
            ("asset_1", Kind.ASSET, "assets/asset_1"),
        )
    ]
    outputs = [OutputOp(op.run_id, "output_1", ARCHIVED) for op in others]
    manifest = fed(*recorded("run_1"), *others, *outputs, *recorded("run_2"))
    assert [line[66:] for line in checksums(manifest).splitlines()] == [
        "ws_a/prj_b/run_1/output_1.png",
        "ws_a/prj_b/run_2/output_1.png",
        "ws_a/prj_b/assets/asset_1/output_1.png",
        "ws_a/prj_b/canvas/output_1.png",
    ]
    assert checksums(Manifest.parse(encoded(manifest))) == checksums(manifest)


def test_checksums_are_of_archived_files_only() -> None:
    """`SHA256SUMS` has what is on disk: neither failed outputs nor entries without a file or hash."""
    entries = [
        ARCHIVED,
        FAILED,
        OutputEntry("text", State.ARCHIVED),
        OutputEntry("text", State.ARCHIVED, "a.txt"),
    ]
    manifest = fed(*(op for n, entry in enumerate(entries) for op in recorded(f"run_{n}", entry=entry)))
    assert checksums(manifest) == f"{SUM}  ws_a/prj_b/run_0/output_1.png\n"


def test_unknown_keys_survive() -> None:
    """Keys that a newer floradl or a person added stay, at every level, through changes and back."""
    theirs = json.loads(encoded(fed(*recorded(), scan_op())))
    theirs["note"] = {"by": ["me", 1.5, None]}
    theirs["scans"][0]["note"] = "scan"
    theirs["runs"]["run_1"]["note"] = "run"
    theirs["runs"]["run_1"]["outputs"]["output_1"]["note"] = "output"
    manifest = Manifest.parse(json.dumps(theirs).encode())
    for op in (*recorded(entry=FAILED), scan_op(8), VanishedOp("run_1", "today")):
        manifest.apply(op)
    for state in (manifest, Manifest.parse(encoded(manifest))):
        ours = told(state)
        assert ours["note"] == {"by": ["me", 1.5, None]}
        assert ours["scans"][0]["note"] == "scan"
        assert ours["scans"][0]["sealed_before"] == 8
        assert ours["runs"]["run_1"]["note"] == "run"
        assert ours["runs"]["run_1"]["vanished_at"] == "today"
        assert ours["runs"]["run_1"]["outputs"]["output_1"]["note"] == "output"
        assert ours["runs"]["run_1"]["outputs"]["output_1"]["state"] == "failed"
        assert "sha256" not in ours["runs"]["run_1"]["outputs"]["output_1"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"[]", b"\xff", b"<html>", b"{}", b'{"format": "floradl-manifest"}',
        b"[" * 100_000, b'{"a": ' * 100_000, snapshot(format="other"), snapshot(version="1"),
        snapshot(version=None), snapshot(runs=[]), snapshot(runs=None), snapshot(scans={}),
        snapshot(scans=[[]]), snapshot(scans=[{}]), snapshot(scans=[{"scope": None}]),
        snapshot(scans=[{"scope": {"source": 1, "workspace_id": None, "project_id": None}}]),
        snapshot()[:-3], snapshot() + b"x", snapshot().replace(b"9f0c", b"\xff"),
        b'{"format": "floradl-manifest", "version": 1}',
    ],
    ids=lambda data: repr(data[:90]),
)  # fmt: skip
def test_what_is_no_manifest(data: bytes) -> None:
    """A file that cannot be understood is named as such, with what to do, and never taken for empty."""
    with pytest.raises(ManifestError, match=r"manifest\.json cannot be read") as caught:
        Manifest.parse(data)
    assert "verify --repair" in caught.value.hint
    assert caught.value.exit_code == Exit.FAILED


def test_a_newer_manifest() -> None:
    """A manifest of a later version is left alone, and the user is told to update."""
    with pytest.raises(ManifestError, match="version 3") as caught:
        Manifest.parse(snapshot(version=3))
    assert "Update floradl" in caught.value.hint


@pytest.mark.parametrize(
    "entry",
    [
        b"5", b"null", b"[]", b'"x"', b'{"outputs": []}', b'{"outputs": {"output_1": 5}}',
        b'{"path": "\xff"}', b'{"\xff": 1}', b'{"outputs": {"output_1": {"type": "\xff"}}}', b"{" * 100,
        b'{"outputs": {"output_1": {"type": "t", "state": "eaten"}}}',
        b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=lambda entry: repr(entry[:60]),
)  # fmt: skip
def test_one_damaged_entry(entry: bytes) -> None:
    """Damage inside one run is told as such, whether the run is read or changed; it is never a traceback."""
    data = snapshot(runs={"run_1": "HERE"}).replace(b'"HERE"', entry)
    with pytest.raises(ManifestError, match=r"manifest\.json cannot be read") as caught:
        Manifest.parse(data).run("run_1")
    assert caught.value.hint
    with pytest.raises(ManifestError, match=r"manifest\.json cannot be read"):
        changed(data).run("run_1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", value)
        for value in ("", ".", "..", "../../x", "/etc", "a//b", "a/../b", "a\\b", "C:x", "a\nb", "\xe9")
    ]
    + [("file", value) for value in ("", "..", "../x.png", "a/b.png", "/x", "a\n0.png", "a\0b", ".hidden")]
    + [("sha256", value) for value in ("", "00", SUM.upper(), f"{SUM}\n{SUM}", f"{SUM}  x")],
    ids=repr,
)
def test_an_entry_that_leads_elsewhere(name: str, value: str) -> None:
    """A path out of the archive, or a line break, gets into no SHA256SUMS: the manifest is refused."""
    output = {"type": "t", "state": "archived", "file": "a.png", "size_bytes": 1, "sha256": SUM}
    run: dict[str, Any] = {
        "workspace_id": "w",
        "project_id": "p",
        "path": "w/p/r",
        "model_id": None,
        "created_at": None,
    }
    run |= {"completed_at": None, "charged_cost": None, "record_sha256": "00", "outputs": {"o": output}}
    assert b"w/p/r/a.png" in b"".join(Manifest.parse(snapshot(runs={"r": run})).encode_checksums())
    (run if name in run else output)[name] = value
    manifest = Manifest.parse(snapshot(runs={"r": run}))
    with pytest.raises(ManifestError, match="a path or a hash that is none"):
        list(manifest.encode_checksums())


@pytest.mark.parametrize("scan", [{"sealed_before": "x"}, {"open_runs": []}, {}], ids=repr)
def test_a_damaged_scan(scan: dict[str, Any]) -> None:
    """A seal that cannot be understood is told, not taken for no seal."""
    scope = {"source": "generations", "workspace_id": None, "project_id": None}
    manifest = Manifest.parse(snapshot(scans=[{"scope": scope, "account": "acct"} | scan]))
    with pytest.raises(ManifestError, match="scan's entry"):
        manifest.scan(EVERYTHING, "acct")


def test_a_run_that_is_not_there_has_no_sizes() -> None:
    """What a run has on disk by its entry, also while that is being changed."""
    manifest = fed(*recorded(), OutputOp("run_1", "output_2", FAILED))
    for state in (manifest, Manifest.parse(encoded(manifest))):
        assert state.sizes("run_1") == {"output_1.png": 7}
        assert list(state.ids()) == ["run_1"]


def test_entries_that_nobody_can_read_are_dropped() -> None:
    """The others stay; no seal does, since what is below one would not be met again."""
    good = told(fed(*recorded(), scan_op()))
    good["runs"] |= {"run_2": {"outputs": []}, "run_3": good["runs"]["run_1"] | {"path": "../../x"}}
    manifest = Manifest.parse(json.dumps(good).encode())
    assert manifest.drop_unreadable() == ["run_2", "run_3"]
    assert [run_id for run_id, _ in manifest.iter_entries()] == ["run_1"]
    assert told(manifest)["scans"] == []
    assert manifest.drop_unreadable() == []


@pytest.mark.parametrize("sealed_before", [-(10**30), "yesterday"])
def test_a_seal_that_cannot_be_read_goes_with_the_others(sealed_before: object) -> None:
    """The next scan walks everything; the entries stay."""
    good = told(fed(*recorded(), scan_op()))
    good["scans"][0]["sealed_before"] = sealed_before
    manifest = Manifest.parse(json.dumps(good).encode())
    assert manifest.drop_unreadable() == ["scans"]
    assert [run_id for run_id, _ in manifest.iter_entries()] == ["run_1"]
    assert told(manifest)["scans"] == []


def test_the_records_that_may_stand_beside_an_entry() -> None:
    """One, or two while the one takes the place of the other; a canvas has none."""
    known = facts("run_1")
    assert known.record_hashes == (known.record_sha256,)
    coming = msgspec.structs.replace(known, next_record_sha256="ab" * 32)
    assert coming.record_hashes == (known.record_sha256, "ab" * 32)
    assert msgspec.structs.replace(known, record_sha256="").record_hashes == ()


def test_an_entry_is_taken_over_from_another_manifest() -> None:
    """It comes as it stands there, keys that nobody knows included, and is in the checksums."""
    run = told(fed(*recorded()))["runs"]["run_1"]
    manifest = fed()
    manifest.put("run_1", msgspec.Raw(json.dumps(run | {"new": 1}).encode()))
    assert told(manifest)["runs"]["run_1"] == run | {"new": 1}
    assert manifest.has_changed_files
    assert checksums(manifest) == f"{SUM}  ws_a/prj_b/run_1/output_1.png\n"
