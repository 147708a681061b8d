"""The archive as floradl knows it: names from ids, entries, journal, manifest, numbers."""

__all__ = (
    "canvas",
    "entries",
    "filetype",
    "history",
    "journal",
    "labels",
    "layout",
    "lock",
    "manifest",
    "names",
    "repository",
    "results",
    "snapshot",
    "statistics",
    "verdict",
)
