"""The offline gallery: `index.html`, which shows an archive in any browser, and the files it loads.

A build reads the manifest and the archived files and writes `index.html` and the folder `gallery/`, under the
writer's lock. It asks neither FLORA nor any other host. All of it can be removed and made again.

What it promises:

- A build may be killed at any moment; until it replaces `index.js`, the page shows the gallery from before.
- A file that is already right is not written again, and its outputs are not read again. A night's work makes
  one or two shelves anew.
- An `index.html` that floradl did not write is kept: it is moved aside.
- Data from outside cannot run in the page. Scripts hold one JSON literal each, with every character escaped
  that could end it. The page sets text as `textContent` alone, its policy (CSP, Trusted Types) allows no
  inline script and no request but for files, and links are made of the archive's own safe names.

The way of the data, each module a step:

    manifest ─► shelves     which runs stand in the same files, by time, and what these files are called
             ─► probe       how each output looks: `image_size`, `thumbnails`, its text, its label
             ─► scripts     the bytes of a shelf's files, and of `index.js`
             ─► build       the order in which all of that is done and written
                report      options, counters for a display, the result

A page that is opened from disk may not read files or load modules, but it may load scripts. So the data are
scripts, and the page in `page/` is a handful of plain scripts that share one name, `floradl`; they are copied
into the archive as they stand, without a build step. The page shows the newest shelf as soon as it has
arrived and loads the others in the background, because filters count all outputs. Only rows near the window
are in the document, at places computed from the sizes that `probe` found. Filters, search, sorting and the
output in the viewer stand in the address, behind its `#`.

It may import `repository`, `storage` and the ground modules.
"""

__all__ = (
    "build",
    "report",
)
