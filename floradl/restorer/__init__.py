"""`restore`: verified copies of files out of an archive, and from FLORA what the archive lacks.

What it promises:

- Nothing in the source is changed. It is read under the readers' lock, so other readers may work on it.
- Every byte is hashed on its way and refused before the rename: no damaged file gets a name in the target.
- A file that stands in the target already is left alone, whatever it is.
- The same command goes on where it was cut off: a file that is there is not copied again.
- An output that is not there in the end is a failure in the report, with the reason.

It may import `download`, `repository`, `api`, `storage`, `network` and the ground.

The way of a file: `restore` reads the source's manifest and hands the wanted runs, in batches, to `copying`,
which copies, clones or links in threads. The target records each batch when it is copied. What the source
does not give, or not as it was archived, is asked for from FLORA when all else is copied, and comes by the
workers of `download`.

There are two kinds of `targets`. `ArchiveTarget` is another archive, with a manifest and checksums; it is
locked, and written in the order that `docs/architecture.md` gives for every archive. `FlatTarget` is one
folder of files without records. Seals are not copied: the first archive job in the new archive walks the
whole history, and fetches nothing that is there.
"""

__all__ = (
    "copying",
    "restore",
)
