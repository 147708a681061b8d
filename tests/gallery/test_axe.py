"""axe-core finds nothing wrong with the gallery: grid, filters, summary and viewer, light and dark."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.gallery.stage import NEEDS_BROWSER, chromium, new_context

pytestmark = [
    NEEDS_BROWSER,
    pytest.mark.skipif(shutil.which("npm") is None and "CI" not in os.environ, reason="needs npm"),
]

_PACKAGE = Path(__file__).parent / "axe" / "package.json"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    shutil.copy(_PACKAGE, folder)
    install = ["npm", "install", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=120)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as browser:
        yield browser


def violations(page: Page, axe: str) -> list[str]:
    """What axe finds, each with the elements concerned."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{rule['id']}: {rule['help']}: {json.dumps([node['html'][:160] for node in rule['nodes'][:4]])}"
        for rule in found
    ]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing(browser: Browser, index: str, axe: str, width: int, scheme: str) -> None:
    """The page, then with summary and filters in use, then the viewer over each kind of output."""
    context = new_context(browser, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(index)
    page.wait_for_function("() => floradl.store.isComplete")
    assert violations(page, axe) == []
    page.goto(f"{index}#summary=1&workspace=ws_play&workspace=ws_north&q=run")
    page.wait_for_timeout(100)
    if width == 390:
        page.get_by_role("button", name="Filters").click()
        page.wait_for_timeout(400)
    assert violations(page, axe) == []
    for run_id in ("run_png", "run_mp4", "run_wav", "run_text", "run_pdf", "run_failing", "run_four"):
        page.goto(f"{index}#run={run_id}")
        page.wait_for_selector("#viewer[open]")
        assert violations(page, axe) == [], run_id
    context.close()
