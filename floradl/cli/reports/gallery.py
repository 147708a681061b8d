"""What a gallery's build reports: its JSON object and the lines for people. Pure."""

from __future__ import annotations

from floradl.cli.reports.common import entries_phrase
from floradl.cli.ui.units import count, format_duration
from floradl.gallery.report import GalleryReport


def gallery_object(report: GalleryReport, exit_code: int) -> dict[str, object]:
    """The report that `--json` prints; docs/format.md describes it."""
    return {
        "format": "floradl-gallery",
        "version": 1,
        "command": "gallery",
        "exit_code": exit_code,
        "interrupted": report.is_interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
        "runs": report.runs,
        "assets": report.assets,
        "canvases": report.canvases,
        "outputs": report.outputs,
        "files": {"written": report.files_written, "removed": report.files_removed},
        "thumbnails": {"made": report.thumbnails, "refused": report.refused},
        "set_aside": report.set_aside,
    }


def gallery_lines(report: GalleryReport, dest: str) -> list[str]:
    """The summary of a build."""
    lines = []
    if report.set_aside:
        lines.append(f"Another index.html stood there; it is in {report.set_aside} now.")
    if report.is_interrupted:
        return [
            *lines,
            "Stopped before the end; the gallery is as it was. The same command goes on from here.",
        ]
    made = f", {count(report.thumbnails, 'small picture')} made" if report.thumbnails else ""
    what = (
        f"{count(report.outputs, 'output')} of {entries_phrase(report.runs, report.assets, report.canvases)}"
    )
    took = format_duration(report.elapsed_s)
    written = f"{count(report.files_written, 'file')} written"
    lines.append(f"{dest}/index.html shows {what}. {written}{made}. Took {took}.")
    if report.outputs and not report.has_thumbnails:
        lines.append("It shows the files themselves. With the extra `gallery` it has small pictures of them.")
    if report.refused:
        lines.append(f"{count(report.refused, 'output')} got no small picture and are shown as they are.")
    return lines
