"""Keeps the labels of canvas nodes beside the runs whose outputs the nodes show. A label is often the prompt.

A node names the URL that it shows. Where that is the URL of an archived output, the node's label is written
to `canvas.json` in the run's folder, and the file's hash into the run's entry, by which the gallery sees that
something is new.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from floradl.api.canvas import Node
from floradl.clock import Clock, format_ms
from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.entries import LabelsOp
from floradl.repository.labels import Label, is_labels_of, labels_by_run, merged_labels, targets_of
from floradl.repository.names import Place
from floradl.repository.repository import Repository
from floradl.repository.snapshot import entry_path
from floradl.storage.destination import Destination
from floradl.tasks import to_its_end


class Labels:
    """Writes labels to the `canvas.json` of runs.

    Args:
        repository: the manifest, open; all runs of the session are recorded.
        disk: the archive.
        clock: for the time at which a label was seen.
    """

    def __init__(self, repository: Repository, disk: Destination, clock: Clock) -> None:
        self._repository = repository
        self._disk = disk
        self._clock = clock
        self._runs: dict[Place, list[str]] | None = None

    async def keep(self, place: Place, nodes: Sequence[Node]) -> None:
        """Keep the labels that a project's canvas has for its runs' outputs.

        Args:
            place: the project.
            nodes: all nodes of its canvas.

        Raises:
            DestinationError: the disk does not take them.
        """
        manifest = self._repository.manifest
        runs = [(run_id, manifest.entry(run_id)) for run_id in self._runs_of(place)]
        seen_at = format_ms(self._clock.now_ms())
        found = labels_by_run(nodes, targets_of(runs), project_id=place.project_id, seen_at=seen_at)
        for run_id, labels in found.items():
            # Not to be stopped between the file and its entry, which would then have an older hash.
            await to_its_end(self._keep(run_id, labels))

    async def _keep(self, run_id: str, labels: Mapping[str, Collection[Label]]) -> None:
        entry = self._repository.manifest.entry(run_id)
        path = entry_path(run_id, entry) / layout.LABELS
        sha256 = await self._disk.call(self._write, run_id, path, labels, entry.labels_sha256)
        if sha256 is not None and sha256 != entry.labels_sha256:
            await self._repository.append([LabelsOp(run_id, sha256)])

    def _runs_of(self, place: Place) -> Sequence[str]:
        """The ids of a project's runs. The first call goes through the manifest once for all projects."""
        if self._runs is None:
            runs = defaultdict[Place, list[str]](list)
            for run_id, run in self._repository.manifest.iter_counted():
                if run.kind is Kind.RUN:
                    runs[Place(run.workspace_id, run.project_id)].append(run_id)
            self._runs = runs
        return self._runs.get(place, ())

    def _write(
        self, run_id: str, path: PurePosixPath, labels: Mapping[str, Collection[Label]], known: str | None
    ) -> str | None:
        """Write the labels that the file does not have yet. Blocks.

        Args:
            run_id: the run.
            path: its `canvas.json`.
            labels: output key → labels that nodes have for it.
            known: the file's hash in the run's entry; None if there is none.

        Returns:
            The hash of the file as it is then; None where something else stands there and is left alone.
        """
        if self._disk.exists(path) and not self._disk.is_file(path):
            return None
        raw = self._disk.read(path)
        merged = merged_labels(raw, run_id, labels)
        if merged is not None:
            return self._disk.write_atomic(path, [merged]).sha256
        if raw is None or not is_labels_of(raw, run_id):
            return None
        sha256 = hashlib.sha256(raw).hexdigest()
        if sha256 != known:
            # A process may have been killed between writing the file and recording it. It may not be on the
            # disk yet, so it is flushed, and read from the disk, before its hash is recorded.
            return self._disk.adopt(path).sha256
        return sha256
