"""Which URLs are asked for a picture at ImageKit: the original's first, whatever was asked for in the URL."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from floradl.api.client import FloraApi
from floradl.archiver.archive import archive
from floradl.archiver.options import ArchiveOptions
from floradl.archiver.report import Report
from floradl.constants import Source
from floradl.download.imagekit import original_url, urls_to_try
from floradl.network.retry import Backoff
from floradl.simulator import Account, serve_in_thread
from tests.support.archives import assert_sound, manifest
from tests.support.clock import FakeTime
from tests.support.media import png
from tests.support.zygote import floradl

KIT = "https://ik.imagekit.io/flora"


@pytest.mark.parametrize(
    ("url", "original"),
    [
        (f"{KIT}/a.png", f"{KIT}/a.png?tr=orig-true"),
        (f"{KIT}/a.png?v=1", f"{KIT}/a.png?v=1&tr=orig-true"),
        (f"{KIT}/a.png?tr=w-300", f"{KIT}/a.png?tr=orig-true"),
        (f"{KIT}/a.png?tr=w-300&v=1&tr=orig-true", f"{KIT}/a.png?v=1&tr=orig-true"),
        (f"{KIT}/a.png?tr=orig-true&tr=orig-true", f"{KIT}/a.png?tr=orig-true"),
        (f"{KIT}/tr:w-300,h-200/a.png", f"{KIT}/a.png?tr=orig-true"),
        (f"{KIT}/tr:w-300/tr:q-20/a%20b.png?v=%26", f"{KIT}/a%20b.png?v=%26&tr=orig-true"),
        (f"{KIT}/tr:w-300/a.png?tr=orig-true", f"{KIT}/a.png?tr=orig-true"),
        ("https://flora.imagekit.io/a.png", "https://flora.imagekit.io/a.png?tr=orig-true"),
        ("https://IK.ImageKit.io/a.png", "https://IK.ImageKit.io/a.png?tr=orig-true"),
        ("https://imagekit.io/a.png?updatedAt=1", "https://imagekit.io/a.png?updatedAt=1&tr=orig-true"),
    ],
)
def test_the_original_is_asked_for_first(url: str, original: str) -> None:
    """Transformations are taken out of query and path; the rest of the URL stays byte for byte."""
    assert urls_to_try(url) == [original, url]
    assert original_url(url) == original


@pytest.mark.parametrize(
    "url",
    [
        f"{KIT}/a.png?tr=orig-true",
        f"{KIT}/a.png?v=1&tr=orig-true",
        "https://media.flora.ai/a.png",
        "https://media.flora.ai/tr:w-300/a.png?tr=w-300",
        "https://ik.imagekit.io.evil.test/a.png",
        "https://evilimagekit.io/a.png",
    ],
)
def test_any_other_url_is_used_as_it_is(url: str) -> None:
    """One that asks for the original already, and those of other hosts."""
    assert urls_to_try(url) == [url]
    assert original_url(url) is None


# --- over several nights ---------------------------------------------------------------------------------

API = "https://api.test/api/v1"
ORIGINAL, COMPRESSED = png(b"the original"), png(b"compressed")


class Kit:
    """FLORA with one picture at ImageKit, which refuses the original while `status` says so."""

    def __init__(self) -> None:
        self.status = 403
        self.asked: list[str] = []
        self.calls: list[str] = []

    def api(self, request: httpx.Request) -> httpx.Response:
        """The history, and the run by its id."""
        self.calls.append(request.url.path)
        output = {"output_id": "output_1", "type": "imageUrl", "url": f"{KIT}/a.png"}
        run = {"run_id": "run_a", "workspace_id": "ws_a", "project_id": "prj_a", "status": "completed",
               "created_at": 1_790_000_000_000, "outputs": [output]}  # fmt: skip
        is_listed = request.url.params.get("status") == "completed"
        return httpx.Response(200, json={"generations": [run] if is_listed else []})

    def media(self, request: httpx.Request) -> httpx.Response:
        """The original, or what ImageKit makes of it."""
        self.asked.append(str(request.url))
        if "tr=orig-true" not in str(request.url):
            return httpx.Response(200, content=COMPRESSED)
        return httpx.Response(self.status, content=ORIGINAL if self.status == 200 else b"")

    async def night(self, dest: Path) -> Report:
        """One job."""
        self.asked.clear()
        self.calls.clear()
        time, backoff = FakeTime(), Backoff(base_s=0.0)
        transport = httpx.MockTransport(self.api)
        async with FloraApi(
            API, "sk_live_kit", clock=time.clock, transport=transport, backoff=backoff
        ) as api:
            return await archive(
                ArchiveOptions(dest, API, sources=(Source.GENERATIONS,), fsync=False),
                api,
                clock=time.clock,
                new_transport=lambda: httpx.MockTransport(self.media),
                backoff=backoff,
            )


def archived(dest: Path) -> tuple[bytes, bool]:
    """The file, and whether it is marked as compressed."""
    output = manifest(dest)["runs"]["run_a"]["outputs"]["output_1"]
    return (dest / "ws_a/prj_a/run_a" / output["file"]).read_bytes(), output.get("compressed", False)


@pytest.mark.anyio
async def test_the_original_takes_the_place_of_what_was_made_of_it(tmp_path: Path) -> None:
    """It is marked and counted, asked for again each time without a call of the API, and replaced once."""
    kit = Kit()
    assert (await kit.night(tmp_path)).exit_code == 0
    assert archived(tmp_path) == (COMPRESSED, True)
    with serve_in_thread(Account("sk_live_kit")) as sim:
        status = json.loads(floradl(sim, "status", "--json", tmp_path).stdout)
        assert status["compressed"] == 1
        assert "1, compressed" in floradl(sim, "status", tmp_path).stdout
    for refusal in (403, 404, 400):
        kit.status = refusal
        report = await kit.night(tmp_path)
        assert (report.exit_code, report.fetched, report.already, report.failures) == (0, 0, 1, ())
        assert kit.asked == [f"{KIT}/a.png?tr=orig-true"]
        assert not any(path.endswith("run_a") for path in kit.calls)
        assert archived(tmp_path) == (COMPRESSED, True)
    kit.status = 200
    report = await kit.night(tmp_path)
    assert (report.exit_code, report.fetched) == (0, 1)
    assert archived(tmp_path) == (ORIGINAL, False)
    assert [path.read_bytes() for path in (tmp_path / ".floradl/aside").iterdir()] == [COMPRESSED]
    await kit.night(tmp_path)
    assert kit.asked == []
    assert_sound(tmp_path)
