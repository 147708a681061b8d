"""Two keyrings for the library `keyring`, chosen by `PYTHON_KEYRING_BACKEND`: one works, one is locked."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError


class Working(KeyringBackend):
    """Keeps passwords in the file that the variable `TEST_KEYRING` names."""

    priority = 1.0

    def get_password(self, service: str, username: str) -> str | None:
        """The password, or None."""
        found = self._read().get(f"{service} {username}")
        return found if found is None else str(found)

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a password."""
        self._write(self._read() | {f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        """Forget a password."""
        kept = self._read()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError("not found")
        self._write(kept)

    def _read(self) -> dict[str, str]:
        path = Path(os.environ["TEST_KEYRING"])
        kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return kept

    def _write(self, kept: dict[str, str]) -> None:
        Path(os.environ["TEST_KEYRING"]).write_text(json.dumps(kept))


class Locked(KeyringBackend):
    """A keyring that is locked, as in a job at night: every call fails."""

    priority = 1.0

    def get_password(self, service: str, username: str) -> str | None:
        """Fail."""
        raise KeyringLocked(f"locked\x1b[2J {service} {username}"[:10])

    def set_password(self, service: str, username: str, password: str) -> None:
        """Fail."""
        raise KeyringLocked(f"locked {service} {username} {len(password)}"[:6])

    def delete_password(self, service: str, username: str) -> None:
        """Fail."""
        raise KeyringLocked(f"locked {service} {username}"[:6])
