"""`floradl completion`: scripts that let bash, zsh and fish complete commands, options, words and paths.

They are made from the parsers and the table of options, so that they have every option. The library shtab,
which makes such scripts from a parser, cannot express that a command may be left out, as `archive` may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from floradl.cli.options import COMMANDS, Option
from floradl.cli.parser import parser_of
from floradl.errors import Exit

_PATHS = frozenset({"FILE", "PATH", "DIR", "CMD"})
"""The names that options give to a value which is a path."""


@dataclass(frozen=True, slots=True)
class _Flag:
    """An option, as far as completion needs it.

    Args:
        names: `-n` if it has a letter, and `--name`.
        help: what it does.
        value: the name of its value; "" where it takes none, or only one after a `=`.
        words: the words that the value may be; empty where it may be anything.
        is_path: whether the value is a path.
        may_repeat: whether it may be given again.
        is_implied: whether it may have a value after a `=`, and has a default without.
    """

    names: tuple[str, ...]
    help: str
    value: str = ""
    words: tuple[str, ...] = ()
    is_path: bool = False
    may_repeat: bool = False
    is_implied: bool = False


@dataclass(frozen=True, slots=True)
class _Argument:
    """A positional argument: one of these words, or a path where there are no words."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Command:
    """A command with its options and arguments."""

    name: str
    summary: str
    flags: tuple[_Flag, ...]
    arguments: tuple[_Argument, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The words that its arguments may be."""
        return tuple(word for argument in self.arguments for word in argument.words)


def run(shell: str) -> int:
    """Print the script for a shell."""
    commands = [_command(name) for name in COMMANDS]
    lines = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)
    print("\n".join(lines))  # start-up files of shells run this, so it loads nothing that takes long
    return int(Exit.OK)


def _command(name: str) -> _Command:
    parser = parser_of(name)
    arguments = [
        _Argument(str(action.metavar or action.dest), tuple(action.choices or ()))
        for action in parser._actions
        if not action.option_strings
    ]
    more = [
        _Flag(("-h", "--help"), "show the help and exit"),
        _Flag(("--version",), "show the version and exit"),
    ]
    flags = [_flag(option) for option in COMMANDS[name]]
    return _Command(name, parser.description or "", (*flags, *more), tuple(arguments))


def _flag(option: Option) -> _Flag:
    names = (option.short, f"--{option.name}") if option.short else (f"--{option.name}",)
    if option.parse is None:
        return _Flag(names, option.help)
    is_implied = option.implied is not None
    return _Flag(
        names,
        option.help,
        "" if is_implied else option.value_name,
        option.choices,
        is_path=option.value_name in _PATHS,
        may_repeat=option.is_list,
        is_implied=is_implied,
    )


# --- bash: one function, and readline's own completion of paths -------------------------------------------

_BASH_BEGIN = """\
# floradl's completion for bash:  eval "$(floradl completion bash)"
_floradl() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command=archive flags= words=
    # bash takes --option=value apart
    if [[ $word == "=" ]]; then
        word=
    elif [[ $before == "=" ]]; then
        before="${COMP_WORDS[COMP_CWORD-2]}"
    fi"""
_BASH_END = """\
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o bashdefault -o default -F _floradl floradl"""


def _bash(commands: list[_Command]) -> Iterator[str]:
    names = [command.name for command in commands]
    yield _BASH_BEGIN
    yield f'    case "${{COMP_WORDS[1]}}" in {"|".join(names)})'
    yield '        ((COMP_CWORD > 1)) && command="${COMP_WORDS[1]}" ;;'
    yield "    esac"
    yield '    case "$command" in'
    for command in commands:
        flags = " ".join(flag.names[-1] for flag in command.flags)
        yield f'        {command.name}) flags="{flags}"; words="{" ".join(command.words)}" ;;'
    yield "    esac"
    yield '    case "$command $before" in'
    for command in commands:
        for flag in command.flags:
            if flag.words and flag.value:
                yield f'        {_bash_cases(command, [flag])}) words="{" ".join(flag.words)}" ;;'
        if paths := [flag for flag in command.flags if flag.is_path]:
            yield f"        {_bash_cases(command, paths)}) return ;;"
        if others := [flag for flag in command.flags if flag.value and not flag.words and not flag.is_path]:
            nothing = "compopt +o bashdefault +o default 2>/dev/null; return"
            yield f"        {_bash_cases(command, others)}) {nothing} ;;"
    yield '        *) if [[ $word == -* ]]; then words="$flags"'
    yield f'           elif ((COMP_CWORD == 1)); then words="{" ".join(names)}"; fi ;;'
    yield "    esac"
    yield _BASH_END


def _bash_cases(command: _Command, flags: Iterable[_Flag]) -> str:
    """The patterns of `case` for a cursor behind one of these flags."""
    return "|".join(f'"{command.name} {name}"' for flag in flags for name in flag.names)


# --- zsh: _arguments does the work ------------------------------------------------------------------------

_ZSH_BEGIN = """\
#compdef floradl
# floradl's completion for zsh:  eval "$(floradl completion zsh)"  after compinit, or as _floradl in $fpath
_floradl() {
    local command=archive
    local -a commands specs"""
_ZSH_END = """\
    if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then
        _describe -t commands command commands
        _files
        return
    fi
    if ((${commands[(I)$words[2]:*]})); then
        command=$words[2]
        shift words
        ((CURRENT--))
    fi"""
_ZSH_LAST = """\
    _arguments -s : $specs
}
if [[ $funcstack[1] == _floradl ]]; then
    _floradl "$@"
else
    compdef _floradl floradl
fi"""


def _zsh(commands: list[_Command]) -> Iterator[str]:
    yield _ZSH_BEGIN
    yield "    commands=("
    for command in commands:
        yield f"        {_quoted(f'{command.name}:{command.summary}')}"
    yield "    )"
    yield _ZSH_END
    yield "    case $command in"
    for command in commands:
        yield f"        {command.name}) specs=("
        for spec in _zsh_specs(command):
            yield f"            {_quoted(spec)}"
        yield "        ) ;;"
    yield "    esac"
    yield _ZSH_LAST


def _zsh_specs(command: _Command) -> Iterator[str]:
    for flag in command.flags:
        escaped = "".join(f"\\{character}" if character in "[]:\\" else character for character in flag.help)
        value = f":{flag.value}:{_zsh_action(flag.words, is_path=flag.is_path)}" if flag.value else ""
        others = "*" if flag.may_repeat else f"({' '.join(flag.names)})"
        for name in flag.names:
            mark = ("=" if name.startswith("--") else "+") if flag.value else "=-" if flag.is_implied else ""
            yield f"{others}{name}{mark}[{escaped}]{'::value: ' if flag.is_implied else value}"
    for argument in command.arguments:
        yield f":{argument.name}:{_zsh_action(argument.words, is_path=True)}"


def _zsh_action(words: tuple[str, ...], *, is_path: bool) -> str:
    """What zsh offers for a value: its words, paths, or nothing."""
    if words:
        return f"({' '.join(words)})"
    return "_files" if is_path else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish: a line an option -------------------------------------------------------------------------------

_FISH_BEGIN = """\
# floradl's completion for fish:  floradl completion fish > ~/.config/fish/completions/floradl.fish
function __floradl_runs
    set -l words (commandline -opc)
    set -l command archive
    contains -- "$words[2]" {names}; and set command $words[2]
    test $command = $argv[1]
end
function __floradl_is_first
    test (count (commandline -opc)) -eq 1
end
complete -c floradl -e"""


def _fish(commands: list[_Command]) -> Iterator[str]:
    yield _FISH_BEGIN.replace("{names}", " ".join(command.name for command in commands))
    for command in commands:
        offer = f"-a {command.name} -d {_fish_quoted(command.summary)}"
        yield f"complete -c floradl -n __floradl_is_first {offer}"
    for command in commands:
        begin = f"complete -c floradl -n '__floradl_runs {command.name}'"
        for flag in command.flags:
            yield f"{begin} {' '.join(_fish_parts(flag))}"
        if command.words:
            yield f"{begin} -f -a '{' '.join(command.words)}'"


def _fish_parts(flag: _Flag) -> Iterable[str]:
    for name in flag.names:
        yield f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
    if flag.words and flag.value:
        yield f"-x -a '{' '.join(flag.words)}'"
    elif flag.is_path:
        yield "-r -F"
    elif flag.value:
        yield "-x"
    yield f"-d {_fish_quoted(flag.help)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
