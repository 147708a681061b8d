"""API keys as texts: what is refused before it is sent anywhere, and what is shown of one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floradl.api.keys import Redactor, check_key, masked, refusal_hint
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


KEY = "sk_live_01/23"


@pytest.mark.parametrize(
    ("written", "left"),
    [
        (r'{"a": "sk_live_01/23"}', r'{"a": "(key)"}'),
        (r'{"sk_live_01/23": ["sk_live_01/23", "x sk_live_01/23sk_live_01/23"]}',
         r'{"(key)": ["(key)", "x (key)(key)"]}'),
        (r'{"a": "sk_live_01\/23"}', r'{"a": "(key)"}'),
        (r'{"a": "\u0073\u006b\u005F\u006Cive_01\u002F23"}', r'{"a": "(key)"}'),
        (r'{"a": "\\sk_live_01/23 \\\u0073k_live_01/23"}', r'{"a": "\\(key) \\(key)"}'),
        (r'{"a": "\\u0073k_live_01/23"}', r'{"a": "\\u0073k_live_01/23"}'),
        (r'{"a": "sk_live_01/2"}', r'{"a": "sk_live_01/2"}'),
        (r'{"a": "SK_LIVE_01/23 \u00e9"}', r'{"a": "SK_LIVE_01/23 \u00e9"}'),
        ("<p>sk_live_01/23 \xff", "<p>(key) \xff"),
    ],
)  # fmt: skip
def test_a_key_is_taken_out_of_an_answer(written: str, left: str) -> None:
    """In whatever way JSON writes it; the rest stays to the byte, and is JSON as before."""
    assert Redactor(KEY).body(written.encode("latin-1")) == left.encode("latin-1")


def test_an_escape_is_not_torn_apart() -> None:
    """A line break before what is left of a key is no key."""
    assert Redactor("nabcdefgh").body(rb'"\nabcdefgh nabcdefgh"') == rb'"\nabcdefgh (key)"'


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=12), st.data())
def test_no_way_to_write_a_key_brings_it_back(key: str, data: st.DataObject) -> None:
    """Whatever is escaped of it, no parser finds it again."""
    written = "".join(
        f"\\u{ord(one):04x}" if data.draw(st.booleans()) else json.dumps(one)[1:-1] for one in key
    )
    before = data.draw(st.sampled_from(["", "a", "\\\\", "\\n", "\\u00e9"]))
    body = f'["{before}{written}"]'.encode()
    assert json.loads(body)[0].endswith(key)
    (said,) = json.loads(Redactor(key).body(body))
    assert key not in said
    assert said.endswith("(key)")


def test_a_short_key_is_left_in_an_answer() -> None:
    """It would be found in ordinary words; in a message of the API's own it is not said again."""
    assert Redactor("sk").body(b'{"url": "https://h/mask.png"}') == b'{"url": "https://h/mask.png"}'
    assert Redactor("sk").text("bad key sk") == "bad key (key)"


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
