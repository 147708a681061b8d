"""Nothing in an archive is lost by writing: it is set aside."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from floradl.repository import layout
from floradl.storage import base
from floradl.storage.aside import copy_aside, make_way, obstacle, set_aside
from floradl.storage.destination import Destination
from tests.storage.disk_support import (
    FILE,
    RUN,
    needs_links,
)


def test_what_is_set_aside_overwrites_nothing(disk: Destination) -> None:
    """Each thing that is set aside gets a name of its own that tells what it was."""
    for data in (b"one", b"two"):
        disk.write_atomic(FILE, [data])
        assert set_aside(disk, FILE) is not None
    assert set_aside(disk, FILE) is None, "nothing stood there"
    aside = disk.root / base.ASIDE
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == {
        "run_c+output_1.png": b"one",
        "run_c+output_1.png.1": b"two",
    }


def test_a_copy_is_put_aside_where_there_is_a_file(disk: Destination) -> None:
    """A file stays where it is; what is no file is moved itself; of nothing nothing is kept."""
    disk.write_atomic(layout.MANIFEST, [b"broken"])
    assert copy_aside(disk, layout.MANIFEST) == base.ASIDE / "manifest.json"
    assert disk.read(layout.MANIFEST) == disk.read(base.ASIDE / "manifest.json") == b"broken"
    disk.remove(layout.MANIFEST)
    (disk.root / layout.MANIFEST).mkdir()
    assert copy_aside(disk, layout.MANIFEST) == base.ASIDE / "manifest.json.1"
    assert not disk.exists(layout.MANIFEST)
    assert copy_aside(disk, layout.MANIFEST) is None


def test_way_is_made_for_a_file(disk: Destination) -> None:
    """What a rename would cost somebody is set aside: other bytes, or a folder."""
    sha256 = hashlib.sha256(b"new").hexdigest()
    assert make_way(disk, FILE, sha256) is None
    for same in (b"new", b""):
        disk.write_atomic(FILE, [same])
        assert make_way(disk, FILE, sha256) is None
        assert disk.exists(FILE)
    disk.write_atomic(FILE, [b"somebody's"])
    assert make_way(disk, FILE, sha256) == base.ASIDE / "run_c+output_1.png"
    (disk.root / FILE).mkdir()
    assert make_way(disk, FILE, sha256) == base.ASIDE / "run_c+output_1.png.1"
    assert not disk.exists(FILE)


@needs_links
def test_an_obstacle_is_the_first_thing_in_the_way(disk: Destination) -> None:
    """The highest link or file on the way to a folder is named; none where all is well, or nothing stands."""
    assert obstacle(disk, RUN) is None
    disk.write_atomic(FILE, [b"123"])
    assert obstacle(disk, RUN) is None
    disk.write_atomic(PurePosixPath("ws_b"), [b"a file"])
    assert obstacle(disk, PurePosixPath("ws_b/prj_a/run_c")) == PurePosixPath("ws_b")
    (disk.root / "ws_a/prj_c").symlink_to("prj_b")
    assert obstacle(disk, PurePosixPath("ws_a/prj_c/run_c")) == PurePosixPath("ws_a/prj_c")
