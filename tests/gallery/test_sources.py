"""The gallery of technique runs, uploads, canvases and what canvases say of outputs: Chromium, from disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from floradl.simulator import Account, SimCanvas, SimNode, serve_in_thread
from tests.gallery.stage import (
    LABEL,
    NEEDS_BROWSER,
    Watched,
    account_of_every_source,
    archive_every_source,
    chromium,
    new_context,
    relabel,
)
from tests.support.processes import floradl

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of several sources, with its gallery."""
    dest = tmp_path_factory.mktemp("sources") / "out"
    archive_every_source(dest)
    return dest


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, dest: Path) -> Iterator[Page]:
    """The gallery, all of it loaded; afterwards, that nothing happened that must not."""
    context = new_context(browser)
    watched = Watched(context.new_page())
    watched.page.goto((dest / "index.html").as_uri())
    watched.page.wait_for_function("() => floradl.store.isComplete")
    yield watched.page
    watched.assert_clean()
    context.close()


def test_uploads_are_shown_by_their_names(page: Page, dest: Path) -> None:
    """An upload stands among the runs of its day, is a filter of its own, and bears its name and place."""
    expect(page.locator("#found")).to_contain_text("10 outputs")
    page.get_by_role("checkbox", name="Uploaded").check()
    expect(page.locator("#found")).to_contain_text("2 of 10 outputs")
    expect(page.locator(".tile-link.other")).to_contain_text("Brief “final”.pdf")
    page.locator('.tile-link[href*="asset_board"]').click()
    expect(page.locator("#viewer-title")).to_have_text("Mood board.png")
    facts = page.locator("#viewer-list")
    expect(facts).to_contain_text("Assetasset_board")
    expect(facts).not_to_contain_text("Output")
    links = [page.get_by_role("link", name=name).get_attribute("href") for name in ("Open file", "Folder")]
    folder = "./ws_north/prj_autumn/assets/asset_board/"
    assert links == [f"{folder}asset_board.png", folder]
    page.wait_for_function("() => document.querySelector('.viewer-picture').naturalWidth === 300")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-title")).to_have_text("Brief “final”.pdf")
    link = page.get_by_role("link", name="Open file").get_attribute("href") or ""
    assert link == "./ws_north/_workspace/assets/asset_brief/asset_brief.pdf"
    assert (dest / link).is_file()


def test_techniques_are_a_filter_and_a_word_to_search(page: Page) -> None:
    """A run of a technique is found by its name, filtered by it, and named by it where there is no model."""
    search = page.get_by_label("Search ids")
    for words, count in (("papercut", 2), ("relight", 4), ("mood", 1), ("tech_cut", 2)):
        search.fill(words)
        expect(page.locator("#found")).to_contain_text(f"{count} of 10 outputs")
    search.fill("")
    expect(page.locator("#found")).to_contain_text(re.compile("^10 outputs"))
    page.get_by_role("checkbox", name="Relight").check()
    expect(page.locator("#found")).to_contain_text("4 of 10 outputs")
    page.wait_for_function("() => location.hash === '#technique=tech_relight'")
    assert page.locator("#facets").get_by_role("checkbox", name="No technique").count() == 0
    page.goto(f"{page.url.partition('#')[0]}#run=run_alone")
    expect(page.locator("#viewer-title")).to_have_text("Papercut")
    expect(page.locator("#viewer-list")).to_contain_text("TechniquePapercut")


def test_what_the_canvas_says_is_found_and_shown(page: Page) -> None:
    """The last label of a node, whole and with its lines, and found to its last word."""
    search = page.get_by_label("Search ids")
    for words, count in (("paper boat", 1), ("zebrawood", 1), ("older label", 0)):
        search.fill(words)
        expect(page.locator("#found")).to_contain_text(f"{count} of 10 outputs")
    page.goto(f"{page.url.partition('#')[0]}#run=run_both&output=output_1")
    label = page.locator("#viewer-label span").first
    expect(label).to_contain_text("zebrawood")
    assert label.evaluate("(node) => node.textContent") == LABEL
    page.get_by_role("link", name=re.compile("Output 2 of 2")).click()
    expect(page.locator("#viewer-label")).to_be_hidden()


def test_canvases_are_linked_in_the_summary(page: Page, dest: Path) -> None:
    """The newest diagram and nodes of each project, when they were taken, and where all of them are."""
    page.get_by_role("button", name="Summary").click()
    canvases = page.locator(".canvases li")
    expect(canvases).to_have_count(1)
    expect(canvases).to_contain_text(re.compile(r"Autumn campaign\d+ \w+ 20\d\d, \d\d:\d\d"))
    folder = "./ws_north/prj_autumn/canvas/"
    files = sorted(path.name for path in (dest / folder).iterdir())
    assert len(files) == 4
    links = {
        name: canvases.get_by_role("link", name=name).get_attribute("href")
        for name in ("Diagram", "Nodes", "4 snapshots")
    }
    assert links == {
        "Diagram": f"{folder}{files[2]}",
        "Nodes": f"{folder}{files[3]}",
        "4 snapshots": folder,
    }
    assert "A paper boat" in (dest / str(links["Diagram"])).read_text()


def test_a_new_label_makes_its_shelf_anew(tmp_path: Path) -> None:
    """A quiet making writes nothing; a label that changed is in the data of the next one."""
    dest, account = tmp_path / "out", account_of_every_source()
    node = SimNode("node_1", label="A prompt", shows=account.get("run_both").outputs[0])
    account.canvases["prj_autumn"] = SimCanvas([node])

    def data() -> dict[str, str]:
        files = (dest / "gallery" / "data").glob("list-*.js")
        return {file.name: file.read_text(encoding="utf-8") for file in files}

    with serve_in_thread(account) as sim:
        assert floradl(sim, "--source", "all", "--gallery", dest).returncode == 0
        before = data()
        assert any("A prompt" in text for text in before.values())
        assert "0 files written" in floradl(sim, "gallery", dest).stderr
        relabel(account, node, "Another prompt altogether")
        assert floradl(sim, "--source", "all", dest).returncode == 0
        told = json.loads(floradl(sim, "gallery", "--json", dest).stdout)
        assert (told["assets"], told["canvases"], told["outputs"]) == (2, 1, 10)
    assert not before.keys() & data().keys()
    assert any("Another prompt altogether" in text for text in data().values())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": "floradl-canvas-labels"}'])
def test_labels_that_cannot_be_read_cost_the_gallery_nothing(tmp_path: Path, content: bytes) -> None:
    """A canvas.json that is broken, or gone, leaves its run without labels."""
    dest = tmp_path / "out"
    archive_every_source(dest)
    labels = dest / "ws_north" / "prj_autumn" / "run_both" / "canvas.json"
    if content:
        labels.write_bytes(content)
    else:
        labels.unlink()
    for file in (dest / "gallery" / "data").iterdir():
        file.unlink()
    with serve_in_thread(Account("sk_live_none")) as sim:
        assert floradl(sim, "gallery", dest).returncode == 0
    (text,) = [file.read_text() for file in (dest / "gallery" / "data").glob("list-2026*.js")]
    assert "run_both" in text
    assert "paper boat" not in text
