"""The keys that `floradl login` keeps: in the system's keyring, or each in a file of its own.

A key is kept for one API and one profile, so that it is never sent to another base URL. A file with a key is
created with mode 0600, flushed, and renamed to its name: no other user can read it at any moment, and after a
power cut it holds either the old key or the new one. The keyring is asked only if there is no file.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import platformdirs

from floradl.cli.private import make_private_folder
from floradl.errors import DestinationError, UsageError, printable
from floradl.storage.local.fsync import replace_file

KEYRING = "the system keyring"

_SERVICE = "floradl"
log = logging.getLogger(__name__)


class Keyring(Protocol):
    """The functions of the library `keyring` that are used here."""

    def get_password(self, service_name: str, username: str, /) -> str | None:
        """The key, or None."""

    def set_password(self, service_name: str, username: str, password: str, /) -> None:
        """Keep the key."""

    def delete_password(self, service_name: str, username: str, /) -> None:
        """Forget the key."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a key is kept for: the base URL of an API, and a profile of the config file or none."""

    base_url: str
    profile: str | None = None

    @property
    def user(self) -> str:
        """The user name under which the keyring keeps the key."""
        base_url = self.base_url.rstrip("/")
        return base_url if self.profile is None else f"{self.profile} {base_url}"

    @property
    def file_name(self) -> str:
        """The name of its file: readable, and with a digest that tells it from every other place."""
        readable = re.sub(r"[^A-Za-z0-9_-]", "_", self.profile or "default")[:40]
        digest = hashlib.sha256(self.user.encode(errors="surrogatepass")).hexdigest()[:8]
        return f"{readable}-{digest}.key"


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key and where it is kept; `path` is None for the keyring."""

    key: str
    path: Path | None

    @property
    def where(self) -> str:
        """Where the key is kept, for people."""
        return KEYRING if self.path is None else str(self.path)


def system_keyring() -> Keyring | None:
    """The library `keyring`; None where it is not installed."""
    try:
        import keyring  # an optional extra that takes long to load
    except ImportError:
        return None
    return keyring


def default_folder() -> Path:
    """The folder of the files with keys. Not the one of config.toml, which people share and publish."""
    return Path(platformdirs.user_data_dir("floradl", appauthor=False)) / "keys"


class KeyStore:
    """The kept keys of this user.

    Args:
        folder: the folder of the files with keys; created when a key is kept.
        keyring: returns the system's keyring, or None where there is none.
    """

    def __init__(
        self, folder: Path | None = None, keyring: Callable[[], Keyring | None] = system_keyring
    ) -> None:
        self._folder = default_folder() if folder is None else folder
        self._keyring = keyring

    def find(self, place: Place) -> KeptKey | None:
        """The key that is kept for a place; None where there is none.

        Raises:
            UsageError: there may be one, but it cannot be read.
        """
        path = self._folder / place.file_name
        try:
            return KeptKey(path.read_text(encoding="utf-8").strip(), path)
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as exc:
            reason = getattr(exc, "strerror", None) or "not text"
            hint = "Run `floradl login` once more."
            raise UsageError(f"cannot read the kept key {path}: {reason}", hint=hint) from exc
        keyring = self._keyring()
        if keyring is None:
            return None
        try:
            key = keyring.get_password(_SERVICE, place.user)
        except Exception as exc:  # each system's keyring has errors of its own
            if (
                type(exc).__name__ == "NoKeyringError"
            ):  # by name, because the class belongs to the optional library
                return None
            raise UsageError(
                f"there is no API key, and {KEYRING} cannot be asked for one: {_reason(exc)}",
                hint="Unlock it, or keep the key in a file: floradl login --to-file.",
            ) from exc
        return None if key is None else KeptKey(key, None)

    def keep(self, place: Place, key: str, *, to_file: bool) -> KeptKey:
        """Keep a key for a place, in place of the one kept before.

        Args:
            place: the API and the profile.
            key: the key.
            to_file: whether to use a file although there is a keyring.

        Raises:
            DestinationError: the file with the key cannot be written.
        """
        path = self._folder / place.file_name
        if not to_file and self._keep_in_keyring(place, key):
            with suppress(OSError):
                path.unlink()
            return KeptKey(key, None)
        try:
            _write_private(path, f"{key}\n".encode())
        except OSError as exc:
            reason = exc.strerror or type(exc).__name__
            raise DestinationError(f"cannot keep the key in {path}: {reason}") from exc
        self._forget_in_keyring(place)
        return KeptKey(key, path)

    def forget(self, place: Place) -> list[str]:
        """Remove the key of a place, and return where it was kept, in words.

        Raises:
            DestinationError: the file with the key cannot be removed.
        """
        path = self._folder / place.file_name
        was_at = [KEYRING] if self._forget_in_keyring(place) else []
        try:
            path.unlink()
        except FileNotFoundError:
            return was_at
        except OSError as exc:
            raise DestinationError(f"cannot remove {path}: {exc.strerror}") from exc
        return [*was_at, str(path)]

    def _keep_in_keyring(self, place: Place, key: str) -> bool:
        """Put the key into the keyring, and read it back: some keyrings accept a key and keep nothing.

        Returns:
            Whether the keyring has the key now.
        """
        keyring = self._keyring()
        if keyring is None:
            return False
        try:
            keyring.set_password(_SERVICE, place.user, key)
            return keyring.get_password(_SERVICE, place.user) == key
        except Exception as exc:  # noqa: BLE001 - each system's keyring has errors of its own
            log.info("%s cannot be used: %s", KEYRING, _reason(exc))
            return False

    def _forget_in_keyring(self, place: Place) -> bool:
        """Remove the key of a place from the keyring; False where there was none, or it cannot be used."""
        keyring = self._keyring()
        if keyring is None:
            return False
        try:
            if keyring.get_password(_SERVICE, place.user) is None:
                return False
            keyring.delete_password(_SERVICE, place.user)
        except Exception as exc:  # noqa: BLE001 - each system's keyring has errors of its own
            log.info("%s cannot be used: %s", KEYRING, _reason(exc))
            return False
        return True


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that no other user can read, whole or not at all."""
    # Created with 0600 and renamed only when it is flushed: a `chmod` afterwards would leave a moment in
    # which others could open it, and a power cut could leave an empty file in place of the old key.
    make_private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    replace_file(temporary, path, data, mode=0o600, is_flushed=True)


def _reason(exc: Exception) -> str:
    return printable(str(exc)) or type(exc).__name__
