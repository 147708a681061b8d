"""The archive as floradl knows it: names from ids, entries, journal, manifest, numbers."""

__all__ = (
    "entries",
    "filetype",
    "history",
    "journal",
    "labels",
    "layout",
    "lock",
    "manifest",
    "names",
    "results",
    "snapshot",
    "statistics",
    "verdict",
)
