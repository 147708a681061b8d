"""Sizes, durations, costs and numbers as people read them. Pure."""

from __future__ import annotations


def format_bytes(size: float) -> str:
    """A number of bytes in powers of 1000: `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """A number of seconds: `3.9 s`, `2 min 05 s`, `1 h 07 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def format_left(seconds: float) -> str:
    """A number of seconds in little room: `0:07`, `2:05`, `1:07:00`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_cost(cost: float) -> str:
    """US dollars: `$0.48`; less than a cent with four digits: `$0.0040`."""
    return f"${cost:.2f}" if cost >= 0.01 else f"${cost:.4f}"


def count(things: int | tuple[object, ...] | list[object], noun: str) -> str:
    """A number with its noun: `1 output`, `2 outputs`, `3 canvases`."""
    number = things if isinstance(things, int) else len(things)
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def counts(*things: tuple[int, str]) -> str:
    """Several numbers with their nouns, zeros left out: `2 runs, 1 asset and 3 canvases`."""
    words = [count(number, noun) for number, noun in things if number]
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])
