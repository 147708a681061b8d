"""A home directory with fake schedulers that log their calls, for tests of `floradl schedule`."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from tests.support.processes import COMMAND

_FAKE = """\
#!/bin/sh
name=$(basename "$0")
printf '%s\n' "$name $*" >> "$FAKES/calls"
if [ -e "$FAKES/$name.fails" ]; then cat "$FAKES/$name.fails" >&2; exit 1; fi
case "$name $*" in
  *NextElapseUSecRealtime*) echo "Thu 2026-11-26 02:41:12 UTC" ;;
  *Linger*) echo no ;;
  "crontab -l") cat "$FAKES/table" 2> /dev/null || { echo "no crontab for me" >&2; exit 1; } ;;
  "crontab -") cat > "$FAKES/table" ;;
  "schtasks /Create"*) cp "$5" "$FAKES/task.xml" ;;
  "schtasks /Query"*) cat "$FAKES/tasks" ;;
esac
exit 0
"""
NAMES = ("systemctl", "systemd-run", "loginctl", "launchctl", "schtasks", "crontab")


class Home:
    """A home directory with a key in a file, and fakes of every scheduler on its PATH."""

    def __init__(self, root: Path) -> None:
        self.path = root / "home"
        self.fakes = root / "fakes"
        self.units = self.path / ".config/systemd/user"
        self.key_file = self.path / "key"
        self.path.mkdir()
        self.fakes.mkdir()
        for name in NAMES:
            self.fakes.joinpath(name).write_text(_FAKE)
            self.fakes.joinpath(name).chmod(stat.S_IRWXU)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a login shell in this home."""
        path = f"{self.fakes}:/usr/bin:/bin"
        own = {"HOME": str(self.path), "PATH": path, "FAKES": str(self.fakes), "LANG": "C.UTF-8"}
        return own | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"} | more

    def run(self, *arguments: str | Path, given: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run `floradl` in this home, and assert that it shows no traceback."""
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            env=self.environment(**env),
            cwd=self.path,
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def schedule(self, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `floradl schedule` in this home."""
        return self.run("schedule", *arguments, **env)

    def calls(self) -> list[str]:
        """The calls of the fake schedulers since the last time."""
        file = self.fakes / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def fail(self, name: str, message: str) -> None:
        """Let one of the fakes fail at every call."""
        self.fakes.joinpath(f"{name}.fails").write_text(message)

    def remove_program(self, name: str) -> None:
        """Remove a fake, and all real programs from the PATH, so that none of them takes its place."""
        self.fakes.joinpath(name).unlink()
        for tool in ("sh", "basename", "cat", "cp"):
            source = next(
                Path(folder, tool) for folder in ("/bin", "/usr/bin") if Path(folder, tool).exists()
            )
            self.fakes.joinpath(tool).symlink_to(source)

    def files(self) -> set[str]:
        """Every file in the home."""
        return {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if not path.is_dir()}

    @property
    def only_fakes(self) -> dict[str, str]:
        """Take the system's own programs off the PATH."""
        return {"PATH": str(self.fakes)}

    def write_key(self, key: str) -> None:
        """Write a key into the file for it."""
        self.key_file.write_text(f"{key}\n")
        self.key_file.chmod(stat.S_IRUSR | stat.S_IWUSR)

    def program_environment(self) -> dict[str, str]:
        """The environment that a scheduler gives a job: nearly empty, and without a key."""
        return {"HOME": str(self.path), "PATH": os.defpath}
