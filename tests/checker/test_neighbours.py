"""What people keep beside their pictures stays theirs, whatever happens to the archive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.simulator import Fault, Simulator, generate_account, serve_in_thread
from tests.support.archives import all_entries, manifest
from tests.support.zygote import floradl

SIDECARS = {
    ".xmp": b'<?xpacket begin="" ?><x:xmpmeta xmlns:x="adobe:ns:meta/">',
    ".txt": b"the client likes this one",
    ".jpg": b"\xff\xd8\xff\xe0 an export \xff\xd9",
    ".nfo": b"\0\1 of a media centre",
    ".psd": b"8BPS\0\1 retouched",
}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A small account."""
    with serve_in_thread(generate_account(5, seed=11)) as simulator:
        yield simulator


def files_of(dest: Path) -> list[Path]:
    """The archived files that are no texts."""
    found = []
    for entry in all_entries(dest).values():
        found += [
            dest / entry["path"] / output["file"]
            for output in entry["outputs"].values()
            if output["type"] != "text"
        ]
    return found


def hashes(dest: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """What is recorded of each output: its file and its hash."""
    return {
        (run_id, key): (output["file"], output["sha256"])
        for run_id, entry in all_entries(dest).items()
        for key, output in entry["outputs"].items()
    }


def surround(dest: Path) -> dict[Path, bytes]:
    """Put one of each kind of sidecar beside each archived file, unless that is its own name."""
    put = {}
    for path in files_of(dest):
        for suffix, data in SIDECARS.items():
            beside = path.with_suffix(suffix)
            if not beside.exists():
                beside.write_bytes(data)
                put[beside.relative_to(dest)] = data
    return put


@pytest.mark.parametrize("has_dates", [True, False])
@pytest.mark.parametrize("lost", [("manifest.json",), ("manifest.json", "SHA256SUMS")])
def test_a_lost_manifest(sim: Simulator, tmp_path: Path, lost: tuple[str, ...], *, has_dates: bool) -> None:
    """The outputs are recorded again as they were or fetched again, and every sidecar stays as it is."""
    first, dest = tmp_path / "first", tmp_path / "dest"
    assert floradl(sim, first).returncode == 0
    before, put = hashes(first), surround(first)
    shutil.copytree(first, dest, copy_function=shutil.copy2 if has_dates else shutil.copyfile)
    for name in lost:
        (dest / name).unlink()
    floradl(sim, "verify", "--repair", dest)
    assert floradl(sim, dest).returncode == 0
    assert hashes(dest) == before
    assert {path: (dest / path).read_bytes() for path in put} == put


@pytest.mark.parametrize("suffix", SIDECARS)
def test_a_note_beside_an_output_that_failed(sim: Simulator, tmp_path: Path, suffix: str) -> None:
    """A check finds a stray and no output, and the next job fetches the output."""
    assert floradl(sim, tmp_path / "whole").returncode == 0
    path = files_of(tmp_path / "whole")[0].relative_to(tmp_path / "whole")
    dest = tmp_path / "dest"
    outputs = [output for run in sim.account.runs for output in run.outputs if output.path]
    sim.faults.extend(Fault(output.path, status=404) for output in outputs)
    assert floradl(sim, dest).returncode == 3
    sim.faults.clear()
    run_id = path.parent.name
    assert {out["state"] for out in manifest(dest)["runs"][run_id]["outputs"].values()} >= {"failed"}
    note = (dest / path).with_suffix(suffix)
    note.write_bytes(SIDECARS[suffix])
    report = json.loads(floradl(sim, "verify", "--json", dest).stdout)
    (told,) = [each for each in report["findings"] if each["path"].endswith(note.name)]
    assert told["kind"] == "stray"
    assert floradl(sim, dest).returncode == 0
    assert hashes(dest) == hashes(tmp_path / "whole")
    kept = [note, *(dest / ".floradl/aside").glob("*")]
    assert SIDECARS[suffix] in [each.read_bytes() for each in kept if each.is_file()]


def test_what_a_killed_process_left_is_still_recorded(sim: Simulator, tmp_path: Path) -> None:
    """With a sidecar beside each file, nothing that was fetched is fetched again."""
    assert floradl(sim, tmp_path).returncode == 0
    before, put = hashes(tmp_path), surround(tmp_path)
    value = manifest(tmp_path)
    for entry in value["runs"].values():
        entry["outputs"] = {}
    (tmp_path / "manifest.json").write_text(json.dumps(value), encoding="utf-8")
    sim.forget()
    assert floradl(sim, "--full", tmp_path).returncode == 0
    assert (hashes(tmp_path), sim.media_requests()) == (before, [])
    assert {path: (tmp_path / path).read_bytes() for path in put} == put
