"""Accounts to look at, and a browser that tells everything it did."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, sync_playwright

from floradl.simulator import (
    Account,
    Fault,
    SimAsset,
    SimCanvas,
    SimNode,
    SimOutput,
    SimProject,
    SimRun,
    SimTechnique,
    SimWorkspace,
    edit_canvas,
    serve_in_thread,
)
from floradl.simulator.media import Drawing, Kind
from floradl.simulator.runs import NEWEST_AT_MS, Listing
from tests.support.processes import floradl

NEEDS_BROWSER = pytest.mark.skipif(
    shutil.which("chromium") is None and "CI" not in os.environ, reason="needs chromium"
)

DAY_MS = 86_400_000
LONG_TEXT = (
    "A paper boat crossing a flooded library, seen from above. " * 20 + "At the end a narwhal surfaces."
)
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 100" onload="top.pwned=1">'
    b"<script>top.pwned=1</script><rect width='300' height='100' fill='teal'/></svg>"
)

_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Watched:
    """A page of which everything is known that must not happen."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.add_init_script(_WATCH)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        page.on("dialog", self._refuse)

    def _refuse(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def assert_clean(self) -> None:
        """No request left the disk, nothing was refused by the policy, and nothing was complained of."""
        assert [url for url in self.requests if not url.startswith("file:///")] == []
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own browser; root, as CI is, gets it only without its sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        try:
            yield browser
        finally:
            browser.close()


def new_context(browser: Browser, **more: object) -> BrowserContext:
    """A window of a person somewhere, on a quick machine: what waits longer has failed."""
    options: dict[str, object] = {"viewport": {"width": 1280, "height": 800}, "timezone_id": "UTC"}
    context = browser.new_context(**(options | more))  # type: ignore[arg-type]  # each is one of its own
    context.set_default_timeout(8000)
    return context


def account_of_everything() -> Account:
    """Every medium over four months and two workspaces, one output that fails, one run that vanishes."""
    account = Account(api_key="sk_live_" + "g" * 32, seed=1)
    account.workspaces += [SimWorkspace("ws_north", "Studio North"), SimWorkspace("ws_play", "Playground")]
    account.projects += [
        SimProject("prj_autumn", "ws_north", "Autumn campaign"),
        SimProject("prj_pack", "ws_north", "Packaging"),
        SimProject("prj_play", "ws_play", "Moving colours"),
    ]
    drawn = {
        kind: [SimOutput("output_1", _TYPES[kind], drawing=Drawing(kind, 5, 320, 240))] for kind in _TYPES
    }
    runs = [
        ("run_png", "prj_autumn", "t2i-flux-2-pro", 0, drawn[Kind.PNG]),
        ("run_mp4", "prj_play", "i2v-kling-3", 0, drawn[Kind.MP4]),
        ("run_wav", "prj_play", "t2a-sonic-2", 1, drawn[Kind.WAV]),
        ("run_text", "prj_pack", "llm-haiku", 1, [SimOutput("output_1", "text", text=LONG_TEXT)]),
        ("run_pdf", "prj_pack", None, 2, drawn[Kind.PDF]),
        ("run_glb", "prj_pack", None, 2, drawn[Kind.GLB]),
        (
            "run_svg",
            "prj_pack",
            "t2i-nano-banana",
            3,
            [SimOutput("output_1", body=SVG, content_type="image/svg+xml")],
        ),
        ("run_failing", "prj_autumn", "t2i-flux-2-pro", 3, [SimOutput("output_1", path="/gone.png")]),
        ("run_vanished", "prj_autumn", "t2i-flux-2-pro", 40, [_picture(40, 200, 300)]),
        (
            "run_four",
            "prj_autumn",
            "t2i-nano-banana",
            41,
            [_picture(number, 300, 200) for number in range(1, 5)],
        ),
    ]
    runs += [
        (
            f"run_many_{number:02}",
            "prj_play",
            "t2v-veo-4",
            70 + number // 8,
            [_picture(number + 100, 360, 270)],
        )
        for number in range(40)
    ]
    for place, (run_id, project_id, model, days, outputs) in enumerate(runs):
        project = next(one for one in account.projects if one.project_id == project_id)
        created_at = NEWEST_AT_MS - days * DAY_MS - place * 60_000
        account.insert(
            SimRun(
                run_id,
                project.workspace_id,
                project_id,
                created_at=created_at,
                completed_at=created_at + 9000,
                charged_cost=0.01 * (place + 1),
                model_id=model,
                outputs=outputs,
            )
        )
    return account


_TYPES = {
    Kind.PNG: "imageUrl",
    Kind.MP4: "videoUrl",
    Kind.WAV: "audioUrl",
    Kind.PDF: "documentUrl",
    Kind.GLB: "modelUrl",
}


LABEL = (
    "A paper boat crossing a flooded library, early light\n“no people”" + ", more of it" * 40 + " zebrawood"
)


def account_of_every_source() -> Account:
    """Runs of two techniques, one of them in both lists; uploads with and without a project, one pending."""
    account = Account(api_key="sk_live_" + "s" * 32, seed=1)
    account.workspaces.append(SimWorkspace("ws_north", "Studio North"))
    account.projects.append(SimProject("prj_autumn", "ws_north", "Autumn campaign"))
    relight = SimTechnique("tech_relight", "Relight")
    runs = [
        ("run_plain", "t2i-flux-2-pro", None, None),
        ("run_both", "t2i-flux-2-pro", relight, Listing.BOTH),
        ("run_alone", None, SimTechnique("tech_cut", "Papercut"), Listing.TECHNIQUE_RUNS),
        ("run_again", None, relight, Listing.TECHNIQUE_RUNS),
    ]
    for place, (run_id, model, technique, listed_by) in enumerate(runs):
        account.insert(
            SimRun(
                run_id,
                "ws_north",
                "prj_autumn",
                created_at=NEWEST_AT_MS - place * 60_000,
                charged_cost=0.1,
                model_id=model,
                outputs=[_picture(number, 320, 240) for number in (place, place + 10)],
                technique=technique,
                listed_by=listed_by,
            )
        )
    uploads = [
        ("asset_board", "Mood board.png", "prj_autumn", Kind.PNG, "ready"),
        ("asset_brief", "Brief “final”.pdf", None, Kind.PDF, "ready"),
        ("asset_late", "Never came.png", "prj_autumn", Kind.PNG, "pending_upload"),
    ]
    for place, (asset_id, name, project_id, kind, status) in enumerate(uploads):
        file = SimOutput(asset_id, _TYPES[kind], drawing=Drawing(kind, 90 + place, 300, 300))
        created_at = NEWEST_AT_MS - (place + 1) * DAY_MS
        account.insert_asset(
            SimAsset(asset_id, "ws_north", file, project_id, name=name, created_at=created_at, status=status)
        )
    return account


def archive_every_source(dest: Path) -> None:
    """An archive of `account_of_every_source` with labels and two states of its canvas, and its gallery."""
    account = account_of_every_source()
    output = account.get("run_both").outputs[0]
    node = SimNode("node_1", label="An older label", shows=output)
    account.canvases["prj_autumn"] = SimCanvas([node])
    with serve_in_thread(account) as sim:
        assert floradl(sim, "--source", "all", dest).returncode == 0
        relabel(account, node, LABEL)
        done = floradl(sim, "--source", "all", "--gallery", dest)
        assert done.returncode == 0, done.stderr
        assert "index.html shows 10 outputs of 4 runs, 2 assets and 1 canvas" in done.stderr


def relabel(account: Account, node: SimNode, label: str) -> None:
    """Change what a node of the canvas of `prj_autumn` says."""
    node.label = label
    edit_canvas(account, "prj_autumn")


def _picture(number: int, width: int, height: int) -> SimOutput:
    drawing = Drawing(Kind.PNG, number, width, height)
    return SimOutput(f"output_{number}", drawing=drawing)


def archive_everything(dest: Path) -> None:
    """An archive of `account_of_everything`, with its gallery."""
    account = account_of_everything()
    with serve_in_thread(account, faults=[Fault("/gone.png", status=404)]) as sim:
        assert floradl(sim, dest).returncode == 3
        account.delete("run_vanished")
        done = floradl(sim, "--full", "--gallery", dest)
        assert done.returncode == 3, done.stderr
        assert "index.html shows 53 outputs of 50 runs" in done.stderr
