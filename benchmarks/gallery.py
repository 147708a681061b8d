"""`python -m benchmarks.gallery`: the gallery of 100,000 outputs in a browser, and what one night adds to it.

Makes the archive (its pictures are links to a few files, so that this takes a minute and little room) and its
gallery, adds 50 outputs and makes the gallery again. Then it opens the gallery from disk in Chromium and
scrolls, filters, searches and sorts. The figures go into docs/performance.md, between `<!-- gallery -->` and
`<!-- end -->`.

    python -m benchmarks.gallery
    python -m benchmarks.gallery --outputs 2000 --print
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks.machine import describe_machine
from floradl.simulator.media import Drawing, Kind, draw

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_BLOCK = re.compile(r"(<!-- gallery -->\n).*?(<!-- end -->)", re.DOTALL)
_OLDEST_MS = 1_757_900_000_000
_SPACING_MS = 1_500_000
_PICTURES = 24
_SIZES = ((640, 480), (512, 512), (420, 630), (700, 394))
_MODELS = ("t2i-flux-2-pro", "t2i-nano-banana", "i2v-kling-3", "t2v-veo-4", "llm-haiku")
_TEXT = "A paper boat crossing a flooded library, seen from above, number {}. " * 6
_NIGHT = 50

# Runs before the page's own scripts, and keeps the longest time in which the page could not answer.
_WATCH = """
window.pauses = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.pauses.push(entry.duration);
}).observe({ type: "longtask", buffered: true });
"""
_PICTURES_SHOWN = """() => {
  const seen = [...document.querySelectorAll(".tile img")].filter((image) => {
    const box = image.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  return seen.length > 3 && seen.every((image) => image.complete && image.naturalWidth) && performance.now();
}"""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    value: float
    unit: str
    target: float | None = None

    @property
    def row(self) -> str:
        """The figure as a line of a Markdown table."""
        target = "" if self.target is None else f"< {self.target:,.3g} {self.unit}"
        holds = "" if self.target is None else ("yes" if self.value < self.target else "**no**")
        return f"| {self.what} | {self.value:,.3g} {self.unit} | {target} | {holds} |\n"


def main() -> None:
    """Measure, and write or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--outputs", type=int, default=100_000)
    parser.add_argument("--print", action="store_true", help="print the table; leave the page as it is")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="floradl-gallery-"))
    try:
        table = _table(measure(work / "archive", options.outputs), options.outputs)
    finally:
        shutil.rmtree(work)
    if options.print:
        sys.stdout.write(table)
    else:
        PAGE.write_text(_BLOCK.sub(rf"\g<1>{table}\g<2>", PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def measure(dest: Path, outputs: int) -> list[Figure]:
    """Make an archive at `dest` and take all figures."""
    make_archive(dest, outputs - _NIGHT)
    first_s = _build(dest)[0]
    make_archive(dest, outputs)
    night_s, written, written_bytes = _build(dest)
    quiet_s = _build(dest)[0]
    figures = [
        Figure("first gallery, each picture looked at", first_s, "s"),
        Figure(f"again after {_NIGHT} new outputs", night_s, "s", 2.0),
        Figure("– files written", written, "files"),
        Figure("– bytes written", written_bytes / 1e6, "MB"),
        Figure("again after nothing new", quiet_s, "s"),
    ]
    return figures + list(_in_browser(dest))


def make_archive(dest: Path, outputs: int) -> None:
    """Make an archive of this many outputs, four a run; an archive that is there gets newer ones added."""
    samples = _samples(dest.parent / "samples")
    runs: dict[str, Any] = {}
    for number in range(-(-outputs // 4)):
        run_id, place = f"run_{number:08}", f"ws_bench/prj_{number % 7}/run_{number:08}"
        folder = dest / place
        is_new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        entries = {}
        for index in range(min(4, outputs - 4 * number)):
            key = f"output_{index + 1}"
            entries[key] = (
                _text(folder, key, number, is_new=is_new)
                if index == 3 and number % 4 == 0
                else _picture(folder, key, samples[(4 * number + index) % _PICTURES], is_new=is_new)
            )
        runs[run_id] = {
            "workspace_id": "ws_bench",
            "project_id": f"prj_{number % 7}",
            "path": place,
            "model_id": _MODELS[number % 5],
            "created_at": _OLDEST_MS + number * _SPACING_MS,
            "completed_at": _OLDEST_MS + number * _SPACING_MS + 12_000,
            "charged_cost": 0.004 * (number % 9),
            "record_sha256": "0" * 64,
            "outputs": entries,
        }
    head = {"format": "floradl-manifest", "version": 1, "archive_id": "b" * 32, "created_at": "2026-01-01"}
    (dest / "manifest.json").write_text(json.dumps(head | {"scans": [], "runs": runs}), encoding="utf-8")


def _samples(folder: Path) -> list[tuple[Path, str, int]]:
    folder.mkdir(exist_ok=True)
    samples = []
    for number in range(_PICTURES):
        data = draw(Drawing(Kind.JPEG, number, *_SIZES[number % len(_SIZES)]))
        file = folder / f"{number}.jpg"
        file.write_bytes(data)
        samples.append((file, hashlib.sha256(data).hexdigest(), len(data)))
    return samples


def _picture(folder: Path, key: str, sample: tuple[Path, str, int], *, is_new: bool) -> dict[str, Any]:
    file, sha256, size_bytes = sample
    if is_new or not (folder / f"{key}.jpg").exists():
        os.link(file, folder / f"{key}.jpg")
    return {
        "type": "imageUrl",
        "state": "archived",
        "file": f"{key}.jpg",
        "size_bytes": size_bytes,
        "sha256": sha256,
        "content_type": "image/jpeg",
        "url": f"https://media.flora.ai/node-inputs/2026-11-20/anonymous/{sha256[:32]}.jpg",
        "archived_at": "2026-11-24T02:30:12Z",
    }


def _text(folder: Path, key: str, number: int, *, is_new: bool) -> dict[str, Any]:
    data = _TEXT.format(*[number] * 6).encode()
    if is_new or not (folder / f"{key}.txt").exists():
        (folder / f"{key}.txt").write_bytes(data)
    return {
        "type": "text",
        "state": "archived",
        "file": f"{key}.txt",
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "archived_at": "2026-11-24T02:30:12Z",
    }


def _build(dest: Path) -> tuple[float, int, int]:
    """Run `floradl gallery`; returns its seconds, and how many files and bytes it wrote."""
    before = _files(dest)
    began_s = time.perf_counter()
    command = [str(Path(sys.executable).with_name("floradl")), "gallery", "-q", "--no-progress", str(dest)]
    subprocess.run(command, check=True)
    took_s = time.perf_counter() - began_s
    written = {path: size for path, size in _files(dest).items() if before.get(path) != size}
    return took_s, len(written), sum(size for size, _ in written.values())


def _files(dest: Path) -> dict[Path, tuple[int, int]]:
    files = [*(dest / "gallery").rglob("*.*"), dest / "index.html"]
    return {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()}


def _in_browser(dest: Path) -> Iterator[Figure]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--enable-precise-memory-info"]
        )
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(_WATCH)
            session = page.context.new_cdp_session(page)
            yield from _watched(page, session, f"file://{dest}/index.html")
        finally:
            browser.close()


def _watched(page: Page, session: CDPSession, url: str) -> Iterator[Figure]:
    page.goto("about:blank")
    page.goto(url, wait_until="commit")
    shown_ms = page.wait_for_function(_PICTURES_SHOWN, polling=20).json_value()
    yield Figure("first pictures on the screen after opening", shown_ms / 1000, "s", 1.5)
    page.wait_for_function("() => floradl.store.isComplete", polling=50, timeout=120_000)
    page.wait_for_timeout(500)
    yield Figure("all outputs known", page.evaluate("performance.now()") / 1000 - 0.5, "s")
    yield Figure("– longest pause while they come", _longest(page), "ms", 200)
    heap = _heap(session)
    yield Figure("memory of the page's objects", heap / 1e6, "MB")
    yield Figure("longest pause while scrolling all of it", _during(page, _scroll), "ms", 200)
    yield Figure("– memory afterwards, beside before", _heap(session) / heap, "×", 1.5)
    yield Figure("– elements in the page", page.evaluate("document.querySelectorAll('*').length"), "elements")
    yield Figure("longest pause while choosing filters", _during(page, _filter), "ms", 200)
    yield Figure("longest pause while searching", _during(page, _search), "ms", 200)
    yield Figure("longest pause while sorting by size", _during(page, _sort), "ms", 200)


def _longest(page: Page) -> float:
    value: float = page.evaluate("Math.max(0, ...window.pauses.splice(0))")
    return value


def _during(page: Page, work: Callable[[Page], None]) -> float:
    page.evaluate("window.pauses.length = 0")
    work(page)
    page.wait_for_timeout(400)
    return _longest(page)


def _scroll(page: Page) -> None:
    """Scroll from the top to the end in 120 leaps, and back in steps of one window."""
    page.evaluate(
        """async () => {
          const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
          const end = document.documentElement.scrollHeight;
          for (let step = 0; step <= 120; step += 1) { scrollTo(0, end * step / 120); await frame(); }
          for (let step = 0; step < 200; step += 1) { scrollBy(0, -700); await frame(); }
          scrollTo(0, 0);
          await frame();
        }"""
    )


def _filter(page: Page) -> None:
    for name in ("Image", "t2i-flux-2-pro", "prj_3"):
        page.get_by_role("checkbox", name=re.compile(name)).check()
        page.wait_for_timeout(150)
    page.get_by_role("button", name="Clear all").click()


def _search(page: Page) -> None:
    page.get_by_label("Search ids").press_sequentially("flooded 1234", delay=130)
    page.wait_for_timeout(3000)
    page.get_by_label("Search ids").fill("")


def _sort(page: Page) -> None:
    page.get_by_label("Sort", exact=True).select_option("size")
    page.wait_for_timeout(300)
    page.get_by_label("Sort", exact=True).select_option("newest")


def _heap(session: CDPSession) -> float:
    session.send("HeapProfiler.collectGarbage")
    metrics = session.send("Performance.enable") or session.send("Performance.getMetrics")["metrics"]
    return next(float(metric["value"]) for metric in metrics if metric["name"] == "JSHeapUsedSize")


def _table(figures: list[Figure], outputs: int) -> str:
    machine = ", ".join(
        f"{key} {value}" for key, value in describe_machine().items() if key in ("processor", "cores")
    )
    head = f"| {outputs:,} outputs; {machine} | figure | target | holds |\n| --- | --- | --- | --- |\n"
    return head + "".join(figure.row for figure in figures)


if __name__ == "__main__":
    main()
