"""The FLORA API: its client, its lists read without a gap, and its records as values.

The package is the only code that holds the API key and sends it. It may import `network` and the modules
right below `floradl`; it knows nothing of archives.

How data passes through it: `client` asks for a page, `answer` reads the answer, `keys` takes the key out of
it where the API repeats it, and `pages` parses it, each record through `records`, which makes a
`models.Generation` that keeps the record's own bytes. `walk` asks for one page after another and gives them
to the scan. `paging` follows cursors and refuses one that comes twice; `lists`, `projects` and `canvas` read
the other lists, and `unknown_ids` finds ids that nobody knows. A request ends in a value or in an `ApiError`;
a record that cannot be read is an error beside the others of its page, and costs none of them.

How nothing is missed, although the account changes while its lists are read:

- *Order of lists.* Runs are listed by status: pending, then running, then completed. A run moves through
  them in this order, so a run that exists when the scan starts is met in one of them.
- *Edges of pages.* A run that is added shows later runs twice. A run that is removed pulls later runs
  across the edge between two pages, where a plain walk would skip them. So after each further page
  `walk.Walk` reads the page before it again; if it changed, the walk goes back to a page whose first run it
  has met, above which nothing can be missing, and walks on from there. This doubles the requests of a walk
  over several pages; most nights read one. A list that changes faster than it can be read is an error, and
  nothing is sealed.
- *Where a walk ends.* A scan without any error sets a seal: the newest `created_at` it saw. The next scan
  walks down to the seal less an hour. A page with a run that is not recorded never ends a walk, so a wrong
  date far in the future hides nothing behind its seal. Pages that are not newest first prove nothing, and
  the walk goes on to the end of the list.
- *Technique runs and assets* are each read as one list of every status. FLORA says that technique runs come
  newest first, and says nothing of assets.

What a walk cannot prove: a removal and an insertion that cancel each other out within the two requests at
an edge; a run that appears, with a date of long ago, below a page of known runs. The weekly full walk finds
them.
"""

__all__ = (
    "canvas",
    "client",
    "keys",
    "lists",
    "models",
    "pages",
    "projects",
    "raw_json",
    "records",
    "unknown_ids",
    "walk",
)
