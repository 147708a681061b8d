"""Files out of an archive."""

__all__ = (
    "copying",
    "restore",
    "targets",
)
