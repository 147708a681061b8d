"""Files that somebody else put where they are: flushed, and read after that, before they are recorded.

A flush that failed leaves in the system's cache what the disk has not; see `floradl.storage.local.fsync`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath

import pytest

from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.checker.repair import RepairOptions, repair
from floradl.checker.verify import VerifyOptions
from floradl.constants import Source
from floradl.simulator import generate_account, serve_in_thread
from floradl.storage.base import FileId
from floradl.storage.destination import Destination
from floradl.storage.digest import Digest
from floradl.storage.local.reader import LocalReader
from tests.support.sound_archive import DIAGRAM, Stage, edit_manifest


def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is read and flushed from now on."""
    events: list[tuple[str, str]] = []
    digest, read, flush = LocalReader.digest, LocalReader.read_identified, Destination.flush_existing

    def noted_digest(disk: LocalReader, path: PurePosixPath) -> Digest:
        events.append(("read", str(path)))
        return digest(disk, path)

    def noted_read(disk: LocalReader, path: PurePosixPath) -> tuple[bytes | None, FileId | None]:
        events.append(("read", str(path)))
        return read(disk, path)

    def noted_flush(disk: Destination, path: PurePosixPath) -> None:
        events.append(("flush", str(path)))
        flush(disk, path)

    monkeypatch.setattr(LocalReader, "digest", noted_digest)
    monkeypatch.setattr(LocalReader, "read_identified", noted_read)
    monkeypatch.setattr(Destination, "flush_existing", noted_flush)
    return events


def test_what_a_killed_job_left_of_a_canvas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots and labels without an entry are flushed, and then read, from the disk."""

    def forget(value: dict[str, dict[str, dict[str, object]]]) -> None:
        for canvas in value["canvases"].values():
            canvas["outputs"] = {}
        for run in value["runs"].values():
            run.pop("labels_sha256", None)

    with serve_in_thread(generate_account(20, seed=3, assets=3, canvases=True)) as sim:

        async def job() -> int:
            async with FloraApi(sim.base_url, sim.account.api_key) as api:
                options = ArchiveOptions(tmp_path, sim.base_url, sources=tuple(Source), full=True)
                return (await archive(options, api)).exit_code

        assert asyncio.run(job()) == 0
        edit_manifest(tmp_path, forget)
        events = noted(monkeypatch)
        assert asyncio.run(job()) == 0
    found = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*/canvas*.*")]
    found += [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("canvas/*")]
    assert any(file.endswith("/canvas.json") for file in found)
    for file in found:
        its = [what for what, path in events if path == file]
        assert its[-2:] == ["flush", "read"], (file, its)


def test_what_is_moved_back(stage: Stage, dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody copied elsewhere may not be on the disk when it is moved to its place."""
    (dest / DIAGRAM).rename(dest / "elsewhere.mmd")
    events = noted(monkeypatch)

    async def job() -> bool:
        async with FloraApi(stage.sim.base_url, stage.sim.account.api_key) as api:
            report = await repair(RepairOptions(VerifyOptions(dest), stage.sim.base_url), api)
            return report.is_sound

    assert asyncio.run(job())
    assert ("flush", DIAGRAM) in events
