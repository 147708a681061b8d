"""`python -m benchmarks.screenshots`: pictures of the demo's gallery, for docs/gallery.

Each picture is taken in Chromium from a fresh demo and kept as WebP, so that all of them together stay below
a megabyte.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "gallery"
_SIZES = {390: 844, 1280: 800, 2560: 1300}
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_QUALITY = 80


def main() -> None:
    """Take all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="floradl-screenshots-") as work, sync_playwright() as playwright:
        dest = Path(work) / "demo"
        command = [str(Path(sys.executable).with_name("floradl")), "demo", "-q", str(dest)]
        subprocess.run(command, check=True)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            for scheme in _SCHEMES:
                for width in _SIZES:
                    take(browser, dest, f"grid-{width}-{scheme}", width, scheme, lambda _: None)
                for width in (390, 1280):
                    take(browser, dest, f"viewer-{width}-{scheme}", width, scheme, _open_viewer)
                take(browser, dest, f"summary-1280-{scheme}", 1280, scheme, _open_summary)
        finally:
            browser.close()


def take(
    browser: Browser,
    dest: Path,
    name: str,
    width: int,
    scheme: Literal["light", "dark"],
    prepare: Callable[[Page], None],
) -> None:
    """Open a gallery, let `prepare` bring the page into a state, and take one picture of it."""
    context = browser.new_context(
        viewport={"width": width, "height": _SIZES[width]},
        color_scheme=scheme,
        timezone_id="UTC",
        has_touch=width < 500,
        is_mobile=width < 500,
        device_scale_factor=2 if width < 500 else 1,
    )
    page = context.new_page()
    page.goto((dest / "index.html").as_uri())
    page.wait_for_function("() => floradl.store.isComplete")
    prepare(page)
    page.wait_for_function("() => [...document.images].every((image) => image.complete)")
    page.wait_for_timeout(400)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.save(FOLDER / f"{name}.webp", quality=_QUALITY, method=6)
    context.close()


def _open_viewer(page: Page) -> None:
    page.locator(".tile-link.picture").nth(3).click()
    page.wait_for_selector(".viewer-picture")


def _open_summary(page: Page) -> None:
    page.get_by_role("button", name="Summary").click()


if __name__ == "__main__":
    main()
