"""The gallery as somebody uses it: Chromium, from disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.gallery.stage import LONG_TEXT, NEEDS_BROWSER, Watched, chromium, new_context

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A new page; afterwards, that nothing happened on it that must not."""
    context = new_context(browser)
    watched = Watched(context.new_page())
    yield watched
    watched.assert_clean()
    context.close()


def opened(watched: Watched, address: str) -> Page:
    """The page at an address, with all of it loaded."""
    page = watched.page
    page.goto(address)
    page.wait_for_function("() => floradl.store.isComplete")
    return page


def fragment(page: Page) -> dict[str, list[str]]:
    """What stands in the address."""
    return parse_qs(urlsplit(page.url).fragment)


def tile(run_id: str) -> str:
    """The selector of a run's tile."""
    return f'.tile-link[href*="run={run_id}&"]'


def test_the_grid_shows_the_newest_first_by_day(watched: Watched, index: str) -> None:
    """Days head their outputs, and every picture is loaded and as large as its place."""
    page = opened(watched, index)
    expect(page.locator("#found")).to_contain_text("53 outputs")
    expect(page.locator("#scanned")).to_contain_text(re.compile(r"As FLORA was on \d+ \w+ 20\d\d, \d\d:\d\d"))
    days = page.locator(".day h2 span").all_inner_texts()
    assert days[:2] == ["Monday, 23 November 2026", "Sunday, 22 November 2026"]
    first = page.locator(".tile-link").first
    expect(first).to_have_attribute("href", "#run=run_png&output=output_1")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tile img')].every((image) => image.naturalWidth > 0)"
    )
    box = page.locator(tile("run_png")).bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(320 / 240, rel=0.01)


def test_each_medium_has_a_tile_of_its_kind(watched: Watched, index: str) -> None:
    """A film plays where it stands, a sound has a player, a text its beginning, a document a card."""
    page = opened(watched, index)
    page.locator(f"li:has({tile('run_mp4')})").get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.tile-film')?.currentTime > 0")
    sound = page.locator(f"li:has({tile('run_wav')}) audio")
    sound.evaluate("async (player) => { await player.play(); player.pause(); }")
    assert sound.evaluate("(player) => player.duration") == pytest.approx(1.5, abs=0.1)
    expect(page.locator(tile("run_text"))).to_contain_text("A paper boat crossing")
    expect(page.locator(tile("run_pdf"))).to_contain_text("PDF")
    expect(page.locator(tile("run_glb"))).to_contain_text("GLB")
    assert page.locator(tile("run_svg")).locator("img").evaluate("(image) => image.naturalWidth") > 0


def test_failed_and_vanished_outputs_are_shown_as_such(watched: Watched, index: str) -> None:
    """One says why it is not there; the other that only the archive still has it."""
    page = opened(watched, index)
    expect(page.locator(tile("run_failing"))).to_contain_text("http_404")
    page.locator("label", has_text="Not at FLORA any more").click()
    expect(page.locator(tile("run_vanished"))).to_contain_text("Not at FLORA any more")
    page.locator(tile("run_vanished")).click()
    expect(page.locator("#viewer-note")).to_contain_text("FLORA does not list this run any more")


def test_filters_combine_and_stand_in_the_address(watched: Watched, index: str) -> None:
    """Choices of one filter add up, filters narrow each other, the counts say what each would leave."""
    page = opened(watched, index)
    page.get_by_role("checkbox", name="Autumn campaign").check()
    expect(page.locator("#found")).to_contain_text("7 of 53 outputs")
    page.get_by_role("checkbox", name="Packaging").check()
    expect(page.locator("#found")).to_contain_text("11 of 53 outputs")
    page.get_by_role("checkbox", name="Image").check()
    expect(page.locator("#found")).to_contain_text("8 of 53 outputs")
    assert fragment(page) == {"project": ["prj_autumn", "prj_pack"], "type": ["image"]}
    expect(page.locator("label", has_text="Text").locator(".choice-count")).to_have_text("1")
    expect(page.locator("label", has_text="Video").locator(".choice-count")).to_have_text("0")
    page.go_back()
    expect(page.locator("#found")).to_contain_text("11 of 53 outputs")
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#found")).to_contain_text("53 outputs")


def test_an_address_with_filters_opens_as_it_was(watched: Watched, index: str) -> None:
    """Month, model, workspace and sorting come back from the fragment; nonsense in it finds nothing."""
    page = opened(watched, f"{index}#month=2026-10&model=t2i-nano-banana&workspace=ws_north&sort=size")
    expect(page.locator("#found")).to_contain_text("4 of 53 outputs")
    expect(page.get_by_role("checkbox", name="October 2026")).to_be_checked()
    assert page.get_by_label("Sort", exact=True).input_value() == "size"
    page.goto(f"{index}#model=%3Cimg%20src=x%20onerror=alert(1)%3E&sort=nonsense&run=run_nobody")
    expect(page.locator("#nothing")).to_be_visible()
    expect(page.locator("#chips")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("#found")).to_contain_text("the run in this address is not here")


def test_search_finds_ids_models_projects_and_whole_texts(watched: Watched, index: str) -> None:
    """Every word counts, whatever its case; the end of a long text is found too."""
    page = opened(watched, index)
    search = page.get_by_label("Search ids")
    for words, count in (
        ("RUN_FOUR", 4),
        ("autumn flux", 3),
        ("output_104", 1),
        ("narwhal", 1),
        ("paper veo", 0),
    ):
        search.fill(words)
        expect(page.locator("#found")).to_contain_text(f"{count} of 53 outputs")
    search.fill("narwhal")
    page.wait_for_function("() => location.hash === '#q=narwhal'")
    page.reload()
    expect(page.locator("#found")).to_contain_text("1 of 53 outputs")


def test_sorting_by_cost_and_size(watched: Watched, index: str) -> None:
    """The costliest first has no days; the oldest first has them the other way around."""
    page = opened(watched, index)
    sort = page.get_by_label("Sort", exact=True)
    sort.select_option("cost")
    expect(page.locator(".tile-link").first).to_have_attribute("href", re.compile("run=run_many_39"))
    expect(page.locator(".day h2")).to_have_count(0)
    sort.select_option("oldest")
    expect(page.locator(".day h2 span").first).to_have_text("Thursday, 10 September 2026")


def test_the_viewer_and_its_keys(watched: Watched, index: str) -> None:
    """Enter opens, arrows go on, plus zooms, Escape closes and gives the focus back to where one was."""
    page = opened(watched, index)
    page.locator(tile("run_png")).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-title")).to_have_text("t2i-flux-2-pro")
    expect(page.locator("#viewer-place")).to_have_text("1 of 53")
    page.keyboard.press("+")
    expect(page.locator("#zoom-level")).to_have_text("150 %")
    page.keyboard.press("0")
    expect(page.locator("#zoom-level")).to_have_text("Fit")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer audio")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".viewer-text")).to_contain_text("At the end a narwhal surfaces.")
    page.wait_for_function("() => location.hash.includes('run=run_text')")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(tile("run_text"))).to_be_focused()
    assert "run=" not in page.url


def test_the_facts_of_an_output(watched: Watched, index: str) -> None:
    """What the archive knows of it, links to its file and folder, its run's others; copying works."""
    watched.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = opened(watched, f"{index}#run=run_four&output=output_2")
    facts = page.locator(".viewer-facts")
    for text in (
        "Autumn campaign",
        "run_four",
        "300 × 200",
        "$0.100 for 4 outputs",
        "imageUrl, image/png",
        "node-inputs",
    ):
        expect(facts).to_contain_text(text)
    folder = "./ws_north/prj_autumn/run_four/"
    expect(page.get_by_role("link", name="Open file")).to_have_attribute("href", f"{folder}output_2.png")
    expect(page.get_by_role("link", name="Folder")).to_have_attribute("href", folder)
    facts.get_by_role("button", name="Copy the run").click()
    expect(page.locator("#viewer-status")).to_have_text("Copied the run")
    assert page.evaluate("navigator.clipboard.readText()") == "run_four"
    facts.get_by_role("link", name=re.compile("Output 4 of 4")).click()
    expect(page.locator("#viewer-place")).to_have_text("13 of 53")
    expect(page.get_by_role("link", name="Open file")).to_have_attribute("href", f"{folder}output_4.png")


def test_deep_links_and_the_back_button(watched: Watched, index: str) -> None:
    """An address opens the output in it; back leaves the viewer, not the page."""
    page = opened(watched, f"{index}#run=run_svg&output=output_1")
    expect(page.locator("#viewer-title")).to_have_text("t2i-nano-banana")
    expect(page.locator("#viewer-warning")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(tile("run_svg"))).to_be_focused()
    expect(page.locator("body")).not_to_have_class("has-viewer")
    page.locator(tile("run_wav")).click(position={"x": 5, "y": 5})
    expect(page.locator("#viewer")).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.hash.includes('run=run_text')")
    page.go_back()
    expect(page.locator("#viewer")).to_be_hidden()
    page.go_forward()
    expect(page.locator(".viewer-text")).to_be_visible()


def test_the_viewer_that_is_open_again_before_its_end_is_told(watched: Watched, index: str) -> None:
    """As by back and forward, one right after the other: that it closed is told late, and ends nothing."""
    page = opened(watched, index)
    page.locator(tile("run_text")).click(position={"x": 5, "y": 5})
    expect(page.locator(".viewer-text")).to_be_visible()
    page.evaluate(
        """async () => {
            const viewer = document.getElementById("viewer");
            const told = new Promise((resolve) => viewer.addEventListener("close", resolve, { once: true }));
            viewer.close();
            viewer.showModal();
            await told;
            await new Promise((resolve) => setTimeout(resolve, 500));
        }"""
    )
    expect(page.locator(".viewer-text")).to_be_visible()
    assert "run=run_text" in page.url


def test_the_keyboard_alone_reaches_everything(watched: Watched, index: str) -> None:
    """One stop in the grid, arrows within it, and what is far away comes into being when it is gone to."""
    page = opened(watched, index)
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(tile("run_png"))).to_be_focused()
    page.keyboard.press("End")
    expect(page.locator(tile("run_many_39"))).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator(tile("run_mp4"))).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_label("Search ids")).to_be_focused()


def test_only_what_is_near_the_window_is_in_the_page(watched: Watched, index: str) -> None:
    """Scrolling far leaves few tiles behind, and nothing moved meanwhile."""
    page = opened(watched, index)
    height = page.evaluate("document.documentElement.scrollHeight")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator(tile("run_many_39"))).to_be_visible()
    assert page.locator(".tile").count() < 53
    assert page.evaluate("document.documentElement.scrollHeight") == height


def test_the_summary_follows_the_filters(watched: Watched, index: str) -> None:
    """Outputs, bytes and dollars, over time and by model, of what is chosen."""
    page = opened(watched, index)
    page.get_by_role("button", name="Summary").click()
    summary = page.locator("#summary")
    expect(summary.get_by_role("img")).to_have_count(3)
    expect(summary.locator(".measure strong").first).to_have_text("53")
    page.get_by_role("checkbox", name="Packaging").check()
    expect(summary.locator(".measure strong").first).to_have_text("4")
    expect(summary.get_by_role("row", name=re.compile("llm-haiku"))).to_contain_text("$0.040")
    assert fragment(page)["summary"] == ["1"]


def test_a_phone(browser: Browser, index: str) -> None:
    """Filters in a panel, swiping in the viewer, and nothing wider than the screen."""
    context = new_context(browser, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    watched = Watched(context.new_page())
    page = opened(watched, index)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("checkbox", name="Text").check()
    page.get_by_role("button", name="Close the filters").click()
    expect(page.locator("#found")).to_contain_text("1 of 53 outputs")
    page.get_by_role("button", name=re.compile("Text ?: remove")).click()
    page.locator(tile("run_png")).tap()
    expect(page.locator("#viewer-place")).to_have_text("1 of 53")
    swipe = """(stage) => {
      const at = (type, clientX) => stage.dispatchEvent(new PointerEvent(type,
        { pointerId: 1, pointerType: "touch", clientX, clientY: 300, bubbles: true, isPrimary: true }));
      stage.setPointerCapture = () => {};
      at("pointerdown", 300); at("pointermove", 200); at("pointerup", 120);
    }"""
    page.locator("#stage").evaluate(swipe)
    expect(page.locator("#viewer-place")).to_have_text("2 of 53")
    watched.assert_clean()
    context.close()


def test_a_long_text_is_there_whole(watched: Watched, index: str) -> None:
    """The grid has its beginning, the viewer all of it."""
    page = opened(watched, f"{index}#run=run_text&output=output_1")
    expect(page.locator(".viewer-text")).to_have_text(LONG_TEXT.strip())


def test_a_gallery_without_its_data_says_so(browser: Browser, index: str, tmp_path: Path) -> None:
    """Whoever copies the page alone is told what is missing."""
    copy = tmp_path / "index.html"
    source = Path(urlsplit(index).path)
    copy.write_bytes(source.read_bytes())
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "page").symlink_to(source.parent / "gallery" / "page")
    context = new_context(browser)
    page = context.new_page()
    page.goto(copy.as_uri())
    expect(page.locator("#nothing")).to_contain_text("files are missing")
    context.close()


def test_a_day_s_heading_stays_above_its_outputs(watched: Watched, index: str) -> None:
    """While one scrolls through a long day, what day it is stands at the top of the window."""
    watched.page.set_viewport_size({"width": 560, "height": 420})
    page = opened(watched, f"{index}#month=2026-09")
    heading = page.locator(".day h2").first
    page.evaluate("scrollBy(0, document.querySelector('.day').getBoundingClientRect().top)")
    page.wait_for_timeout(100)
    box, bar = heading.bounding_box(), page.locator(".bar").bounding_box()
    assert box is not None
    assert bar is not None
    assert box["y"] == pytest.approx(bar["height"], abs=2)
