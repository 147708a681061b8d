"""Readers of options: functions that turn the text of a flag, a variable or the config file into a value.
Pure.

A reader raises `ValueError` with a message that says what is needed instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.ASCII)
"""A number with a unit of time. As a duration it is that long, as a moment that long ago."""

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kKMGT])(iB|B)?|B)?", re.ASCII)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_count(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of whole numbers within bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(f"a whole number from {lowest} to {highest} is needed")
        return int(text)

    return parse


def parse_duration_s(text: str) -> float:
    """Seconds from `90`, `45s`, `30m`, `12h`, `7d` or `2w`."""
    match = AGE.fullmatch(text if text[-1:].isalpha() else f"{text}s")
    if match is None or not math.isfinite(float(match[1])) or float(match[1]) > 1e9:
        raise ValueError("a duration such as 45s, 30m, 12h or 7d is needed")
    return float(match[1]) * _UNIT_S[match[2]]


def parse_size(text: str) -> int:
    """Bytes from `500`, `10M` or `2.5G` (powers of 1000), or with `KiB`, `MiB`, `GiB`, `TiB` (of 1024)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("a size such as 500M, 10G or 2GiB is needed")
    power = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] == "iB" else 1000) ** power)


def parse_sample(text: str) -> tuple[int, int]:
    """A fraction such as `1/30`: how many parts, and of how many."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("a fraction such as 1/30 is needed")
    return int(match[1]), int(match[2])


def parse_timeout_s(text: str) -> float:
    """Seconds as `parse_duration_s` reads them, at least 1: with less no answer could arrive in time."""
    seconds = parse_duration_s(text)
    if seconds < 1:
        raise ValueError("a second at least is needed")
    return seconds


def parse_id(*prefixes: str) -> Callable[[str], str]:
    """A reader of ids that begin with one of the prefixes, as FLORA documents them."""

    def parse(text: str) -> str:
        if not re.fullmatch(rf"(?:{'|'.join(prefixes)})\S+", text):
            shapes = " or ".join(f"{prefix}abc123" for prefix in prefixes)
            raise ValueError(f"FLORA's ids of this kind look like {shapes}")
        return text

    return parse


def parse_http_url(text: str) -> str:
    """An http or https URL with a host, unchanged."""
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s]*", text, re.ASCII | re.IGNORECASE):
        raise ValueError("a URL such as https://hc-ping.com/… is needed")
    return text


@dataclass(frozen=True)
class Choice:
    """A reader of one of a few words. A class, since completion and documentation need the words too."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the word.

        Raises:
            ValueError: it is none of them.
        """
        if text not in self.words:
            raise ValueError(f"one of {', '.join(self.words)} is needed")
        return text


def parse_choice(*choices: str) -> Choice:
    """A reader of one of a few words."""
    return Choice(choices)


def parse_moment_ms(text: str, now_ms: int) -> int:
    """Unix ms from a date or time (local unless it has an offset), or from an age such as `7d`."""
    if AGE.fullmatch(text):
        return now_ms - int(parse_duration_s(text) * 1000)
    from datetime import datetime  # `--help` needs neither of these

    from floradl.clock import MAX_MS

    try:
        moment = datetime.fromisoformat(text)
        moment_ms = int(moment.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as exc:
        raise ValueError("a date (2026-11-23), a time (2026-11-23T02:30) or an age (7d) is needed") from exc
    if not 0 <= moment_ms <= MAX_MS:
        raise ValueError("a moment since 1970 is needed")
    return moment_ms


def parse_when(text: str) -> str:
    """A moment, checked but left as text: an age counts from when the job begins, not from now."""
    parse_moment_ms(text, 0)
    return text


def parse_time(text: str) -> tuple[int, int]:
    """Hour and minute of a time of day such as `02:30`."""
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text, re.ASCII)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise ValueError("a time of day such as 02:30 is needed")
    return int(match[1]), int(match[2])


def parse_delay_s(text: str) -> float:
    """Seconds as `parse_duration_s` reads them, half a day at most."""
    seconds = parse_duration_s(text)
    if seconds > 12 * 3600:
        raise ValueError("12h at most is needed")
    return seconds


def parse_name(text: str) -> str:
    """A name that is allowed in file names and in every scheduler."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,49}", text, re.ASCII):
        raise ValueError("a name of a-z, 0-9 and -, 50 characters at most, is needed")
    return text


def parse_switch(text: str) -> bool:
    """A truth value: 1, true, yes, on; 0, false, no, off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("true or false is needed")
