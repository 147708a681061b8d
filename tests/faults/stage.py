"""Acting a row out: an account with a victim and some bystanders, a simulator, and a run of floradl."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from floradl.simulator import Account, Fault, SimOutput, SimRequest, SimRun, Simulator, serve_in_thread
from floradl.simulator.runs import NEWEST_AT_MS
from tests.faults.row import DATE, FILE, LIST, MEDIA, OLD, PICTURE, PORT, RUN, VICTIM, Row
from tests.support.zygote import floradl

_BYSTANDERS = "/bystanders/"
_MINUTE_MS = 60_000
_PATIENCE_S = 8.0
"""From the start of a row to the date that a host names, which should lie ahead when the command first asks.
On a machine so busy that it does not, there is nothing to wait for, and the row proves a little less."""


class Stage(Account):
    """A victim, three bystanders on the same media host, and as many older runs as a row asks for."""

    def __init__(self, row: Row) -> None:
        super().__init__("sk_live_of_the_fault_table")
        self.listed_at = row.listed_at
        self.victim = self._insert(VICTIM, _output(row))
        self.victim.list_outputs = row.has_outputs
        self.victim.extra = dict(row.record)
        film = b"\x00\x00\x00\x18ftypmp42" + bytes(70_000)
        self._insert("run_image", _bystander("image.png", "imageUrl", "image/png", PICTURE.body + b"1"))
        self._insert("run_film", _bystander("film.mp4", "videoUrl", "video/mp4", film))
        self._insert("run_text", SimOutput("output_1", "text", text="A boat of paper."))
        for number in range(row.history):
            self._insert(f"run_{number:03}", SimOutput("output_1", "text", text=f"text {number}"))
        self.dead_paths.add(OLD)

    def _insert(self, run_id: str, output: SimOutput) -> SimRun:
        created_at = NEWEST_AT_MS - len(self.runs) * _MINUTE_MS
        return self.insert(SimRun(run_id, "ws_a", "prj_a", created_at=created_at, outputs=[output]))

    def record(self, run: SimRun, *, listed: bool) -> dict[str, object]:
        """A run's record; the list may have an old URL of the victim's output."""
        output = run.outputs[0]
        if not listed or run is not self.victim or output.text is not None:
            return super().record(run, listed=listed)
        current, output.path = output.path, self.listed_at
        try:
            return super().record(run, listed=listed)
        finally:
            output.path = current

    def put_right(self) -> None:
        """What the API tells of the victim is as it should be from now on."""
        self.listed_at = FILE
        self.victim.extra = {}


@dataclass(frozen=True)
class Attempt:
    """What one call of the command did.

    Attributes:
        exit: its exit code.
        stderr: what it said.
        asked: the requests that the row tells of, in its words.
        asked_at_s: when each of them came, in unix seconds.
        bystanders: paths of the bystanders' files that were asked for.
        strangers: requests to the media host that carried the key.
    """

    exit: int
    stderr: str
    asked: str
    asked_at_s: tuple[float, ...]
    bystanders: frozenset[str]
    strangers: tuple[SimRequest, ...]


@dataclass(frozen=True)
class Outcome:
    """What came of a row.

    Attributes:
        stage: the account, with the fault gone.
        first: the call with the fault.
        dest: a copy of the archive as `first` left it.
        later: the same call without the fault, where `first` was not all.
        mended: the archive as `later` left it.
        date_s: the moment that `DATE` stood for, in unix seconds.
    """

    stage: Stage
    first: Attempt
    dest: Path
    later: Attempt | None
    mended: Path
    date_s: float


def act(row: Row, folder: Path) -> Outcome:
    """Carry a row out in an empty folder."""
    stage, dest, copy = Stage(row), folder / "out", folder / "before"
    with serve_in_thread(stage) as sim:
        date_s = math.ceil(time.time()) + _PATIENCE_S
        sim.faults.extend(_placed(fault, sim, date_s) for fault in row.faults)
        first = _call(row, sim, dest)
        shutil.copytree(dest, copy)
        later = None
        if row.exit:
            sim.faults.clear()
            sim.forget()
            stage.put_right()
            later = _call(row, sim, dest)
    return Outcome(stage, first, copy, later, dest, date_s)


def _call(row: Row, sim: Simulator, dest: Path) -> Attempt:
    done = floradl(sim, *row.arguments, dest, XDG_CONFIG_HOME=str(dest.parent / "config"))
    unix_s = time.time() - time.monotonic()
    asked = [(label, request.at + unix_s) for request in sim.requests if (label := _label(row, request))]
    media = sim.media_requests()
    return Attempt(
        exit=done.returncode,
        stderr=done.stderr,
        asked=", ".join(label for label, _ in asked),
        asked_at_s=tuple(at_s for _, at_s in asked),
        bystanders=frozenset(request.path for request in media if request.path.startswith(_BYSTANDERS)),
        strangers=tuple(request for request in media if "authorization" in request.headers),
    )


def _label(row: Row, request: SimRequest) -> str:
    """A request in the words of `Row.asked`; "" for one that the row does not tell of."""
    status = str(request.status) if request.status else "no answer"
    if request.server == "api" and row.is_about_lists:
        is_page = request.path == LIST and request.query.get("status") == "completed"
        return f"{status}{' page 2' if 'cursor' in request.query else ''}" if is_page else ""
    if request.server == "api":
        return f"API {status}" if request.path == RUN else ""
    if request.path.startswith(_BYSTANDERS) or (row.is_about_lists and request.path == FILE):
        return ""
    start = request.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
    elsewhere = "" if request.path == FILE else f" {request.path}"
    return f"{status}{elsewhere}{f' from {start}' if start else ''}"


def _output(row: Row) -> SimOutput:
    victim = row.victim
    if victim.is_text:
        return SimOutput("output_1", victim.type, text=victim.body.decode())
    return SimOutput("output_1", victim.type, content_type=victim.content_type, body=victim.body, path=FILE)


def _bystander(name: str, output_type: str, content_type: str, body: bytes) -> SimOutput:
    return SimOutput(
        "output_1", output_type, content_type=content_type, body=body, path=f"{_BYSTANDERS}{name}"
    )


def _placed(fault: Fault, sim: Simulator, date_s: float) -> Fault:
    """The fault with what is only known once the simulator is up."""
    date = formatdate(date_s, usegmt=True)
    port = sim.media_url.rpartition(":")[2]
    redirect = fault.redirect and fault.redirect.replace(MEDIA, sim.media_url).replace(PORT, port)
    headers = tuple((name, value.replace(DATE, date)) for name, value in fault.headers)
    return replace(fault, redirect=redirect, headers=headers)
