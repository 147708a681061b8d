"""Which file has which content: what is said of it, and who waits for whom."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from floradl.download.dedupe import ContentIndex

ONE, TWO = (hashlib.sha256(name).hexdigest() for name in (b"one", b"two"))
HERE, THERE = PurePosixPath("ws/prj/run/a.png"), PurePosixPath("ws/prj/run/b.png")


def test_a_shelf_has_one_file_of_each_content() -> None:
    """The last that was put there; nothing of what nobody put there."""
    content_index = ContentIndex()
    assert content_index.get(ONE) is None
    content_index.put(ONE, HERE)
    content_index.put(TWO, THERE)
    assert (content_index.get(ONE), content_index.get(TWO)) == (HERE, THERE)
    content_index.put(ONE, THERE)
    assert content_index.get(ONE) == THERE


def test_a_shelf_is_filled_once() -> None:
    """What the archive has is read when it is first asked for, and displaces nothing newer."""
    loads = []

    def load() -> Iterator[tuple[str, PurePosixPath]]:
        loads.append(1)
        yield ONE, HERE
        yield TWO, HERE
        yield TWO, THERE

    content_index = ContentIndex()
    content_index.put(ONE, THERE)
    for _ in range(2):
        content_index.fill(load)
    assert (loads, content_index.get(ONE), content_index.get(TWO)) == ([1], THERE, HERE)


def test_who_brings_the_same_content_waits() -> None:
    """One thread at a time brings a content, and who waited finds it; another content waits for nobody."""
    content_index, is_inside, may_end = ContentIndex(), threading.Event(), threading.Event()
    found: list[PurePosixPath | None] = []

    def first() -> None:
        with content_index.exclusive(ONE):
            is_inside.set()
            assert may_end.wait(20)
            content_index.put(ONE, HERE)

    def second() -> None:
        with content_index.exclusive(ONE):
            found.append(content_index.get(ONE))

    threads = [threading.Thread(target=work) for work in (first, second)]
    threads[0].start()
    assert is_inside.wait(20)
    threads[1].start()
    with content_index.exclusive(TWO):
        assert found == []
    may_end.set()
    for thread in threads:
        thread.join(20)
    assert found == [HERE]


def test_a_turn_ends_with_an_error() -> None:
    """A disk that fails one thread does not make the next wait for ever."""
    content_index = ContentIndex()
    with pytest.raises(OSError, match="full"), content_index.exclusive(ONE):
        raise OSError("full")
    with content_index.exclusive(ONE):
        assert content_index.get(ONE) is None
