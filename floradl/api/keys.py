"""API keys as texts: what can be one, what is something else, and what may be shown of one.

Source: FLORA's documentation, whose keys begin with `sk_live_`. What FLORA may give out one day is not known,
so only what is surely something else is refused. That must not be sent: it may be the key of another service.
"""

from __future__ import annotations

import re

from floradl.errors import UsageError

_PREFIX = "sk_"
_SHOWN = 4
_LONG_ENOUGH = 16
"""Of a shorter key the last characters would tell too much."""

_COPY_AGAIN = "Copy it again from FLORA's workspace settings; it begins with sk_live_."

# What people paste in place of a key: how it looks, what it is, what to do.
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
    """The key, unless it cannot be one. No message shows any of it.

    Raises:
        UsageError: it is empty, has characters that no key has, or looks like something else.
    """
    for pattern, what, hint in _OTHERS:
        if re.fullmatch(pattern, key, re.DOTALL):
            raise UsageError(f"what was given as the API key is {what}", hint=hint)
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("the API key has characters that no key has, such as spaces", hint=_COPY_AGAIN)
    return key


def refusal_hint(key: str) -> str:
    """What to do when the API refused a key."""
    if not key.startswith(_PREFIX):
        return "FLORA's keys begin with sk_live_, and this one does not: copy it again from FLORA's settings."
    return "Check the key: it may be revoked, or another workspace's. `floradl config show` tells its origin."


def masked(secret: str) -> str:
    """What may be shown of a key or another secret: its last four characters, if it is long."""
    return f"…{secret[-_SHOWN:]}" if len(secret) >= _LONG_ENOUGH else "…"
