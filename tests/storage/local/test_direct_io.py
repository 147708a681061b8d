"""Large files past the system's cache: what goes there, and when nothing does any more."""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floradl.buffers import BLOCK_BYTES, Blocks
from floradl.clock import Clock
from floradl.storage.local import direct_io
from floradl.storage.local.direct_io import LOOK_BYTES, SLOW_BYTES_PER_S, SLOW_LOOKS, Direct

pytestmark = pytest.mark.skipif(not hasattr(os, "O_DIRECT"), reason="direct writes as Linux has them")

GET, SET = 3, 4  # F_GETFL, F_SETFL


class FileSystem:
    """One whose files can be written directly, whatever the tests run on; it notes how each write went."""

    F_GETFL, F_SETFL = GET, SET

    def __init__(self) -> None:
        self.flags = os.O_WRONLY
        self.is_able = True
        self.real_write = os.write
        self.answer: Callable[[int, memoryview], int] = self.real_write
        self.were_direct: list[bool] = []

    def fcntl(self, _descriptor: int, command: int, flags: int = 0) -> int:
        """As `fcntl.fcntl`, for the flags of a descriptor."""
        if command == SET:
            if flags & os.O_DIRECT and not self.is_able:
                raise OSError(errno.EINVAL, "no such writes here")
            self.flags = flags
        return self.flags

    def write(self, descriptor: int, data: memoryview) -> int:
        """As `os.write`."""
        self.were_direct.append(bool(self.flags & os.O_DIRECT))
        return self.answer(descriptor, data)

    @property
    def is_as_before(self) -> bool:
        """Whether what is written next goes by way of the cache."""
        return not self.flags & os.O_DIRECT


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """Below everything that is written."""
    made = FileSystem()
    monkeypatch.setattr(direct_io, "_fcntl", made)
    monkeypatch.setattr(os, "write", made.write)
    return made


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """Of an empty file."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def a_block(fill: bytes = b"a") -> memoryview:
    """A block of these bytes."""
    block = Blocks().take()
    block[:] = fill * (BLOCK_BYTES // len(fill))
    return block


def test_a_block_on_the_disk_of_these_tests(descriptor: int) -> None:
    """All of it is written, or nothing where the file system cannot; then the descriptor is as it was."""
    block = a_block(os.urandom(4096))
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    written = Direct(is_on=True).write(descriptor, block, 0)
    assert written in (0, BLOCK_BYTES)
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == written
    assert os.pread(descriptor, BLOCK_BYTES, 0) == bytes(block[:written])
    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) == before


def test_a_block_goes_past_the_cache(disk: FileSystem, descriptor: int) -> None:
    """And what comes after it by other ways does not."""
    one = Direct(is_on=True)
    assert one.write(descriptor, a_block(b"a"), 0) == BLOCK_BYTES
    assert one.write(descriptor, a_block(b"b"), BLOCK_BYTES) == BLOCK_BYTES
    assert (disk.were_direct, disk.is_as_before) == ([True, True], True)
    assert os.pread(descriptor, 3 * BLOCK_BYTES, 0) == b"a" * BLOCK_BYTES + b"b" * BLOCK_BYTES


@pytest.mark.parametrize(
    ("chunk", "at"),
    [
        (b"a" * BLOCK_BYTES, 0),
        (a_block()[4096:], 0),
        (memoryview(bytearray(BLOCK_BYTES)), 0),
        (a_block(), 1),
        (a_block(), 512),
        (a_block(), BLOCK_BYTES + 100),
    ],
)
def test_what_no_disk_takes_so(disk: FileSystem, descriptor: int, chunk: bytes, at: int) -> None:
    """It is left to others, and the next block goes directly."""
    one = Direct(is_on=True)
    assert one.write(descriptor, chunk, at) == 0
    assert one.write(descriptor, a_block(), 4096) == BLOCK_BYTES
    assert disk.were_direct == [True]


def test_switched_off(disk: FileSystem, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes directly; nor on a system that knows no such thing."""
    assert Direct(is_on=False).write(descriptor, a_block(), 0) == 0
    monkeypatch.delattr(os, "O_DIRECT")
    assert Direct(is_on=True).write(descriptor, a_block(), 0) == 0
    assert disk.were_direct == []


def test_a_system_without_fcntl(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows is one: the module can be had, and leaves everything to the cache."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.find_spec("floradl.storage.local.direct_io")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.Direct(is_on=True).write(descriptor, a_block(), 0) == 0


@pytest.mark.parametrize("knows_at_once", [True, False])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOMEM])
def test_a_file_system_without(
    disk: FileSystem, descriptor: int, caplog: pytest.LogCaptureFixture, number: int, knows_at_once: bool
) -> None:
    """It says so when it is told, or when something is written; it is not asked again, and the log has it."""

    def refuse(_descriptor: int, _data: memoryview) -> int:
        raise OSError(number, "no such writes here")

    disk.is_able, disk.answer = not knows_at_once, refuse
    one = Direct(is_on=True)
    with caplog.at_level("INFO"):
        assert [one.write(descriptor, a_block(), 0), one.write(descriptor, a_block(), 0)] == [0, 0]
    assert (disk.were_direct, disk.is_as_before) == ([] if knows_at_once else [True], True)
    assert [record.message for record in caplog.records] == [
        "large files go by way of the system's cache from now on: no such writes here"
    ]


def test_two_that_find_out_together(
    disk: FileSystem, descriptor: int, caplog: pytest.LogCaptureFixture
) -> None:
    """That a file system cannot do this is said once."""
    one = Direct(is_on=True)

    def refuse(_descriptor: int, _data: memoryview) -> int:
        if len(disk.were_direct) == 1:
            assert one.write(descriptor, a_block(), 0) == 0
        raise OSError(errno.EINVAL, "no such writes here")

    disk.answer = refuse
    with caplog.at_level("INFO"):
        assert one.write(descriptor, a_block(), 0) == 0
    assert (disk.were_direct, len(caplog.records)) == ([True, True], 1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_the_disk_fails(disk: FileSystem, descriptor: int, number: int) -> None:
    """Whoever writes has to know."""

    def fail(_descriptor: int, _data: memoryview) -> int:
        raise OSError(number, "the disk")

    disk.answer = fail
    with pytest.raises(OSError, match="the disk") as caught:
        Direct(is_on=True).write(descriptor, a_block(), 0)
    assert (caught.value.errno, disk.is_as_before) == (number, True)


def test_a_disk_that_is_nearly_full(disk: FileSystem, descriptor: int) -> None:
    """It takes less, and it is said how much."""
    disk.answer = lambda descriptor, data: disk.real_write(descriptor, data[:8192])
    assert Direct(is_on=True).write(descriptor, a_block(), 0) == 8192


class Watch:
    """A clock, and a disk that takes its time."""

    def __init__(self, disk: FileSystem) -> None:
        self.now_s = 0.0
        self.block_s = 0.0
        disk.answer = self._answer
        self.clock = Clock(monotonic=lambda: self.now_s)

    def _answer(self, _descriptor: int, data: memoryview) -> int:
        self.now_s += self.block_s
        return len(data)


AS_FAST_S = BLOCK_BYTES / SLOW_BYTES_PER_S
"""What a block takes on a disk that is just fast enough."""

LOOK_BLOCKS = LOOK_BYTES // BLOCK_BYTES


@pytest.mark.parametrize(
    ("looks", "is_direct"),
    [
        ([0.9] * 4, True),
        ([1.1] * SLOW_LOOKS, False),
        ([1.1] * (SLOW_LOOKS - 1), True),
        ([1.1] * (SLOW_LOOKS - 1) + [0.9] + [1.1] * (SLOW_LOOKS - 1), True),
        ([0.9, 1.1, 1.1, 0.1], False),
    ],
)
def test_a_slow_disk(disk: FileSystem, descriptor: int, looks: list[float], is_direct: bool) -> None:
    """Slow twice in a row, it is left to the cache; the time in which nobody waited for it does not count."""
    watch, block = Watch(disk), a_block()
    one = Direct(is_on=True, clock=watch.clock)
    for share in looks:
        watch.block_s = share * AS_FAST_S
        for _ in range(LOOK_BLOCKS):
            one.write(descriptor, block, 0)
            watch.now_s += 10
    assert one.write(descriptor, block, 0) == (BLOCK_BYTES if is_direct else 0)


def test_what_fails_and_takes_long_counts(disk: FileSystem, descriptor: int) -> None:
    """Its time does, and none of its bytes."""
    watch, block = Watch(disk), a_block()
    one = Direct(is_on=True, clock=watch.clock)

    def fail(_descriptor: int, _data: memoryview) -> int:
        watch.now_s += SLOW_LOOKS * LOOK_BLOCKS * AS_FAST_S
        raise OSError(errno.EIO, "the disk")

    for _ in range(SLOW_LOOKS):
        disk.answer = fail
        with pytest.raises(OSError, match="the disk"):
            one.write(descriptor, block, 0)
        disk.answer = lambda _, data: len(data)
        for _ in range(LOOK_BLOCKS):
            assert one.write(descriptor, block, 0)
    assert one.write(descriptor, block, 0) == 0


@pytest.mark.parametrize(("seconds", "is_direct"), [(1.9, True), (2.1, False)])
def test_two_at_the_same_time(disk: FileSystem, descriptor: int, seconds: float, is_direct: bool) -> None:
    """While two write, what counts is what both get: each may take twice as long, and not more."""
    watch, block = Watch(disk), a_block()
    one, both, done = Direct(is_on=True, clock=watch.clock), threading.Barrier(2), threading.Barrier(2)

    def together(_descriptor: int, data: memoryview) -> int:
        if both.wait(10) == 0:
            watch.now_s += seconds * AS_FAST_S
        done.wait(10)
        return len(data)

    disk.answer = together
    blocks_each = SLOW_LOOKS * LOOK_BLOCKS // 2

    def write() -> None:
        for _ in range(blocks_each):
            one.write(descriptor, block, 0)

    other = threading.Thread(target=write)
    other.start()
    write()
    other.join()
    disk.answer = lambda _, data: len(data)
    assert one.write(descriptor, block, 0) == (BLOCK_BYTES if is_direct else 0)
