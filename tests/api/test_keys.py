"""API keys as texts: what is refused before it is sent anywhere, and what is shown of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.keys import check_key, masked, refusal_hint
from floradl.errors import UsageError


@pytest.mark.parametrize(
    "key",
    [
        "sk_live_abc123",
        "sk_live_" + "x" * 200,
        "sk_live_a-b_c.d+e/f==",
        "sk_test_1",
        "flora_1",
        "k",
        "ws",
        "skx",
    ],
)
def test_what_may_be_a_key(key: str) -> None:
    """FLORA's keys pass, and so does what FLORA may give out one day."""
    assert check_key(key) == key


@pytest.mark.parametrize(
    ("pasted", "what"),
    [
        ("FLORA_API_KEY=sk_live_SECRET1", "an assignment"),
        ("export FLORA_API_KEY='sk_live_SECRET1'", "an assignment"),
        ("$env:FLORA_API_KEY = \"sk_live_SECRET1\"", "an assignment"),
        ("Bearer sk_live_SECRET1", "an HTTP header"),
        ("Authorization: Bearer sk_live_SECRET1", "characters that no key has"),
        ('"sk_live_SECRET1"', "in quotes"),
        ("sk_live_SECRET1'", "in quotes"),
        ("\u201csk_live_SECRET1\u201d", "in quotes"),
        ("https://app.flora.ai/SECRET1", "a URL"),
        ("ws_SECRET1", "an id of FLORA"),
        ("prj_SECRET1", "an id of FLORA"),
        ("sk-SECRET1", "the key of another service"),
        ("sk-ant-SECRET1", "the key of another service"),
        ("hf_SECRET1", "the key of another service"),
        ("sk_live_SECRET1\nsk_live_SECRET2", "characters that no key has"),
        ("sk_live_ SECRET1", "characters that no key has"),
        ("sk_live_SECRET1\u200b", "characters that no key has"),
        ("sk_live_SECRET\u0435", "characters that no key has"),
        ("", "characters that no key has"),
    ],
)  # fmt: skip
def test_what_is_something_else(pasted: str, what: str) -> None:
    """What people paste by mistake is named, with what to do, and without any of it."""
    with pytest.raises(UsageError, match=what) as caught:
        check_key(pasted)
    assert caught.value.hint
    assert "SECRET" not in caught.value.message + caught.value.hint


@given(st.text())
def test_no_text_breaks_the_check(text: str) -> None:
    """Whatever is pasted is a key, which can be an HTTP header, or is told in printable words."""
    try:
        said = check_key(text).encode("ascii").decode()
    except UsageError as exc:
        said = exc.message
    assert said.isprintable()
    assert said


@pytest.mark.parametrize(("key", "said"), [("sk_live_x", "revoked"), ("abc", "begin with sk_live_")])
def test_what_a_refusal_hints_at(key: str, said: str) -> None:
    """A refused key that does not look like FLORA's is told so."""
    assert said in refusal_hint(key)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("sk_live_0123456789", "…6789"), ("sk_live_01234567", "…4567"), ("sk_short", "…"), ("", "…")],
)
def test_what_is_shown(secret: str, shown: str) -> None:
    """At most four characters, and none of a short secret, of which they would be too much."""
    assert masked(secret) == shown
