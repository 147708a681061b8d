"""The URLs of pictures at ImageKit, which has two files for a picture: the original, and what it makes of it.

ImageKit compresses what it serves, also where no transformation is asked for. `tr=orig-true` gives the
original bytes, and other transformations beside it are ignored. With two `tr` parameters nothing is promised,
so those that are there are replaced. Transformations can stand in the path too, as `/tr:w-300/`.

Sources: FLORA's documentation for `tr=orig-true`, and ImageKit's for the forms of a URL.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HOST = re.compile(r"(?:[a-z0-9-]+\.)*imagekit\.io", re.IGNORECASE)
_IN_PATH = re.compile(r"/tr:[^/]*")
_ORIGINAL = "tr=orig-true"


def urls_to_try(url: str) -> list[str]:
    """The URLs to try for an output, best first: the original's at ImageKit, and the one that was given.

    ImageKit refuses the original of some files; those are then taken as it sends them.

    Args:
        url: as FLORA gave it.
    """
    original = original_url(url)
    return [url] if original is None else [original, url]


def original_url(url: str) -> str | None:
    """The URL of the original; None where the URL is that already, or of nothing at ImageKit."""
    parts = urlsplit(url)
    if not _HOST.fullmatch(parts.hostname or ""):
        return None
    others = [word for word in parts.query.split("&") if word and not word.startswith("tr=")]
    path = _IN_PATH.sub("", parts.path)
    if path == parts.path and [w for w in parts.query.split("&") if w.startswith("tr=")] == [_ORIGINAL]:
        return None
    return parts._replace(path=path, query="&".join([*others, _ORIGINAL])).geturl()
