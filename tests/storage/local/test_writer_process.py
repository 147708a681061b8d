"""A writer, and the process that begins writers, in threads of this one: what they say, how they end."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec
import pytest

from floradl.storage.local import writer_process
from floradl.storage.local.folder import LocalStorage
from floradl.storage.local.shared_memory import SLOT_BYTES
from floradl.storage.local.writer_process import Order, OrderedFile, Outcome, Setup, WrittenFile, serve

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory as Linux has it")

FILE = PurePosixPath("ws_a/prj_b/run_c/output_1.png")
DATA = bytes(range(256)) * 700
READY_S = 60.0


@pytest.fixture
def disk(tmp_path: Path) -> LocalStorage:
    """An archive's folder."""
    disk = LocalStorage(tmp_path / "out")
    disk.prepare()
    return disk


class Served:
    """A writer's part, in a thread."""

    def __init__(self, disk: LocalStorage) -> None:
        self.memory = mmap.mmap(-1, 2 * SLOT_BYTES)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.theirs = theirs
        self.thread = threading.Thread(
            target=serve, args=(theirs, memoryview(self.memory), disk), daemon=True
        )
        self.thread.start()

    def answer(self) -> Outcome:
        """The next thing it says."""
        (outcome,) = msgspec.msgpack.decode(self.channel.recv(1 << 16), type=list[Outcome])
        return outcome

    def order(self, path: PurePosixPath, data: bytes, *, is_known: bool = False) -> None:
        """Order a file."""
        self.memory[SLOT_BYTES : SLOT_BYTES + len(data)] = data
        files = [OrderedFile(path.name, len(data), replaces=False)]
        self.channel.send(msgspec.msgpack.encode([Order(1, str(path.parent), is_known, files, None)]))

    def end(self) -> None:
        """Hang up, and wait for the end."""
        self.channel.close()
        self.thread.join(READY_S)
        assert not self.thread.is_alive()
        self.theirs.close()


def test_serving(disk: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a writer answers, to orders that go well and to those that do not."""
    served = Served(disk)
    served.order(FILE, DATA)
    assert served.answer() == Outcome(1, [WrittenFile(hashlib.sha256(DATA).hexdigest(), None)])
    disk.write_atomic(FILE, [b"other"])
    served.order(FILE, DATA)
    assert served.answer().files[0].in_the_way == ".floradl/aside/run_c+output_1.png"
    with monkeypatch.context() as patch:

        def fail(code: int, *more: str) -> Callable[..., None]:
            def write(*_: object, **__: object) -> None:
                raise OSError(code, os.strerror(code), *more)

            return write

        patch.setattr(disk, "write_files", fail(errno.ENOSPC))
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1, error=(errno.ENOSPC, "No space left on device", None))
        patch.setattr(disk, "write_files", fail(errno.EIO, "some/file"))
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1, error=(errno.EIO, "Input/output error", "some/file"))
        patch.setattr(disk, "write_files", None)
        served.order(FILE, DATA)
        assert served.answer() == Outcome(1)
    served.end()


def test_what_is_ordered_together_is_done_together(
    disk: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each order has its answer; files of a folder share its flush, and an error of that is theirs alone."""
    memory = memoryview(bytes(SLOT_BYTES) + DATA)
    names = ["run_a/1.png", "run_b/1.png", "run_a/2.png"]
    orders = [
        Order(1, f"ws/prj/{folder}", False, [OrderedFile(name, len(DATA), replaces=False)], None)
        for folder, name in (name.split("/") for name in names)
    ]
    flushed: list[str] = []

    def flush(folder: PurePosixPath) -> None:
        flushed.append(folder.name)
        if folder.name == "run_b":
            raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(disk, "flush_folder", flush)
    done, broken, also = writer_process._carry_out(orders, memory, disk)
    assert sorted(flushed) == ["run_a", "run_b"]
    assert len(done.files) == len(also.files) == 1
    assert (broken.files, broken.error) == ([], (errno.EIO, "broken", None))
    assert all((disk.root / "ws/prj" / name).read_bytes() == DATA for name in names)


def test_a_folder_that_is_said_to_be_there(disk: LocalStorage) -> None:
    """It is not made; where it is not there, that is an error and no file in a folder of nobody's."""
    served = Served(disk)
    served.order(FILE, DATA, is_known=True)
    error = served.answer().error
    assert error is not None
    assert error[0] == errno.ENOENT
    served.end()


def test_nobody_listens_any_more(disk: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process ended while a file was written."""
    served, began, goes_on = Served(disk), threading.Event(), threading.Event()
    write_files = disk.write_files

    def slow(*args: object, **named: object) -> object:
        began.set()
        assert goes_on.wait(READY_S)
        return write_files(*args, **named)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr(disk, "write_files", slow)
    served.order(FILE, DATA)
    assert began.wait(READY_S)
    served.channel.close()
    goes_on.set()
    served.end()


class Beginning:
    """The process that begins the writers, in a thread, without beginning any."""

    def __init__(self, disk: LocalStorage, monkeypatch: pytest.MonkeyPatch, forked: list[int]) -> None:
        self.ignored: list[int] = []
        self.ends: list[object] = []
        monkeypatch.setattr(signal, "signal", lambda number, _: self.ignored.append(number))
        monkeypatch.setattr(os, "_exit", self.ends.append)
        monkeypatch.setattr(os, "fork", lambda: forked.pop(0))
        monkeypatch.setattr(os, "wait", lambda: (102, 0))
        monkeypatch.setattr(os, "kill", lambda pid, number: self.ends.append((pid, number)))
        monkeypatch.setattr(os, "waitpid", lambda pid, _: self.ends.append(pid))
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.memory = os.memfd_create("test")
        os.ftruncate(self.memory, SLOT_BYTES)
        monkeypatch.setattr(sys, "argv", ["", str(theirs.detach()), str(self.memory)])
        self.channel.send(msgspec.msgpack.encode(Setup(str(disk.root), True, disk.device)))
        self.thread = threading.Thread(target=writer_process.main, daemon=True)
        self.thread.start()

    def end(self) -> None:
        """Wait for its end."""
        self.channel.close()
        self.thread.join(READY_S)
        assert not self.thread.is_alive()
        os.close(self.memory)


def test_the_process_of_a_writer(disk: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes its setup from the socket, leaves signals alone, and ends when nobody is there."""
    begun = Beginning(disk, monkeypatch, [0])
    os.pwrite(begun.memory, DATA, 0)
    order = Order(0, str(FILE.parent), False, [OrderedFile(FILE.name, len(DATA), replaces=False)], None)
    begun.channel.send(msgspec.msgpack.encode([order]))
    (outcome,) = msgspec.msgpack.decode(begun.channel.recv(1 << 16), type=list[Outcome])
    assert outcome.files
    begun.end()
    assert (sorted(begun.ignored), begun.ends) == ([signal.SIGINT, signal.SIGTERM], [0])
    assert (disk.root / FILE).read_bytes() == DATA


def test_the_process_that_begins_them(disk: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that they are there, and ends all of them with the first that ends."""
    begun = Beginning(disk, monkeypatch, [101, 102, 103, 104])
    assert msgspec.msgpack.decode(begun.channel.recv(1 << 16), type=list[Outcome]) == [Outcome(-1)]
    begun.end()
    killed = {(pid, int(signal.SIGKILL)) for pid in (101, 103, 104)}
    assert (set(begun.ends[:3]), set(begun.ends[3:6]), begun.ends[6:]) == (killed, {101, 103, 104}, [0])


def test_another_disk_at_its_place_is_refused(disk: LocalStorage) -> None:
    """What was mounted since the first process looked is not written to."""
    assert disk.device is not None
    other = LocalStorage(disk.root, device=disk.device + 1)
    with pytest.raises(OSError, match="unmounted"):
        other.write_atomic(FILE, [DATA])
