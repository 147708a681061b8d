"""What every test has: no settings of the person who runs it, and asyncio for the asynchronous ones."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import zygote
from tests.support.processes import end_started


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is run at night only: this is the one place that says so."""
    parser.addoption(
        "--nightly",
        action="store_true",
        help="a thousand examples a property, 200 kills, hundreds of power cuts, the tests marked `nightly`",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests marked `nightly` to the night."""
    if not config.getoption("--nightly"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        items[:] = [item for item in items if item not in set(left_out)]
        config.hook.pytest_deselected(items=left_out)


# How long one example takes says more about the machine than about the code.
settings.register_profile("floradl", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=1000)


def pytest_configure(config: pytest.Config) -> None:
    """Take the profile of the day or of the night (`--nightly`) unless another is asked for."""
    config.addinivalue_line("markers", "nightly: what `make nightly` alone runs")
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("nightly" if config.getoption("--nightly") else "floradl")
    # A shell starts what runs in the background with Ctrl-C ignored, which processes of the tests inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """floradl runs on asyncio."""
    return "asyncio"


_OPEN = "/proc/self/fd"
"""Its names are the numbers of this process's open descriptors, where the system is Linux."""


@pytest.fixture(scope="session", autouse=True)
def _libuv() -> None:
    """libuv opens a pipe for signals with its first loop, and keeps it as long as the process is there."""
    with suppress(ImportError):
        importlib.import_module("uvloop").new_event_loop().close()


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """Each test closes what it opened: files that Python knows, and descriptors that only a number tells.

    What lives longer on purpose is open before: fixtures of a file or the session are made before this one.
    """
    if not os.path.isdir(_OPEN):  # noqa: PTH112 - as below
        yield
        return
    # These two lines are run for every test: 30 microseconds each.
    before = set(os.listdir(_OPEN))  # noqa: PTH208 - pathlib would take three times as long
    yield
    if set(os.listdir(_OPEN)) <= before:  # noqa: PTH208 - the same
        return
    gc.collect()  # a loop or a socket in a circle of objects is closed by the collector, which says so itself
    assert not _opened_since(before | zygote.lasting)


def _opened_since(before: set[str]) -> list[str]:
    """What each descriptor is that was not open before."""
    opened = []
    for path in Path(_OPEN).iterdir():
        if path.name not in before:
            with suppress(FileNotFoundError):  # the listing's own, which is closed by now
                opened.append(f"{path.name}: {path.readlink()}")
    return opened


@pytest.fixture(autouse=True)
def _nothing_stays_at_work() -> Iterator[None]:
    """A process that a test started ends with it, also where the test failed."""
    yield
    end_started()


@pytest.fixture(autouse=True)
def _no_settings_of_mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the tests apart from the environment, config file and keys of whoever runs them."""
    for name in ("FLORA_API_KEY", "FLORA_BASE_URL", "FLORADL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock on the wall is not UTC."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system has one time zone for all processes")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()
