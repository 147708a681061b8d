"""Where an archive's bytes lie: put, read, listed, locked."""

__all__ = (
    "aside",
    "base",
    "destination",
    "digest",
    "local.direct_io",
    "local.flock",
    "local.folder",
    "local.folder_dates",
    "local.fsync",
    "local.partial",
    "local.reader",
    "local.shared_memory",
    "local.writer_pool",
    "local.writer_process",
)
