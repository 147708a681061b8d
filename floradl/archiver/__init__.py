"""The main job: scan, compare, archive, seal; projects, canvases, names."""

__all__ = (
    "archive",
    "canvas_labels",
    "canvases",
    "compare",
    "folder_cache",
    "names",
    "options",
    "preview",
    "projects",
    "report",
    "scan",
    "scanner",
)
