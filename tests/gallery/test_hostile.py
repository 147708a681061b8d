"""An account whose every field is an attack shows as text and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from floradl.simulator import (
    Account,
    SimAsset,
    SimCanvas,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimTechnique,
    SimWorkspace,
    serve_in_thread,
)
from floradl.simulator.media import Drawing, Kind
from floradl.simulator.runs import NEWEST_AT_MS, Listing
from tests.gallery.stage import NEEDS_BROWSER, SVG, Watched, chromium, new_context
from tests.support.archives import manifest
from tests.support.processes import floradl

pytestmark = NEEDS_BROWSER

ATTACKS = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "</script><script>window.pwned=1//",
    "javascript:window.pwned=1",
    "'+(window.pwned=1)+'`${window.pwned=1}`\\\");window.pwned=1;//",
    "\u202egnp.exe\u2066\u200f\x1b[31m\x07 line\u2028paragraph\u2029end",
    "__proto__",
    "constructor",
    "../../../../etc/passwd",
    "&lt;b&gt; %3Cb%3E #run=x&output=y",
    "<!-- <script",
    "{{7*7}}",
)
PAGE = (
    b"<!doctype html><html><body onload='window.top.pwned=1'>"
    b"<script>window.top.pwned=1;fetch('http://example.com/')</script></body></html>"
)

_LINK = r"#.*|\./ws_[\w~-]+/[\w~-]+/(assets/)?[\w~-]+/([\w~-]+\.\w+)?"
"""Within the page; or a folder or file of a run, an upload or a canvas."""
_ALL_LOADED = "() => [...document.querySelectorAll('.tile img')].every((image) => image.complete)"
PER_ATTACK = 9
"""Outputs: seven of a run, one of a technique's, one upload."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the account below, with its gallery."""
    dest = tmp_path_factory.mktemp("hostile") / "out"
    with serve_in_thread(hostile_account()) as sim:
        done = floradl(sim, "--source", "all", dest)
        assert "Left out" not in done.stderr, done.stderr
        done = floradl(sim, "gallery", dest)
        assert f"and {len(manifest(dest)['canvases'])} canvases" in done.stderr, done.stderr
    return dest


def hostile_account() -> Account:
    """Attacks in every field of the API that anybody fills in."""
    account = Account(api_key="sk_live_" + "h" * 32, seed=1)
    for place, attack in enumerate(ATTACKS):
        workspace_id, project_id = f"ws_{attack}", f"prj_{attack}"
        account.workspaces.append(SimWorkspace(workspace_id, attack))
        account.projects.append(SimProject(project_id, workspace_id, attack))
        outputs = [
            SimOutput(attack, "text", text=attack),
            SimOutput(f"{attack} 2", "imageUrl", drawing=Drawing(Kind.PNG, place, 60, 40)),
            SimOutput(f"{attack} 3", attack, url=attack),  # a type that nobody knows
            SimOutput(f"{attack} 4", "imageUrl", url="javascript:window.pwned=1"),
            SimOutput(f"{attack} 5", "imageUrl", body=SVG, content_type="image/svg+xml"),
            SimOutput(f"{attack} 6", "documentUrl", body=PAGE, content_type="text/html"),
            SimOutput(f"{attack} 7", "documentUrl", body=SVG, content_type=f"image/svg+xml; {place}"),
        ]
        run = SimRun(
            f"run_{attack}",
            workspace_id,
            project_id,
            created_at=NEWEST_AT_MS - place * 3_600_000,
            completed_at=NEWEST_AT_MS,
            charged_cost=0.01,
            model_id=attack,
            outputs=outputs,
        )
        account.insert(run)
        account.insert(
            SimRun(
                f"run_{attack} too",
                workspace_id,
                project_id,
                created_at=NEWEST_AT_MS - place * 3_600_000 - 1,
                outputs=[SimOutput("output_1", drawing=Drawing(Kind.PNG, place, 60, 40))],
                technique=SimTechnique(f"tech_{attack}", attack),
                listed_by=Listing.TECHNIQUE_RUNS,
            )
        )
        upload = SimOutput("file", drawing=Drawing(Kind.PNG, place + 50, 60, 40))
        nodes = [
            SimNode(f"node_{attack}", "text", label="\n".join(["label", *ATTACKS]), url=attack),
            SimNode(f"node_{attack} 2", attack, label=attack * 40, shows=outputs[1]),
        ]
        account.canvases[project_id] = SimCanvas(nodes, [(nodes[0].node_id, nodes[1].node_id)])
        account.insert_asset(
            SimAsset(f"asset_{attack}", workspace_id, upload, project_id if place % 2 else None, name=attack)
        )
    return account


def test_everything_of_a_hostile_account_is_text(browser: Browser, dest: Path) -> None:
    """Each output is looked at in grid and viewer: nothing runs, nothing is asked for, all is shown."""
    context = new_context(browser)
    watched = Watched(context.new_page())
    page = watched.page
    page.goto((dest / "index.html").as_uri())
    page.wait_for_function("() => floradl.store.isComplete")
    total = PER_ATTACK * len(ATTACKS)
    expect(page.locator("#found")).to_contain_text(f"{total} outputs")
    page.get_by_role("button", name="Summary").click()
    facets = page.locator("#facets")
    while facets.get_by_role("button", name="Show all").count():
        facets.get_by_role("button", name="Show all").first.click()
    for attack in ("<script>window.pwned=1</script>", '"><img src=x onerror=window.pwned=1>', "__proto__"):
        expect(facets.get_by_text(attack, exact=True).first).to_be_visible()
    page.locator(".tile-link").first.click()
    seen, labels = set[str](), set[str]()
    # Not all: no address leads to the canvas of a project whose id is a path.
    expect(page.locator(".canvases li")).to_have_count(len(manifest(dest)["canvases"]))
    for number in range(total):
        expect(page.locator("#viewer-place")).to_have_text(f"{number + 1} of {total}")
        seen.add(page.locator("#viewer-title").inner_text())
        labels.update(page.locator("#viewer-label > span").all_inner_texts())
        links = page.evaluate("[...document.links].map((link) => link.getAttribute('href'))")
        assert [link for link in links if not re.fullmatch(_LINK, link)] == []
        page.keyboard.press("ArrowRight")
    assert "<script>window.pwned=1</script>" in seen
    assert sum("<script>window.pwned=1</script>" in label for label in labels) > 0
    assert len(labels) > len(ATTACKS) / 2
    assert not any(
        character in text for text in seen | labels for character in "\u202e\u2066\u200f\x1b\x07\u2028"
    )
    assert page.locator("iframe, object, embed, #viewer script, #grid script").count() == 0
    assert page.evaluate("window.pwned") is None
    watched.assert_clean()
    context.close()


def test_a_hostile_choice_is_a_filter_like_any_other(browser: Browser, dest: Path) -> None:
    """Names that mean something to JavaScript or to an address are found, counted and kept in it."""
    context = new_context(browser)
    watched = Watched(context.new_page())
    page = watched.page
    for attack in ATTACKS:
        page.goto((dest / "index.html").as_uri())
        all_of_it = PER_ATTACK * len(ATTACKS)
        page.evaluate("(value) => { location.hash = new URLSearchParams({ model: value }); }", attack)
        page.wait_for_function("() => floradl.store.isComplete")
        expect(page.locator("#found")).to_contain_text(f"7 of {all_of_it} outputs")
        expect(page.locator(".tile")).to_have_count(7)
        page.wait_for_function(_ALL_LOADED)  # a request that is broken off would be a complaint
        page.evaluate(
            "(value) => { location.hash = new URLSearchParams({ technique: `tech_${value}` }); }", attack
        )
        expect(page.locator("#found")).to_contain_text(f"1 of {all_of_it} outputs")
        expect(page.locator(".tile")).to_have_count(1)
        page.wait_for_function(_ALL_LOADED)
    assert page.evaluate("window.pwned") is None
    watched.assert_clean()
    context.close()


def test_the_data_hold_no_markup(dest: Path) -> None:
    """In the scripts of data no text can end a script, begin a comment or break a line."""
    files = list((dest / "gallery" / "data").iterdir())
    assert sorted(file.name.partition("-")[0] for file in files) == ["index.js", "list", "more", "text"]
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not set("<>&\u2028\u2029") & set(text), file.name
        assert text.count("\n") == 1


def test_an_archive_that_lies_about_its_paths_is_refused(dest: Path, tmp_path: Path) -> None:
    """A manifest with a path or a hash that leads elsewhere makes no gallery."""
    other = tmp_path / "out"
    other.mkdir()
    text = (dest / "manifest.json").read_text(encoding="utf-8")
    sha256 = next(
        output["sha256"]
        for run in manifest(dest)["runs"].values()
        for output in run["outputs"].values()
        if output["state"] == "archived"
    )
    (other / "manifest.json").write_text(text.replace(sha256, "../../x"), encoding="utf-8")
    with serve_in_thread(Account(api_key="sk_live_" + "h" * 32, seed=1)) as sim:
        done = floradl(sim, "gallery", other)
    assert done.returncode == 1
    assert "verify --repair" in done.stderr
    assert not (other / "index.html").exists()
