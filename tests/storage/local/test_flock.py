"""The kernel's locks: one holder alone or several readers, and no link there is followed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from floradl.storage.local.flock import ExclusiveLock, SharedLock
from tests.storage.disk_support import handles, needs_links


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a lock file may be made."""
    return tmp_path / "lock"


def test_one_holder_alone(path: Path) -> None:
    """While one holds the exclusive lock nobody else gets any; once it is given back, everybody may."""
    first, second, reader = ExclusiveLock(path), ExclusiveLock(path), SharedLock(path)
    assert first.try_acquire()
    assert (first.is_held, second.is_held) == (True, False)
    assert not second.try_acquire()
    assert not reader.try_acquire()
    first.release()
    assert not first.is_held
    assert reader.try_acquire()
    reader.release()
    assert second.try_acquire()
    second.release()


def test_readers_share(path: Path) -> None:
    """Readers hold the lock together, and the exclusive one is to be had when the last has given it back."""
    path.touch()
    readers, writer = [SharedLock(path) for _ in range(3)], ExclusiveLock(path)
    assert all(reader.try_acquire() for reader in readers)
    for reader in readers:
        assert not writer.try_acquire()
        reader.release()
    assert writer.try_acquire()
    writer.release()


def test_a_reader_makes_no_file(path: Path) -> None:
    """Where there is no lock file a reader goes on without a lock, and leaves no file and no open handle."""
    before = handles()
    reader = SharedLock(path)
    assert reader.try_acquire()
    reader.release()
    assert (path.exists(), handles()) == (False, before)


@needs_links
@pytest.mark.parametrize("kind", [ExclusiveLock, SharedLock])
def test_no_lock_on_what_a_link_leads_to(
    path: Path, kind: type[ExclusiveLock | SharedLock], tmp_path: Path
) -> None:
    """A link in the lock file's place is refused."""
    (tmp_path / "other").touch()
    path.symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        kind(path).try_acquire()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EAGAIN, errno.EACCES])
def test_a_reader_that_gets_no_lock_leaves_no_handle(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Another holder is told from a file system that has no locks; either way the file is closed."""
    path.touch()

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    before, reader = handles(), SharedLock(path)
    if number == errno.ENOLCK:
        with pytest.raises(OSError, match=os.strerror(number)):
            reader.try_acquire()
    else:
        assert not reader.try_acquire()
    assert handles() == before
