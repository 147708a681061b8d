"""The documents hold: their commands are floradl's and work, the messages they quote are in the source."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from floradl.cli import parser
from floradl.cli.options import COMMANDS
from floradl.simulator import Account, SimOutput, SimRun, Simulator, serve_in_thread
from tests.support import record
from tests.support.archives import manifest
from tests.support.media import png
from tests.support.monitors import monitor
from tests.support.processes import COMMAND
from tests.support.schedulers import Home

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def code_blocks(text: str, *languages: str) -> Iterator[str]:
    """The code blocks of a document in one of the languages; "" is a block that names none."""
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield code


def commands(path: Path) -> list[str]:
    """The command lines in a document that begin with `floradl`, prompts and comments apart."""
    lines: list[str] = []
    for code in code_blocks(path.read_text(encoding="utf-8"), "", "sh", "console"):
        for line in code.replace("\\\n", "").splitlines():
            match = re.match(r"(?:\$ )?(?:FLORA\w+=\S+ )*(floradl(?: .*)?)$", line)
            if match and "[options]" not in line:  # that is no command, but what one looks like
                lines.append(match[1])
    return lines


def words_of(line: str) -> list[str]:
    """The arguments of a command line, up to what is the shell's: comments, pipes, redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="<>|&;")
    lexer.whitespace_split = True
    words = list(lexer)
    ends = [index for index, word in enumerate(words) if re.fullmatch(r"[<>|&;]+", word)]
    return words[1 : min(ends, default=len(words))]


EVERY_COMMAND = [
    pytest.param(line, id=f"{path.name}: {line}")
    for path in (*DOCUMENTS, *DECISIONS)
    for line in commands(path)
]


@pytest.mark.parametrize("line", EVERY_COMMAND)
def test_a_documented_command_is_one(line: str) -> None:
    """Every command line in the documents is taken by the parser, its values read as at the command line."""
    words = words_of(line)
    try:
        command, flags = parser.parse(words)
    except SystemExit as exc:  # --help and --version end here
        assert exc.code in (0, None)  # noqa: PT017 - no exception is as good
        return
    by_key = {option.key: option for option in COMMANDS[command]}
    for key, value in flags.items():
        if key in by_key:
            by_key[key].read(value, line)


def test_commands_are_found_at_all() -> None:
    """The test above sees something, in each of the documents that are for users."""
    found = {path.name for path in DOCUMENTS if commands(path)}
    assert {"README.md", "guide.md", "recipes.md"} <= found


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """An account with the ids that the documents use."""
    account = Account("sk_live_docs")
    for number in range(6):
        output = SimOutput(f"output_{number}", body=png(bytes([number]) * 5000), path=f"/{number}.png")
        account.insert(SimRun(f"run_{number}", "ws_abc", "prj_def", outputs=[output]))
    account.insert(SimRun("run_x", "ws_abc", "prj_x", outputs=[SimOutput("output_1", body=png(b"x" * 5000))]))
    with serve_in_thread(account) as simulator:
        yield simulator


def in_a_shell(home: Home, sim: Simulator, line: str) -> subprocess.CompletedProcess[str]:
    """A line as typed in this home; whatever asks for a key gets it."""
    env = home.environment(FLORA_BASE_URL=sim.base_url)
    env["PATH"] = f"{Path(COMMAND).parent}:{env['PATH']}"
    return subprocess.run(
        ["/bin/sh", "-c", line],
        input=f"{sim.account.api_key}\n",
        env=env,
        cwd=home.path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_guide_from_its_first_line_to_its_last(tmp_path: Path, sim: Simulator) -> None:
    """Whoever types the guide gets what it says: each command ends well, the second archive is the first."""
    home = Home(tmp_path)
    lines = commands(ROOT / "docs" / "guide.md")
    for line in lines:
        done = in_a_shell(home, sim, line)
        if "1a2b3c4d" in line:  # the guide's own archive has another name than the reader's
            assert (done.returncode, "there is no job" in done.stderr) == (1, True), line
            continue
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert "sk_live_docs" not in done.stdout + done.stderr, line
    first, second = manifest(home.path / "flora-archive"), manifest(home.path / "new-archive")
    assert len(first["runs"]) == 7
    assert first["runs"].keys() == second["runs"].keys()
    assert [path.suffix for path in sorted(home.units.iterdir())] == [".service", ".timer"]


def test_the_recipes_commands_end_well_in_a_home_that_has_what_they_name(
    tmp_path: Path, sim: Simulator
) -> None:
    """What a recipe says works one after another too, but where it needs a disk of somebody's own."""
    home = Home(tmp_path)
    assert in_a_shell(home, sim, "floradl login; floradl ~/flora-archive").returncode == 0
    home.write_key(sim.account.api_key)
    (home.path / ".flora-key").write_bytes(home.key_file.read_bytes())
    for line in commands(ROOT / "docs" / "recipes.md"):
        if "/mnt/" in line or "--remove" in line:
            continue
        done = in_a_shell(home, sim, line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert (home.path / "handover/SHA256SUMS").exists()
    assert len(list((home.path / "handover-files").glob("*.png"))) == 6


def test_the_other_commands_end_well_too(tmp_path: Path, sim: Simulator) -> None:
    """Those of the other pages, one after another, where what they name is there."""
    home = Home(tmp_path)
    for name in ("rclone", "mail"):
        home.fakes.joinpath(name).write_text("#!/bin/sh\n")
        home.fakes.joinpath(name).chmod(0o700)
    for folder in ("backup", "node_exporter"):
        (home.path / folder).mkdir()
    (home.path / "file").write_text(sim.account.api_key)
    assert in_a_shell(home, sim, "floradl login && floradl ./out && floradl ./backup/flora").returncode == 0
    with monitor() as told:
        there = {
            "https://hc-ping.com/your-uuid": told.url,
            "/mnt/backup": f"{home.path}/backup",
            "/var/lib/node_exporter": f"{home.path}/node_exporter",
            "bash|zsh|fish": "bash",
            "floradl list --status running --watch": "! timeout 3 floradl list --status running --watch",
        }
        for path in DOCUMENTS:
            for line in commands(path) if path.name not in ("guide.md", "recipes.md") else ():
                for shown, own in there.items():
                    line = line.replace(shown, own)
                done = in_a_shell(home, sim, line)
                assert done.returncode == 0, f"{path.name}: {line}\n{done.stdout}{done.stderr}"
        assert len(told.paths) == 2
    assert (home.path / "node_exporter/floradl.prom").read_text().startswith("# HELP floradl_")


def strings_of(source: str) -> str:
    """All the texts in a source, as they are put together; what is filled in is left out."""
    return "\n".join(
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def test_every_reason_of_a_failure_is_explained() -> None:
    """Each code that docs/format.md lists is in the table of the troubleshooting page."""
    listed = re.search(
        r"^Codes of `error`: (.+?)\n\n",
        (ROOT / "docs" / "format.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert listed is not None
    codes = set(re.findall(r"`([a-z_]+)`", listed[1]))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert len(codes) > 10
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_messages_are_quoted_as_they_are() -> None:
    """Each message that is a title in the troubleshooting page is one that floradl prints."""
    sources = [path for path in (ROOT / "floradl").rglob("*.py") if "simulator" not in path.parts]
    texts = "\n".join(strings_of(path.read_text(encoding="utf-8")) for path in sources)
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^### (`+)(.*?)\1", page, re.MULTILINE)
    assert len(messages) > 15
    for _, message in messages:
        for part in message.split("…"):
            assert part.strip() in ("401", *texts) or part in texts, f"{part!r} of {message!r} is not there"


def test_links_between_documents_lead_somewhere() -> None:
    """A link to another document, or to a part of one, has something at its end."""
    for path in (*DOCUMENTS, *DECISIONS, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            file, _, part = target.partition("#")
            there = (path.parent / file) if file else path
            assert there.exists(), f"{path.name}: {target}"
            if part:
                titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
                assert part in anchors, f"{path.name}: {target}"


def test_every_decision_has_its_place_in_the_list() -> None:
    """The list of decisions links to each record once, in order, under the number and title that it bears."""
    readme = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[(\d+)\. ([^\]]+)\]\(([^)]+)\)", readme, re.MULTILINE)
    records = [path for path in DECISIONS if path.name != "README.md"]
    assert len(records) > 15
    assert [file for _, _, file in listed] == [path.name for path in records]
    for (number, title, _), path in zip(listed, records, strict=True):
        assert path.name.startswith(f"{int(number):04}-")
        assert path.read_text(encoding="utf-8").splitlines()[0] == f"# {number}. {title}"


def test_the_first_night_is_as_the_readme_shows_it(tmp_path: Path) -> None:
    """Four commands from nothing to a nightly job, typed into a terminal: it shows what README.md has."""

    def settled(lines: list[str]) -> list[str]:
        return [re.sub(r"Took \d+\.\d s", "Took 1.0 s", line) for line in lines]

    shown = record.first_night(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert settled(record.recorded(readme)) == settled(shown), "`make docs` writes it anew"
    assert len([line for line in shown if line.startswith("$ ")]) == 4
    home = tmp_path / "home"
    assert len(list((home / ".config/systemd/user").glob("floradl-flora-archive-*.timer"))) == 1
    assert len(manifest(home / "flora-archive")["runs"]) == 115


def test_the_picture_is_one() -> None:
    """The picture in the README is well-formed and shows the first commands and a run at work."""
    picture = ElementTree.fromstring((ROOT / "docs/terminal.svg").read_bytes())  # noqa: S314 - our own
    lines = "\n".join(picture.itertext())
    assert all(f"$ {line}" in lines for line in record.FIRST_NIGHT[:2])
    assert re.search(r"outputs  \|.*\| \d+/\d+", lines)


def test_a_screen() -> None:
    """The terminal that records knows what a bar does: back to the start of a line, up, and erase."""
    screen = record.Screen()
    screen.show("one\r\ntwo 50%\rtwo 100%\r\n\x1b[Athree\x1b[K\r\n\x1b[32mfour\x1b[0m  \r\n\r\n")
    assert screen.text() == ["one", "three", "four"]
