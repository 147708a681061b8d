"""The numbered steps by which floradl changes the disk, and runs that are killed or fail at one of them.

A run is a call of `floradl.cli.main`, as the installed command makes it, in a process of its own. In this
process the calls of `os` that change something below DEST are replaced. Each replacement counts, logs what it
is about to do ("replace manifest.json"), and at the chosen step does something else: it kills the process
with SIGKILL, or fails as a full or a broken disk does. Steps are made one after the other, whatever thread
they come from, so a run that was killed at step N has done exactly the steps before it.

Flushes are counted but not made: a killed process loses nothing that it has given to the system, and a
thousand runs would spend their time waiting for the disk.

No step is missed: an audit hook, which no code can avoid, reports every change of a file below DEST that did
not come through a counted call, and `stepped` then fails.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from floradl.archiver import folder_cache
from floradl.constants import Kind
from floradl.download import dedupe
from floradl.repository import repository
from floradl.simulator import Simulator
from floradl.storage import destination
from floradl.storage.local import folder
from tests.support.processes import environment
from tests.support.zygote import Zygote

BLOCK_BYTES = 1024 * 1024
"""Writes to one file that follow one another are one step for each such stretch."""

NEEDS_ROOM = frozenset({"create", "mkdir", "write", "replace", "flush"})
"""Steps that a full disk refuses; it still lets files be dated, cut and removed."""

_UNCOUNTED = "! "
_CHANGES = {
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.utime",
    "os.link",
    "os.symlink",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Stop:
    """What happens at a step in place of it.

    Attributes:
        number: of the step, from 1; 0 when `name` selects the step.
        how: "kill"; "tear", which writes half of the data and then kills; or the name of an error of the
            system, such as "ENOSPC".
        lasts: whether all later steps fail, too. A full disk refuses only the steps that need room.
        name: the beginning of the step's name; the first such step is selected.
    """

    number: int
    how: str
    lasts: bool = True
    name: str = ""


@dataclass(frozen=True)
class Stepped:
    """How a run ended: its exit code (negative for the signal that killed it), its output and its steps."""

    returncode: int
    stdout: str
    stderr: str
    steps: tuple[str, ...]


def stepped(
    zygote: Zygote,
    sim: Simulator,
    dest: Path,
    *arguments: str,
    stop: Stop | None = None,
    as_large: bool = False,
    shares: str = "",
) -> Stepped:
    """Run `floradl ARGUMENTS DEST`, to its end or to `stop`; see `make_large` and `make_sharing`."""
    argument = {
        "dest": str(dest),
        "stop": asdict(stop) if stop else None,
        "as_large": as_large,
        "shares": shares,
    }
    ran = zygote.run([*arguments, str(dest)], environment(sim), ("tests.support.steps", argument))
    steps = tuple(ran.log.splitlines())
    uncounted = [step for step in steps if step.startswith(_UNCOUNTED)]
    assert not uncounted, f"changes below DEST that are not counted as steps: {uncounted}"
    return Stepped(ran.returncode, ran.stdout, ran.stderr, steps)


# --- in the child -----------------------------------------------------------------------------------------


def hook(argument: dict[str, Any], log: int) -> None:
    """Count the steps of this process, and make the chosen stop happen."""
    if argument["as_large"]:
        make_large(setattr)
    make_sharing(setattr, argument["shares"])
    stop = Stop(**argument["stop"]) if argument["stop"] else None
    _Steps(argument["dest"], log, stop).watch()


def make_large(set_value: Callable[[Any, str, Any], None]) -> None:
    """Lower the limits from which archives and manifests count as large, and folder dates as settled."""
    now_ns = destination.Destination.moment_ns
    set_value(folder_cache, "MIN_PART", 1)
    set_value(repository, "LARGE_MANIFEST_BYTES", 0)
    set_value(destination.Destination, "moment_ns", lambda disk: (now_ns(disk) or 0) + 10**10)


def make_sharing(set_value: Callable[[Any, str, Any], None], way: str) -> None:
    """Let equal outputs of runs be stored once: as hard links, or as reflinks, for which copies stand in."""
    if way:
        set_value(dedupe, "SHARED_KIND", Kind.RUN)
    if way == "reflink":
        set_value(folder, "share_blocks", _copy_blocks)


def _copy_blocks(source: Path, descriptor: int) -> None:
    os.write(descriptor, source.read_bytes())


class _Steps:
    """Counts and names the steps of this process, and makes the stop happen."""

    def __init__(self, dest: str, log: int, stop: Stop | None) -> None:
        self._dest = os.path.abspath(dest)  # noqa: PTH100 - not resolve(), which follows links
        self._log = log
        self._stop = stop
        self._number = 0
        self._is_over = False
        self._is_failing = False
        self._order = threading.Lock()
        self._inside = threading.local()
        self._files: dict[int, str] = {}
        self._written: dict[int, int] = {}
        self._last_block: tuple[str, int] | None = None
        self._write_log = os.write

    def watch(self) -> None:
        """Replace the calls, and install the audit hook that finds missed ones."""
        for name, counted in (
            ("open", self._open),
            ("close", self._close),
            ("write", self._write),
            ("fsync", self._fsync),
            ("ftruncate", self._ftruncate),
            ("mkdir", self._simple("mkdir", is_done=os.path.lexists)),
            ("unlink", self._simple("remove", is_done=lambda path: not os.path.lexists(path))),
            ("remove", self._simple("remove", is_done=lambda path: not os.path.lexists(path))),
            ("utime", self._simple("date")),
            ("replace", self._rename),
            ("rename", self._rename),
            ("link", self._link),
        ):
            real = getattr(os, name)
            setattr(os, name, lambda *args, _call=counted, _real=real, **kw: _call(_real, *args, **kw))
        sys.addaudithook(self._audit)

    # --- the calls ----------------------------------------------------------------------------------------

    def _open(self, real: Callable[..., int], path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        place = self._place(path, kwargs.get("dir_fd"))
        name = self._name(place)
        if name is None:
            return real(path, flags, *args, **kwargs)
        changes = flags & os.O_CREAT and not os.path.lexists(place)
        if not changes and flags & _WRITES and self._is_failing and self._stop and self._stop.how == "EROFS":
            self._fail(self._stop, "open", path)  # not a step, but a read-only disk refuses it all the same
        with self._step("create", name, path) if changes else self._looked_at():
            descriptor = real(path, flags, *args, **kwargs)
        self._files[descriptor], self._written[descriptor] = name, 0
        return descriptor

    def _close(self, real: Callable[[int], None], descriptor: int) -> None:
        self._files.pop(descriptor, None)
        real(descriptor)

    def _write(self, real: Callable[[int, bytes], int], descriptor: int, data: bytes) -> int:
        name = self._files.get(descriptor)
        if name is None:
            return real(descriptor, data)
        block = (name, self._written[descriptor] // BLOCK_BYTES)

        def tear() -> None:
            real(descriptor, data[: len(data) // 2])

        with self._step("write", name, tear=tear, block=block):
            written = real(descriptor, data)
        self._written[descriptor] += written
        return written

    def _fsync(self, real: Callable[[int], None], descriptor: int) -> None:
        name = self._files.get(descriptor)
        if name is None:
            real(descriptor)
            return
        with self._step("flush", name):
            pass  # see the module's docstring

    def _ftruncate(self, real: Callable[[int, int], None], descriptor: int, length: int) -> None:
        with self._step("cut", self._files[descriptor]):
            real(descriptor, length)

    def _rename(self, real: Callable[..., None], source: Any, target: Any, **kwargs: Any) -> None:
        name = self._name(self._place(target, kwargs.get("dst_dir_fd")))
        if name is None:
            real(source, target, **kwargs)
            return
        came_from = self._place(source, kwargs.get("src_dir_fd"))
        with self._step("replace", f"{name} from {self._name(came_from)}", came_from):
            real(source, target, **kwargs)

    def _link(self, real: Callable[..., None], source: Any, target: Any, **kwargs: Any) -> None:
        with self._step("link", f"{self._name(target)} from {self._name(source)}", source):
            real(source, target, **kwargs)

    def _simple(self, kind: str, is_done: Callable[[Any], bool] = lambda _: False) -> Callable[..., None]:
        """Replace a call with one path. A call for which `is_done` holds changes nothing, and is no step."""

        def call(real: Callable[..., None], path: Any, *args: Any, **kwargs: Any) -> None:
            place = self._place(path, kwargs.get("dir_fd"))
            name = self._name(place)
            if name is None:
                real(path, *args, **kwargs)
                return
            with self._looked_at() if is_done(place) else self._step(kind, name, place):
                real(path, *args, **kwargs)

        return call

    # --- what happens at a step ---------------------------------------------------------------------------

    @contextmanager
    def _step(
        self,
        kind: str,
        name: str,
        path: object = None,
        *,
        tear: Callable[[], None] | None = None,
        block: tuple[str, int] | None = None,
    ) -> Iterator[None]:
        with self._order:
            is_new = block is None or block != self._last_block
            self._last_block = block
            is_now = False
            if is_new:
                self._number += 1
                self._write_log(self._log, f"{kind} {name}\n".encode())
                is_now = self._stop is not None and self._is_at(self._stop, f"{kind} {name}")
            if self._stop is not None:
                self._spoil(self._stop, kind, path, tear, is_now=is_now)
            with self._looked_at():
                yield

    def _is_at(self, stop: Stop, step: str) -> bool:
        if stop.number:
            return self._number == stop.number
        return not self._is_over and step.startswith(stop.name)

    def _spoil(
        self, stop: Stop, kind: str, path: object, tear: Callable[[], None] | None, *, is_now: bool
    ) -> None:
        self._is_over |= is_now
        if is_now and stop.how in ("kill", "tear"):
            if stop.how == "tear" and tear is not None:
                tear()
            os.kill(os.getpid(), signal.SIGKILL)
        self._is_failing |= is_now and stop.lasts
        if is_now or self._is_failing:
            self._fail(stop, kind, path)

    def _fail(self, stop: Stop, kind: str, path: object) -> None:
        code = getattr(errno, stop.how, None)
        if code is None or (code == errno.ENOSPC and kind not in NEEDS_ROOM):
            return
        self._last_block = None
        raise OSError(code, os.strerror(code), *([] if path is None else [os.fspath(path)]))  # type: ignore[call-overload]  # as the system raises it

    @contextmanager
    def _looked_at(self) -> Iterator[None]:
        """Make a call that the audit hook does not report."""
        self._inside.step = True
        try:
            yield
        finally:
            self._inside.step = False

    def _place(self, path: Any, folder: int | None) -> Any:
        """The whole path of what is named in a folder that is held; any other path as it is."""
        if folder is None:
            return path
        return Path(self._dest, self._files.get(folder, os.pardir), os.fsdecode(path))

    def _name(self, path: Any) -> str | None:
        """The name of a path below DEST in the log; None for any other path."""
        if isinstance(path, int):
            return self._files.get(path)
        full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - the same
        if full != self._dest and not full.startswith(self._dest + os.sep):
            return None
        return Path(os.path.relpath(full, self._dest)).as_posix()

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(args[2], int) and bool(args[2] & _WRITES)
        else:
            changes = event in _CHANGES
        if changes and not getattr(self._inside, "step", False) and not isinstance(args[0], int):
            name = self._name(args[0]) or (self._name(args[1]) if event == "os.rename" else None)
            if name is not None:
                self._write_log(self._log, f"{_UNCOUNTED}{event} {name}\n".encode())
