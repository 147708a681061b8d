"""Where an archive's bytes lie: files are put, read, listed, set aside and locked here.

No other code of floradl writes an archive's files. Above this package an archive is a set of named files,
each whole or not there. This package knows nothing of runs, outputs or FLORA: it imports only modules that
stand right below `floradl`, and the names that it is given are safe already (`repository.layout`).

What it promises:

- **A final name means a whole file.** A file is written below `.floradl/`, on the same file system, with its
  size and SHA-256 taken as the bytes pass; it is dated, flushed and renamed, and the folder that holds the
  name is flushed. A process that is killed leaves a temporary file, which the next holder of the lock
  removes.
- **What was reported is durable.** A method that writes returns after the flush of the folder. With
  `--no-fsync` nothing is flushed, and a power cut can cost files that were reported.
- **No link is followed.** Where a link stands inside an archive, in place of a file or of a folder, nothing
  is read or written through it (`local.no_links`).
- **Nothing is lost by writing.** What stands under a name that a new file needs is moved to
  `.floradl/aside/` first (`aside`).
- **No unmounted disk is mistaken for an empty archive.** When DEST's disk goes while a job runs, no folder is
  made on the disk underneath.
- **A resumed file has the right bytes.** What an earlier process left of a large file is hashed again before
  it is trusted (`local.partial`). Therefore partials themselves need no flush.

The way of a file:

1. A job asks a `Destination` to write it. Everything below blocks, so the destination calls it in a thread of
   its own, and waits for that thread even when the job is cancelled; an `OSError` becomes a
   `DestinationError`, which ends the job and says what to do.
2. A small file is in memory as a whole. A thread writes it, or, when there are many of them, one of a few
   processes that do nothing else (`local.writer_pool`).
3. A large file grows as a `Partial` while it comes from the network. Its blocks go past the system's cache
   where that is faster (`local.direct_io`); checkpoints beside it let a later process go on from there. At
   the end it is flushed and renamed like any other file.
4. `LocalStorage.write_files`, `write_atomic`, `clone` and `link` (`local.folder`) and `Partial.commit` give
   final names. They are put together from the steps in `local.fsync`.

Reading goes through `local.reader`; a nightly comparison of hundreds of thousands of folders through
`local.folder_dates`, which asks for dates in place of listings. `local.flock` has the kernel's locks.
"""

__all__ = (
    "aside",
    "base",
    "destination",
    "digest",
    "local.flock",
    "local.folder",
    "local.folder_dates",
    "local.fsync",
    "local.partial",
    "local.reader",
    "local.shared_memory",
    "local.writer_pool",
)
