"""JSON kept to the byte: a record put together from two answers."""

from __future__ import annotations

import pytest

from floradl.api.raw_json import merge_records
from floradl.errors import ApiAnswerError


def test_what_is_said_later_counts() -> None:
    """But null takes nothing away, and every value is as the API wrote it."""
    older = b'{"a": 1.50, "b": [1,  2], "c": "x"}'
    newer = b'{"b": null, "c": "y", "d": null, "e": {}}'
    assert merge_records(older, newer) == b'{"a":1.50,"b":[1,  2],"c":"y","d":null,"e":{}}'


@pytest.mark.parametrize("broken", [b"", b"[]", b"{", b"\xff", b'{"a":' + b"[" * 100_000])
def test_what_is_no_object(broken: bytes) -> None:
    """It is the API's fault, and told as such, whichever of the two it is."""
    for older, newer in ((broken, b"{}"), (b"{}", broken)):
        with pytest.raises(ApiAnswerError, match="not a JSON object"):
            merge_records(older, newer)
