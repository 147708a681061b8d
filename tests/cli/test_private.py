"""Folders of floradl's own: for their user alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from floradl.cli.private import make_private_folder


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process's umask."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.usefixtures("umask")
def test_every_folder_that_is_made_is_private(tmp_path: Path) -> None:
    """Those above it too; one that was there keeps its mode, and a second call changes nothing."""
    tmp_path.chmod(0o755)
    folder = tmp_path / "share" / "floradl" / "keys"
    for _ in range(2):
        make_private_folder(folder)
        made = [folder, *list(folder.parents)[:2]]
        assert [stat.S_IMODE(each.stat().st_mode) for each in made] == [0o700] * 3
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_what_is_no_folder(tmp_path: Path) -> None:
    """A file or a dead link in its place is an error, and stays."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file" / "keys")
    if os.name != "nt":
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
        with pytest.raises(OSError, match="link"):
            make_private_folder(tmp_path / "link")
