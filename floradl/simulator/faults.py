"""Faults as data: what goes wrong, at which request, and how several faults of one request are merged.

A fault selects requests by their path and by their number, and says what their answer is like. Faults that
match the same request are merged in the order of the list: where two set the same field the later one wins,
headers of both are set, and the edits of both are made.

Guarantees that a fault which does not match a request changes nothing about its answer.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .edits import Edit


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    Attributes:
        match: glob over the path (percent-encoded, no query) of a request to either server.
        on: numbers of the matching requests that it happens to, from 1, counted for each fault and path; None
            means all.
        query: a text that the raw query string must contain for the request to match.
        status: answer with this status and an error page (`body`, or one that suits the server).
        headers: headers to set on the answer; an empty value removes a header.
        body: with `status` the error page; without it the bytes of the file, or of the API's answer.
        content_type: the `Content-Type` of the answer, true or not; "" leaves the header out.
        cut_after: close the connection after this many bytes of the body, whatever length was announced.
        stall_after: send nothing for `stall_s` after this many bytes of the body, or until the client leaves.
        stall_s: seconds after which the rest of the body follows.
        drip: (bytes, seconds): send the body in pieces of that size, with a pause after each.
        no_length: send no `Content-Length`; the end of the connection ends the body.
        chunked: send no `Content-Length`, but chunked transfer encoding.
        length_delta: `Content-Length` is wrong by this many bytes; the connection is closed after the body.
        range: what happens to a request with `Range`: "ignore" answers 200 with everything, "wrong" answers
            206 with another part than the one asked for, "416" refuses it.
        etag: the file's validator from now on, quotes included; "" leaves it out.
        redirect: redirect the client to this URL, with 302 or with `status`.
        delay_s: seconds to wait before the answer.
        drop: close the connection without an answer.
        repeat_cursor: return as a list's `next_cursor` the cursor of the request.
        edit: a change of the account, made just before this request is answered.
    """

    match: str
    on: tuple[int, ...] | None = None
    query: str | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content_type: str | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    stall_s: float = 3600
    drip: tuple[int, float] | None = None
    no_length: bool = False
    chunked: bool = False
    length_delta: int = 0
    range: str | None = None
    etag: str | None = None
    redirect: str | None = None
    delay_s: float = 0
    drop: bool = False
    repeat_cursor: bool = False
    edit: Edit | None = None

    def __post_init__(self) -> None:
        if self.range not in (None, "ignore", "wrong", "416"):
            raise ValueError(f'range must be "ignore", "wrong" or "416", not {self.range!r}')


NO_FAULT = Fault("*")


class FaultCounter:
    """Finds the faults of each request, and counts how often each fault matched each path."""

    def __init__(self) -> None:
        # Equal faults are counted apart, so the key is the object's id. The object is kept: another fault
        # could otherwise get the id, and the count, of one that was removed.
        self._known: dict[int, Fault] = {}
        self._counts: dict[tuple[int, str], int] = {}

    def matching(self, faults: Iterable[Fault], path: str, query: str) -> list[Fault]:
        """The faults that happen to this request; counts it for every fault that it matches."""
        found = []
        for fault in faults:
            if not fnmatchcase(path, fault.match) or (fault.query is not None and fault.query not in query):
                continue
            self._known[id(fault)] = fault
            number = self._counts[id(fault), path] = self._counts.get((id(fault), path), 0) + 1
            if fault.on is None or number in fault.on:
                found.append(fault)
        return found


def merge(faults: Iterable[Fault]) -> Fault:
    """One fault with the effects of all; its `match`, `on`, `query` and `edit` have no meaning."""
    merged = NO_FAULT
    for fault in faults:
        said = {
            item.name: getattr(fault, item.name)
            for item in dataclasses.fields(Fault)
            if item.name != "match" and getattr(fault, item.name) != item.default
        }
        said["headers"] = merged.headers + fault.headers
        merged = dataclasses.replace(merged, **said)
    return merged
