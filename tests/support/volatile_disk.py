"""A disk with a volatile cache: it keeps every write and every flush in order, and fails one when told to.

The disk is one file in a folder that this program serves by FUSE. Attached to a loop device, it takes what a
file system writes as `WRITE`, and its flushes as `FSYNC`. FUSE's protocol (linux/fuse.h, version 7.31) is
spoken here without a library, so nothing is needed but Linux, root and `/dev/fuse`.

`VolatileDisk` starts the program and tells it, line by line, what to do. The program unmounts its folder when
its input ends, and serves the disk until the kernel has let go of it: so nothing stays mounted when the tests
are killed.

`tests.support.power_cuts` makes from the recording what a power cut would leave.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

DEVICE = "disk"
"""What the one file is called."""

_ROOT_NODE, _DISK_NODE = 1, 2
_MAX_WRITE_BYTES = 1 << 20
_VALID_S = 3600
"""How long the kernel may keep what it was told: nobody else changes the disk."""
_KEEP_CACHE = 1 << 1
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_MNT_DETACH = 2

_REQUEST = struct.Struct(
    "<IIQQIIIHH"
)  # length, opcode, unique, node, user, group, process, extensions, padding
_ANSWER = struct.Struct("<IiQ")
_RECORD = struct.Struct("<cQQ")  # kind, offset, length; the bytes follow


class Kind(StrEnum):
    """What the file system did to the disk."""

    WRITE = "w"
    FLUSH = "f"
    FAILED = "x"


@dataclass(frozen=True)
class Record:
    """One write, flush or failure; a failed write or flush has no bytes."""

    kind: Kind
    offset: int = 0
    data: bytes = b""


def read_recording(log: Path) -> Iterator[Record]:
    """Read what a disk recorded, in order."""
    data = memoryview(log.read_bytes())
    at = 0
    while at < len(data):
        kind, offset, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        yield Record(Kind(kind.decode()), offset, bytes(data[at : at + length]))
        at += length


class VolatileDisk:
    """A disk that is being recorded; a context manager, which raises OSError where it cannot be served.

    Args:
        image: what the disk holds; it is written to.
        folder: an empty folder, in which the disk appears as `device`.
        log: the recording, made anew.
    """

    def __init__(self, image: Path, folder: Path, log: Path) -> None:
        self.device = folder / DEVICE
        self._arguments = (str(image), str(folder), str(log))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.volatile_disk", *self._arguments],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the tests, which unmount first what is on the disk
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            _, stderr = self._process.communicate()
            raise OSError(f"cannot serve a disk here ({stderr.strip().rpartition(chr(10))[2]})")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            # A sandbox that began meanwhile may have a copy of the mount, which ends with the program.
            self._process.kill()
            self._process.communicate()

    def position(self) -> int:
        """How many writes, flushes and failures there were so far."""
        return int(self._ask("position"))

    def fail(self, what: str, mark: bytes) -> None:
        """Fail once, with EIO.

        Args:
            what: "write" for the next write with the mark in it, whose bytes are lost; "flush" for the first
                flush after such a write.
            mark: the bytes.
        """
        self._ask(f"{what} {mark.hex()}")

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


# --- the program ------------------------------------------------------------------------------------------


class _Op(IntEnum):
    """The requests of the kernel that come to a single file."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


_UNANSWERED = (_Op.FORGET, _Op.BATCH_FORGET, _Op.INTERRUPT)


def _attributes(node: int, size_bytes: int) -> bytes:
    """A `fuse_attr`: the folder, or the disk as a file of this size."""
    mode = stat.S_IFDIR | 0o700 if node == _ROOT_NODE else stat.S_IFREG | 0o600
    moments = (0,) * 6
    return struct.pack("<6Q", node, size_bytes, size_bytes // 512, *moments[:3]) + struct.pack(
        "<10I", *moments[3:], mode, 1, 0, 0, 0, 4096, 0
    )


class _Server:
    """Answers the kernel until the disk is unmounted, and does what the tests say."""

    def __init__(self, image: Path, folder: Path, log: Path) -> None:
        self._image = image.open("r+b", buffering=0)
        self._size_bytes = image.stat().st_size
        self._log = log.open("wb", buffering=0)
        self._folder = os.fsencode(folder)
        self._position = 0
        self._fails, self._mark = "", b""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._channel = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._channel},rootmode=40000,user_id=0,group_id=0"
        if self._libc.mount(b"volatile-disk", self._folder, b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "cannot mount", str(folder))

    def obey(self) -> None:
        """Do what the tests say, a line at a time; unmount the disk when they have no more to say."""
        for line in sys.stdin:
            what, _, mark = line.strip().partition(" ")
            if what != "position":
                self._mark = bytes.fromhex(mark)
                self._fails = what
            print(self._position, flush=True)
        # Whatever still has the disk open, such as a mounted file system, is served until it lets go.
        self._libc.umount2(self._folder, _MNT_DETACH)

    def serve(self) -> None:
        """Answer requests until the kernel has let go of the disk."""
        while True:
            try:
                request = memoryview(os.read(self._channel, _MAX_WRITE_BYTES + 4096))
            except OSError as exc:
                if exc.errno == errno.ENODEV:
                    return
                if exc.errno in (errno.ENOENT, errno.EINTR):  # a request that was taken back
                    continue
                raise
            _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
            if opcode in _UNANSWERED:
                continue
            error, answer = 0, b""
            try:
                answer = self._answer(opcode, node, request[_REQUEST.size :])
            except OSError as exc:
                error = -(exc.errno or errno.EIO)
            try:
                os.write(self._channel, _ANSWER.pack(_ANSWER.size + len(answer), error, unique) + answer)
            except FileNotFoundError:  # the process that asked has been killed
                continue

    def _answer(self, opcode: int, node: int, body: memoryview) -> bytes:
        """Do what a request asks for: what reads, writes and flushes is here, the rest in `_describe`."""
        match opcode:
            case _Op.READ:
                offset, length = struct.unpack_from("<8xQI", body)
                return os.pread(self._image.fileno(), length, offset)
            case _Op.WRITE:
                offset, length = struct.unpack_from("<8xQI", body)
                self._write(offset, bytes(body[40 : 40 + length]))
                return struct.pack("<II", length, 0)
            case _Op.FSYNC:
                self._flush()
                return b""
            case _Op.RELEASE | _Op.RELEASEDIR | _Op.READDIR | _Op.FLUSH | _Op.DESTROY:
                return b""
        return self._describe(opcode, node, body)

    def _describe(self, opcode: int, node: int, body: memoryview) -> bytes:
        """Say what the folder and the disk are."""
        match opcode:
            case _Op.INIT:
                pages = _MAX_WRITE_BYTES // 4096
                head = struct.pack("<4I", 7, 31, 0, _BIG_WRITES | _MAX_PAGES)
                return head + struct.pack("<HHIIHHI28x", 16, 12, _MAX_WRITE_BYTES, 1, pages, 0, 0)
            case _Op.LOOKUP:
                if bytes(body).rstrip(b"\0") != DEVICE.encode():
                    raise FileNotFoundError(errno.ENOENT, "there is one file alone")
                entry = struct.pack("<4Q2I", _DISK_NODE, 0, _VALID_S, _VALID_S, 0, 0)
                return entry + _attributes(_DISK_NODE, self._size_bytes)
            case _Op.GETATTR | _Op.SETATTR:
                size_bytes = self._size_bytes if node == _DISK_NODE else 0
                return struct.pack("<Q2I", _VALID_S, 0, 0) + _attributes(node, size_bytes)
            case _Op.OPEN | _Op.OPENDIR:
                return struct.pack("<QII", 0, _KEEP_CACHE, 0)
            case _Op.STATFS:
                return struct.pack("<5Q4I24x", self._size_bytes // 4096, 0, 0, 1, 0, 4096, 255, 4096, 0)
        raise OSError(errno.ENOSYS, "not what a disk does")

    def _write(self, offset: int, data: bytes) -> None:
        if self._fails and self._mark in data:
            if self._fails == "write":
                self._fail()
            self._fails = "next flush"
        os.pwrite(self._image.fileno(), data, offset)
        self._note(Kind.WRITE, offset, data)

    def _flush(self) -> None:
        if self._fails == "next flush":
            self._fail()
        self._note(Kind.FLUSH)

    def _fail(self) -> None:
        self._fails = ""
        self._note(Kind.FAILED)
        raise OSError(errno.EIO, "told to fail")

    def _note(self, kind: Kind, offset: int = 0, data: bytes = b"") -> None:
        self._log.write(_RECORD.pack(kind.encode(), offset, len(data)) + data)
        self._position += 1


if __name__ == "__main__":
    server = _Server(*map(Path, sys.argv[1:]))
    print("mounted", flush=True)
    threading.Thread(target=server.obey, daemon=True).start()
    server.serve()
