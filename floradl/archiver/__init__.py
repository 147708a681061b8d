"""The archive job: what FLORA lists is fetched, recorded and sealed, so that nothing is missed.

What it promises: exit code 0 says that every completed run in scope was seen, and that every one of its
outputs is on the disk, whole and recorded. A night with nothing new costs a handful of requests to the API,
and none to a media host.

It may import `download`, `repository`, `api`, `storage`, `network` and the ground.

The way of one session (`archive`): `compare` looks which recorded files are gone. `scanner` walks the lists
of all scopes, each with a `scan`, and admits every completed run to the pool of `download`. The runs with
files to fetch again that no list brought are asked for by id. When everything is recorded, the scans that saw
everything are sealed. Then `projects` keeps the canvases (`canvases`, `canvas_labels`) and the names
(`names`) of projects. The journal is folded, and `folder_cache` keeps which folders need no listing the next
time. `preview` does the same for `--dry-run` without a write.

Missing nothing. `GET /generations` lists the newest runs first, over an offset, while the account changes:

- *Order of lists.* Pending, then running, then completed: a run moves through them in this order, so one
  that exists when the scan begins is met in one of them.
- *Edges of pages.* After each further page the one before it is read again; if it changed, the walk goes back
  to a place above which nothing can be missing (`api.walk`). Most nights read one page. A list that moves
  faster than it can be read is an error, and seals nothing.
- *Seals.* A scan without any error seals the past: the newest `created_at` it saw, and the runs that are
  still open. The next scan walks down to the seal less an hour, and asks for those runs one by one. A page
  with a run that is not recorded is never the last one. Once a week, and with `--full`, everything is walked,
  and runs that FLORA does not list any more are noted as vanished; their files stay.
- *Whose seal.* A seal holds for one scope, and for the key and the API that it was made with.
- *Several scopes* are walked at the same time, four at most; the next begins when the one before it was
  answered, since FLORA's rate limits are shared with people at work.
- *Sources in turn.* What one source brought is recorded before the next is asked, so a run that is in two
  lists is fetched once, and its record completed by the second.
- *A refused source* (403 or 404 for all its scopes, while another source answered) is left out, and the
  report says so, unless the user named it, the archive has seen it before, or it is the list of generations:
  then the job fails (`refusals`). 401 is about the key itself.

What this does not see: changes of a list that cancel each other out between the two readings of a page, and
a run that appears with a date of long ago below a page of known runs. The weekly walk is there for those.

Quiet nights. In a large archive, to list every folder would be most of a night with nothing new. So a folder
whose date has not changed since it was last found right is not listed (`folder_cache`); an eighth of those
are looked into each session all the same. Nodes of a canvas, and names of projects, are asked for only where
something says that they may have changed.
"""

__all__ = (
    "archive",
    "options",
    "preview",
    "report",
)
