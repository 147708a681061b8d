"""The gallery that several files look at."""

from __future__ import annotations

import os

import pytest
from filelock import FileLock

from tests.gallery.stage import archive_everything


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a gallery with every kind of output.

    The processes of one run (`pytest -n`) have a folder in common, and the first of them makes it for all.
    """
    base = tmp_path_factory.getbasetemp()
    dest = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "gallery-of-everything"
    with FileLock(f"{dest}.lock"):
        if not dest.exists():
            archive_everything(dest)
    return (dest / "index.html").as_uri()
