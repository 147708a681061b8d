"""Bring outputs into an archive: decide what is missing, fetch it, give it its name, journal it.

The archive job, repair and restore all fetch through this package. They say which runs (`plan.Visit`); what
happens from there on is the same for all of them.

What it promises:

- No partial file ever bears a final name. A file under its final name is complete, checked and flushed.
- The journal speaks only of files that are durable under their names, and of runs whose record is.
- One bad output stops nothing. What cannot be had is a `Failure`, a value like a `Receipt`. Only an error
  of the disk ends a session.
- `kill -9` and power cuts cost at most what was under way, and never put wrong bytes under a right name.
- The memory that is used depends on the settings, not on the size of the account: all queues are bounded.

The way of one run:

1. `pool.Pool.admit` takes its visit. A preparer, in a thread, lists the run's folder (`prepare`) and lets
   `plan.decide_run` decide about each output: skip, fetch, resume, write, record or report it.
2. `run.json`, if it is new or says something new, and the texts are written and flushed. Then the facts of
   the run go to the recorder, before any output of it is fetched.
3. A worker fetches one output (`transfer`, which makes `attempts`): one request with its redirects
   (`request`), the decision whether the response can be used (`response`; `validators` and `checksums` say
   what proves it, `codings` and `bodies` decode what is compressed), the body on its way to the disk
   (`receiving`, `streaming`). After a refusal the API may be asked for a fresh URL (`fresh_urls`). A file of
   which 64 MiB or more are to come from a slow host is fetched by up to eight connections (`multipart`;
   `ranges` decides).
4. `commit` checks the bytes and gives them their name: flush, set aside what stands in the way, rename,
   flush of the folder. An upload that the archive has already shares the bytes of that file (`dedupe`).
5. The one recorder appends the results to the journal with one flush, and counts them only then (`tally`).

Partials: what broke off stays below `.floradl/`, with a checkpoint beside it every 8 MiB and when a session
ends in order. The checkpoint has the strong validator that the file was begun with and the SHA-256 of what
was there. A later session hashes the bytes again before it trusts them, and continues only if the host
confirms that it still has the same file. So partials themselves need no flush. The parts of a large file
lie in the partial at their places, and the checkpoint has size and SHA-256 of each.

Sharing: of an asset that equals an archived one, a reflink or else a hard link is made under a temporary
name, read again, and renamed. If that is impossible, or the archived file is not what was recorded, the
fetched bytes get the name as usual. Since a file may have two names, nothing ever writes into an archived
file.

`missing` and `refetch` are for jobs that find something missing: they ask FLORA for today's records of
those runs, whose URLs are fresh, and admit them. `session` opens an archive for a job, its lock first, and
closes it. `context` has what all transfers of a session share.

It may import `repository`, `api`, `storage` and `network`, and nothing of the jobs above it.
"""

__all__ = (
    "commit",
    "context",
    "missing",
    "plan",
    "pool",
    "refetch",
    "session",
    "tally",
    "transfer",
)
