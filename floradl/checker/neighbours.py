"""Files that stand beside an output under its name: an output that nobody recorded, or another file.

`inspection` compares names alone. Here the bytes and dates of what it found are looked at, as the archive job
does before it records such a file.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from floradl.api.models import Output
from floradl.checker.findings import Trouble
from floradl.checker.inspection import RunCheck, Stray
from floradl.constants import Kind
from floradl.repository import layout
from floradl.repository.entries import RunEntry
from floradl.repository.found_files import find_output
from floradl.storage.destination import Destination


def set_neighbours_apart(check: RunCheck, entry: RunEntry, disk: Destination) -> None:
    """Make a stray of each unrecorded file that does not prove to be an output. Blocks.

    Args:
        check: of one entry; its findings and strays are changed.
        entry: the entry.
        disk: the archive.

    Raises:
        OSError: a file cannot be read.
    """
    record = layout.record_name(entry.kind)
    if entry.kind is Kind.CANVAS or record is None:
        return  # the names of snapshots are such that nobody else gives them
    unrecorded = [finding for finding in check.findings if finding.kind is Trouble.UNRECORDED and finding.key]
    done_at_ms = entry.created_at if entry.completed_at is None else entry.completed_at
    for finding in unrecorded:
        path, known = PurePosixPath(finding.path), entry.outputs[finding.key]
        output = Output(finding.key, known.type, known.url)
        if find_output(disk, path.parent / record, output, done_at_ms, [path.name]) is None:
            check.findings.remove(finding)
            check.strays.append(Stray(str(path), disk.identify(path).size_bytes))
