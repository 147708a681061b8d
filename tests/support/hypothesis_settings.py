"""How many examples a property is checked with, by day and at night."""

from __future__ import annotations

from hypothesis import settings


def by_day(max_examples: int) -> settings:
    """Few examples for a property that is slow to check; all examples in `make nightly`."""
    return settings() if is_night() else settings(max_examples=max_examples)


def is_night() -> bool:
    """Whether these are the tests of `make nightly`, whose time is not limited."""
    return settings.default == settings.get_profile("nightly")
