"""The archive as floradl knows it: names from ids, entries, journal, manifest, and numbers about them.

What users read calls it "the archive". It imports `api` (values and raw JSON) and `storage`, through which
everything here is read and written, and the modules right below `floradl`.

What it promises:

- **A path depends on ids alone.** The same id always gives the same name, different ids different names, also
  on file systems that ignore case. Nothing that comes from outside becomes a path otherwise (`layout`).
- **An entry speaks of bytes that are durable.** A change is appended to the journal after the file that it is
  about has its final name, and is flushed before it counts.
- **A cut at any byte loses nothing that was recorded.** The journal is read up to the last line that is
  whole. `manifest.json` is replaced as a whole, and the journal is removed only after that.
- **What a newer floradl wrote is kept.** Keys that this version does not know survive in `manifest.json`; a
  version that it does not know is refused rather than misread.
- **A broken manifest is never taken for an empty one**, which would fetch everything again.
- **One writer, or any number of readers** (`lock`).

The way of a change: a worker hands a `Receipt` or a `Failure` (`results`), or the facts of a run, to the one
recorder. `results.op_of` makes an `Op` of it (`entries`). `Repository.append` writes it as a line of the
journal (`journal`), flushes, and applies it to the `Manifest`, the state in memory. At the end of a session
`Repository.fold` writes `SHA256SUMS` and `manifest.json` (`snapshot`) and removes the journal. The next
session reads both, and replays a journal that a killed process left.

The order of a session's writes, and why each stands where it does:

1. Take the lock: everything after assumes that there is no other writer.
2. Read `manifest.json` and replay the journal, without its torn end: what was recorded is known before
   anything is decided.
3. A run's record, then the run's facts into the journal, then its outputs: so the journal never has an
   output of a run that nobody knows.
4. An output's file, then its line in the journal. Killed in between, the file is found under its name by the
   next session, hashed and recorded.
5. Seals of scans, after everything that was found is recorded: a seal says that all below it is.
6. `SHA256SUMS`, then `manifest.json`, then the removal of the journal. Cut anywhere, the next session finds
   the old manifest with the whole journal, or the new one with a journal that changes nothing.

In a large archive a journal that has nothing but the seals of scans stays: to write hundreds of megabytes
for a date would be most of what a quiet night costs. Since it outlives its session, each seal names the
`manifest.json` that it was made on, and counts on no other.

Beside the manifest: records of projects and workspaces with their past (`history`, `names`), snapshots of
canvases (`canvas`) and what they say of outputs (`labels`), the last checks' results (`verdict`), numbers
for `status` (`statistics`), what type bytes are of (`filetype`), and which file is an output that nobody
recorded (`found_files`). docs/format.md describes every file.
"""

__all__ = (
    "canvas",
    "entries",
    "filetype",
    "found_files",
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
