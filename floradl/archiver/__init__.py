"""The main job: scan, compare, archive, seal; projects, canvases, names."""

__all__ = (
    "archive",
    "canvas_labels",
    "canvases",
    "folder_cache",
    "preview",
    "projects",
    "report",
    "scan",
    "scanner",
)
