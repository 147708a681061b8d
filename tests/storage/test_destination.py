"""The archive's folder with threads: nothing blocks the event loop, and a disk's errors are told as ours."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from floradl.errors import DestinationError, Exit
from floradl.storage.destination import Destination
from tests.storage.disk_support import FILE, RUN, fail_with, handles, temporary_files

pytestmark = pytest.mark.anyio


# --- errors of the disk ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "Make room"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "who owns DEST"),
        (errno.EIO, "check it before you trust it"),
        (errno.ENOTDIR, "must be a folder"),
        (errno.ENAMETOOLONG, ""),
    ],
)
@pytest.mark.parametrize("function", ["write", "fsync", "open", "replace"])
async def test_disk_error_is_fatal_and_says_what_to_do(
    disk: Destination, monkeypatch: pytest.MonkeyPatch, function: str, number: int, hint: str
) -> None:
    """Whatever step fails, the error is a DestinationError with reason and hint, and no file is left."""
    disk.ensure_dir(RUN)
    before = handles()
    fail_with(monkeypatch, function, number)
    with pytest.raises(DestinationError, match=os.strerror(number)) as caught:
        await disk.call(disk.write_atomic, FILE, [b"bytes"])
    assert hint in caught.value.hint
    assert bool(caught.value.hint) == bool(hint)
    assert caught.value.exit_code == Exit.FAILED
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.undo()
    assert disk.read(FILE) is None
    assert temporary_files(disk) == []
    assert handles() == before


async def test_error_names_the_file(disk: Destination) -> None:
    """A disk error names the file it is about."""
    disk.ensure_dir(RUN)
    with pytest.raises(DestinationError, match=r"output_1\.png"):
        await disk.call(disk.digest, FILE)


async def test_error_without_words(disk: Destination) -> None:
    """An OSError that says nothing still becomes an error that says something."""

    def work() -> None:
        raise TimeoutError

    with pytest.raises(DestinationError, match="TimeoutError") as caught:
        await disk.call(work)
    assert caught.value.hint == ""


@pytest.mark.parametrize("there", ["out", "."])
async def test_dest_that_is_a_file(tmp_path: Path, there: str) -> None:
    """A DEST that is a file, or lies below one, is refused with a hint and left alone."""
    (tmp_path / "out").write_bytes(b"mine")
    disk = Destination(tmp_path / "out" if there == "out" else tmp_path / "out" / "below")
    with pytest.raises(DestinationError):
        await disk.call(disk.prepare)
    assert (tmp_path / "out").read_bytes() == b"mine"
    disk.close()


# --- threads -----------------------------------------------------------------------------------------


async def test_call_runs_off_the_event_loop(disk: Destination) -> None:
    """Work runs in a thread of its own, gets its arguments, and its value comes back."""

    def work(first: int, *, second: int) -> tuple[int, str]:
        return first + second, threading.current_thread().name

    value, thread = await disk.call(work, 1, second=2)
    assert value == 3
    assert thread.startswith("floradl-disk")


async def test_other_errors_come_out_as_they_are(disk: Destination) -> None:
    """An error that is not the disk's is not called one."""

    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await disk.call(work)


@pytest.mark.parametrize("cancels", [1, 3])
@pytest.mark.parametrize("fails", [False, True])
async def test_cancelled_caller_waits_for_its_work(disk: Destination, cancels: int, fails: bool) -> None:
    """However often a caller is cancelled, it goes on only when no thread works for it any more."""
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        may_end.wait(10)
        ended.set()
        if fails:
            raise OSError(errno.EIO, "broken")

    task = asyncio.create_task(disk.call(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(cancels):
        task.cancel()
        await settle()
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_cancelled_before_its_turn(tmp_path: Path) -> None:
    """Work that waits behind other work is finished too, so a cancelled caller knows what was done."""
    disk = Destination(tmp_path, threads=1)
    may_end = threading.Event()
    done: list[int] = []
    first = asyncio.create_task(disk.call(may_end.wait, 10))
    second = asyncio.create_task(disk.call(done.append, 1))
    await settle()
    second.cancel()
    may_end.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await second
    assert done == [1]
    disk.close()


def test_loop_that_ends_cancels_everything(tmp_path: Path) -> None:
    """When the loop ends, and cancels every task there is, the caller ends as cancelled and nothing else."""
    disk, may_end = Destination(tmp_path), threading.Event()

    async def main() -> asyncio.Task[bool]:
        task = asyncio.create_task(disk.call(may_end.wait, 10))
        await settle()
        return task

    assert asyncio.run(main()).cancelled()
    may_end.set()
    disk.close()


def test_close_waits_for_work(disk: Destination) -> None:
    """When an archive is closed, no thread works on it any more."""
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait(30)
        ended.set()

    disk._executor.submit(work)
    closing = threading.Thread(target=disk.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    may_end.set()
    closing.join()
    assert ended.is_set()


async def settle() -> None:
    """Let the event loop do everything that it can do by now."""
    for _ in range(10):
        await asyncio.sleep(0)
