"""What every test has: no settings of the person who runs it, and asyncio for the asynchronous ones."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long one example takes says more about the machine than about the code.
settings.register_profile("floradl", deadline=None)
settings.register_profile("nightly", deadline=None, max_examples=1000)


def pytest_configure(config: pytest.Config) -> None:
    """Take the profile of the day unless another is asked for (`--hypothesis-profile=nightly`)."""
    if not config.getoption("--hypothesis-profile"):
        settings.load_profile("floradl")
    # A shell starts what runs in the background with Ctrl-C ignored, which processes of the tests inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """floradl runs on asyncio."""
    return "asyncio"


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
