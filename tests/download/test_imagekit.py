"""Which URLs are asked for a picture at ImageKit: the original's first, whatever was asked for in the URL."""

from __future__ import annotations

import pytest

from floradl.download.imagekit import urls_to_try

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
