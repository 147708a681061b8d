"""Benchmarks of downloading media: floradl beside others, from hosts that are near, far, slow or refusing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import contenders, media
from benchmarks.account import Output, runs_of
from benchmarks.bench import ARCHIVE, Bench, check_tree
from benchmarks.contenders import FetchJob, Peer
from benchmarks.errors import BenchmarkError
from benchmarks.host import Route
from benchmarks.measure import Entrant, run_process, with_extra
from benchmarks.media import Files
from benchmarks.results import Group, Sample

MIB = 1024 * 1024
SMALL_PEERS = (
    contenders.aria2c(16), contenders.aria2c(64), contenders.curl(16), contenders.curl(64),
    contenders.rclone(16), contenders.rclone(64), contenders.wget(), contenders.gallery_dl(),
)  # fmt: skip
LARGE_PEERS = (
    contenders.aria2c(16), contenders.aria2c(16, 16), contenders.curl(16), contenders.rclone(16),
    contenders.wget(), contenders.gallery_dl(),
)  # fmt: skip
SINGLE_PEERS = (contenders.curl_single(), contenders.aria2c(16, 16))


@dataclass(frozen=True, slots=True)
class Load:
    """Media files and texts to download, in an order that mixes their sizes."""

    title: str
    files: tuple[Files, ...]
    texts: int = 0

    @property
    def count(self) -> int:
        """How many media files there are; texts are not counted."""
        return sum(files.count for files in self.files)

    @property
    def size_bytes(self) -> int:
        """The size of all media files together."""
        return sum(files.count * files.size_bytes for files in self.files)

    def outputs(self, bench: Bench, route: Route) -> list[Output]:
        """The outputs that an account has of them, texts included."""
        found = [
            Output(files.type, bench.host.media_url(route, path))
            for files in self.files
            for path in files.paths
        ]
        found += [Output("text", text(number)) for number in range(self.texts)]
        if len(self.files) > 1:
            random.Random(4).shuffle(found)
        return found


@dataclass(frozen=True, slots=True)
class Setting:
    """A way to measure floradl: its options, and how many outputs each run of the account has."""

    name: str
    options: tuple[str, ...] = ()
    per_run: int = 4


DEFAULT = Setting("floradl")
AT_16 = Setting("floradl -j 16", ("-j", "16"))
AT_64 = Setting("floradl -j 64", ("-j", "64"))
ONE_EACH = Setting("floradl, runs of 1", per_run=1)


def text(number: int) -> str:
    """The text of a text output."""
    return f"Text {number}: a fox in the snow, seen from afar, in the light of late afternoon. " * 4


def _images(bench: Bench) -> Load:
    files = Files(bench.size(3000, 24), 200_000)
    return Load(f"{files.count:,} images of 200 KB", (files,))


def small(bench: Bench, route: Route) -> Group:
    """Download thousands of small images."""
    load = _images(bench)
    return _measure(bench, "small", load, route, (DEFAULT, AT_16, AT_64, ONE_EACH), SMALL_PEERS)


def large(bench: Bench, route: Route) -> Group:
    """Download a few large videos."""
    load = Load("4 videos of 256 MiB", (Files(4, bench.size(256, 2) * MIB, "videoUrl"),))
    return _measure(bench, "large", load, route, (DEFAULT, AT_64), LARGE_PEERS)


def mix(bench: Bench, route: Route) -> Group:
    """Download small and large files; floradl archives texts as well, which have no URL for the others."""
    files = (
        Files(bench.size(400, 8), 200_000),
        Files(bench.size(40, 2), bench.size(5_000_000, 500_000)),
        Files(bench.size(4, 1), bench.size(64, 2) * MIB, "videoUrl"),
    )
    texts = bench.size(400, 8)
    count = sum(part.count for part in files)
    load = Load(f"{count} files of three sizes and {texts} texts", files, texts)
    return _measure(bench, "mix", load, route, (DEFAULT, AT_16, AT_64), SMALL_PEERS)


def single(bench: Bench, route: Route) -> Group:
    """Download one large video."""
    load = Load("one video of 256 MiB", (Files(1, bench.size(256, 4) * MIB, "videoUrl"),))
    return _measure(bench, "one", load, route, (DEFAULT,), SINGLE_PEERS)


def busy(bench: Bench, route: Route) -> Group:
    """Download small images from a host that refuses more than a number of requests at once."""
    load = _images(bench)
    fixed = (Setting(f"floradl -j {number}", ("-j", str(number))) for number in (4, 6, 8))
    return _measure(bench, "busy", load, route, (DEFAULT, *fixed), ())


def _measure(
    bench: Bench, name: str, load: Load, route: Route, settings: Iterable[Setting], peers: Sequence[Peer]
) -> Group:
    for files in load.files:
        media.make(files, bench.media)
    urls = [output.value for output in load.outputs(bench, route) if output.type != "text"]
    entrants = [_floradl(bench, f"{name}-{route.name}", load, route, setting) for setting in settings]
    entrants += [_peer(bench, peer, urls, load) for peer in peers]
    if len(load.files) == 1 and peers:
        per_run = min(DEFAULT.per_run, load.count)
        entrants.append(bench.floor(load.count // per_run, per_run, load.files[0].size_bytes))
    if bench.is_tiny:
        # A tiny run has each contender once, and floradl in every setting: that shows as well what is broken,
        # in half the time.
        entrants = [entrants[0], *(entrant for entrant in entrants[1:] if entrant.name not in bench.seen)]
        bench.seen.update(entrant.name for entrant in entrants)
    return Group(
        id=f"{name}-{route.name}",
        title=f"{load.title}, {route.title}",
        unit="files",
        items=load.count,
        size_bytes=load.size_bytes,
        rows=bench.take_turns(entrants),
    )


def _floradl(bench: Bench, name: str, load: Load, route: Route, setting: Setting) -> Entrant:
    scene = f"{name}-by-{setting.per_run}"
    outputs = load.outputs(bench, route)
    bench.publish(scene, runs_of(outputs, setting.per_run))
    text_bytes = sum(len(output.value.encode()) for output in outputs if output.type == "text")
    expected = len(outputs), load.size_bytes + text_bytes

    def run() -> Sample:
        with bench.folder() as folder:
            dest = folder / "archive"
            bench.host.reset_counts()
            sample, report = bench.archive(scene, dest, setting.options)
            counts = bench.host.counts()
            check_tree(dest, *expected, setting.name)
            if report.outputs.fetched != len(outputs):
                raise BenchmarkError(
                    f"{setting.name} reports {report.outputs.fetched} of {len(outputs)} outputs"
                )
        requests = {"media_requests": counts.media, "refused": counts.refused, "peak_requests": counts.peak}
        return with_extra(sample, requests if counts.media else {})

    shown = " ".join(["floradl", *ARCHIVE, *setting.options, "DEST"])
    return Entrant(setting.name, shown, run)


def _peer(bench: Bench, peer: Peer, urls: Sequence[str], load: Load) -> Entrant:
    def run() -> Sample:
        with bench.folder() as folder:
            job = FetchJob(urls, folder / "files", folder)
            job.dest.mkdir()
            outcome = run_process(peer.command(job), bench.environment(), bench.work)
            check_tree(job.dest, load.count, load.size_bytes, peer.name)
        return outcome.sample

    missing = "" if peer.is_there else f"{peer.program} is not installed"
    if missing and peer.is_required and bench.is_tiny:
        raise BenchmarkError(missing)
    return Entrant(peer.name, peer.shown, run, peer.lacks, peer.max_runs, missing)
