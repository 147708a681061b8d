"""API keys as texts: which texts are refused as keys, and how much of a key may be shown.

Source: FLORA's documentation, whose keys begin with `sk_live_`. FLORA may give out keys of another form one
day, so only a text that is surely no key of FLORA is refused. It must not be sent to FLORA: it may be the
key of another service.
"""

from __future__ import annotations

import json
import re

from floradl.errors import UsageError

_PREFIX = "sk_"
_SHOWN = 4
_LONG_ENOUGH = 16
"""Of a key with fewer characters, the last four would give away too much."""

_SURELY_SECRET = 8
"""A key with fewer characters, such as one of a test, would be found in the midst of ordinary words."""

_IN_ITS_PLACE = "(key)"

_COPY_AGAIN = "Copy it again from FLORA's workspace settings; it begins with sk_live_."

# Texts that people paste in place of a key: the pattern, what it is, and what to do.
_OTHERS = (
    (
        r"(?:export\s+|set\s+|\$env:)?(?!sk_)[A-Za-z_]\w*\s*=.*",
        "an assignment, not a key",
        "Give what stands after the =.",
    ),
    (r"Bearer\s.*", "an HTTP header, not a key", "Give what stands after Bearer."),
    (r"([\"'`\u201c\u201d]).*|.*([\"'`\u201c\u201d])", "in quotes", "Give it without them."),
    (r"https?://.*", "a URL, not a key", _COPY_AGAIN),
    (r"(?:ws|prj|run|tech|asset)_.*", "an id of FLORA, not a key", "FLORA's workspace settings make keys."),
    (r"sk-.*", "the key of another service: FLORA's begin with sk_live_", _COPY_AGAIN),
    (r"(?:gh[pousr]_|hf_|r8_|xox[a-z]-|AKIA|AIza).*", "the key of another service", _COPY_AGAIN),
)


def check_key(key: str) -> str:
    """Return the key, unless the text cannot be one. No message shows any part of it.

    Raises:
        UsageError: the text is empty, has characters that no key has, or looks like something else.
    """
    for pattern, what, hint in _OTHERS:
        if re.fullmatch(pattern, key, re.DOTALL):
            raise UsageError(f"what was given as the API key is {what}", hint=hint)
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("the API key has characters that no key has, such as spaces", hint=_COPY_AGAIN)
    return key


def refusal_hint(key: str) -> str:
    """The hint for a user whose key the API refused."""
    if not key.startswith(_PREFIX):
        return "FLORA's keys begin with sk_live_, and this one does not: copy it again from FLORA's settings."
    return "Check the key: it may be revoked, or another workspace's. `floradl config show` tells its origin."


def masked(secret: str) -> str:
    """Return the last four characters of a secret to show them; none of a short secret."""
    return f"…{secret[-_SHOWN:]}" if len(secret) >= _LONG_ENOUGH else "…"


class Redactor:
    """Takes a key out of what the API says.

    Whoever repeats the key, be it the API or a prompt into which somebody pasted it, must not bring it into
    messages, reports or the archive. So it is taken out of the bytes of an answer before they are parsed,
    since all that is shown or kept of the API comes from there. The rest of a record stays as the API wrote
    it.

    Args:
        key: the key.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._is_secret = len(key) >= _SURELY_SECRET
        self._pattern = re.compile(b"".join(_ways_to_write(character) for character in key))

    def text(self, text: str) -> str:
        """A text for a message, without the key."""
        return text.replace(self._key, _IN_ITS_PLACE)

    def body(self, body: bytes) -> bytes:
        """The JSON of an answer without the key, in whatever way JSON can write it.

        A key that is not surely one is left.
        """
        is_possible = self._is_secret and (self._key.encode() in body or b"\\" in body)
        return self._pattern.sub(_replacement, body) if is_possible else body


def _ways_to_write(character: str) -> bytes:
    """A pattern for all ways in which JSON can write a character of ASCII."""
    ways = [json.dumps(character)[1:-1], *(["\\/"] if character == "/" else [])]
    digits = (b"[%c%c]" % (ord(digit), ord(digit.upper())) for digit in f"{ord(character):04x}")
    return b"(?:%b|%b)" % (b"|".join(re.escape(way.encode()) for way in ways), rb"\\u" + b"".join(digits))


def _replacement(match: re.Match[bytes]) -> bytes:
    """What to put in place of a key that was found.

    Backslashes before it escape each other in pairs. An odd one escapes its first character: then this is
    another text, which stays.
    """
    body, place = match.string, match.start()
    while place and body[place - 1] == ord("\\"):
        place -= 1
    return match[0] if (match.start() - place) % 2 else _IN_ITS_PLACE.encode()
