"""The grammar: which flags each command takes, as runc and crun spell them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from havre.errors import InvalidParameter

Options = dict[str, str | bool | list[str]]


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its flags (name -> "bool", "value" or "list"), short names, and how many arguments it takes."""

    about: str
    arguments: str = "<container-id>"
    least: int = 1
    most: int | None = 1
    flags: Mapping[str, str] = field(default_factory=dict)
    short: Mapping[str, str] = field(default_factory=dict)
    stop_early: bool = (
        False  # flags end at the first argument but one (exec: what follows belongs to the command)
    )


GLOBAL = Command(
    "the OCI runtime of Havre",
    "<command> ...",
    least=0,
    most=None,
    flags={
        "debug": "bool",
        "log": "value",
        "log-format": "value",
        "root": "value",
        "criu": "value",
        "systemd-cgroup": "bool",
        "cgroup-manager": "value",
        "rootless": "value",
        "config": "value",
        "help": "bool",
        "version": "bool",
    },
    short={"h": "help", "?": "help", "v": "version", "V": "version"},
)
_CREATE = {
    "bundle": "value",
    "config": "value",
    "console-socket": "value",
    "pid-file": "value",
    "no-pivot": "bool",
    "no-new-keyring": "bool",
    "no-subreaper": "bool",
    "preserve-fds": "value",
}
_UPDATE = (
    "resources blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpuset-cpus cpuset-mems "
    "cpu-idle memory memory-reservation memory-swap pids-limit kernel-memory kernel-memory-tcp"
).split()
COMMANDS: Mapping[str, Command] = {
    "create": Command("create a container", flags=_CREATE, short={"b": "bundle", "f": "config"}),
    "delete": Command(
        "delete any resources held by the container", flags={"force": "bool"}, short={"f": "force"}
    ),
    "events": Command("display container statistics", flags={"interval": "value", "stats": "bool"}),
    "exec": Command(
        "execute a new process inside the container",
        "<container-id> <command> [args]  or  -p process.json <container-id>",
        most=None,
        flags={
            "console-socket": "value",
            "cwd": "value",
            "env": "list",
            "tty": "bool",
            "user": "value",
            "additional-gids": "list",
            "process": "value",
            "detach": "bool",
            "pid-file": "value",
            "process-label": "value",
            "apparmor": "value",
            "no-new-privs": "bool",
            "cap": "list",
            "preserve-fds": "value",
            "cgroup": "list",
            "ignore-paused": "bool",
        },
        short={
            "e": "env",
            "t": "tty",
            "u": "user",
            "g": "additional-gids",
            "p": "process",
            "d": "detach",
            "c": "cap",
        },
        stop_early=True,
    ),
    "features": Command("show the enabled features as JSON", "", least=0, most=0),
    "kill": Command(
        "send a signal (default: SIGTERM) to the container's init",
        "<container-id> [signal]",
        most=2,
        flags={"all": "bool"},
        short={"a": "all"},
    ),
    "list": Command(
        "list containers under --root",
        "",
        least=0,
        most=0,
        flags={"format": "value", "quiet": "bool"},
        short={"f": "format", "q": "quiet"},
    ),
    "pause": Command("suspend all processes inside the container"),
    "ps": Command(
        "show the processes of a container",
        "<container-id> [ps options]",
        most=None,
        flags={"format": "value"},
        short={"f": "format"},
        stop_early=True,
    ),
    "resume": Command("go on after a pause"),
    "run": Command(
        "create and start a container",
        flags={**_CREATE, "detach": "bool", "keep": "bool"},
        short={"b": "bundle", "f": "config", "d": "detach"},
    ),
    "spec": Command(
        "write a config.json to begin with",
        "",
        least=0,
        most=0,
        flags={"bundle": "value", "rootless": "bool"},
        short={"b": "bundle"},
    ),
    "start": Command("execute the process of a created container"),
    "state": Command("output the state of a container as JSON"),
    "update": Command(
        "change the resource limits of a container",
        flags=dict.fromkeys(_UPDATE, "value"),
        short={"r": "resources"},
    ),
}


def parse(command: Command, words: Sequence[str]) -> tuple[Options, list[str]]:
    """Return the options by long name, and the arguments. Raises InvalidParameter naming the flag."""
    options: Options = {}
    arguments: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, arguments + rest
        if not word.startswith("-") or word == "-":
            arguments.append(word)
            if command is GLOBAL or (command.stop_early and len(arguments) == 1):
                return options, _after_first(command, options, arguments, rest)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = command.short.get(name, name)
        kind = command.flags.get(name)
        if kind is None:
            raise InvalidParameter(f"flag provided but not defined: {word}", hint="--help")
        _store(options, name, kind, value if equals else None, rest)
    return options, arguments


def _after_first(command: Command, options: Options, arguments: list[str], rest: list[str]) -> list[str]:
    """What follows the container's id belongs to the command, but for a `--` in front of it."""
    if command is not GLOBAL and rest[:1] == ["--"]:
        rest = rest[1:]
    return arguments + rest


def _store(options: Options, name: str, kind: str, value: str | None, rest: list[str]) -> None:
    if kind == "bool":
        if value not in (None, "true", "false", "1", "0"):
            raise InvalidParameter(f"invalid boolean value {value!r} for --{name}")
        options[name] = value not in ("false", "0")
        return
    if value is None:
        if not rest:
            raise InvalidParameter(f"flag needs an argument: --{name}")
        value = rest.pop(0)
    if kind == "list":
        known = options.setdefault(name, [])
        assert isinstance(known, list)
        known.append(value)
    else:
        options[name] = value


def text(options: Options, name: str, default: str = "") -> str:
    """Return a value flag."""
    value = options.get(name, default)
    return value if isinstance(value, str) else default


def number(options: Options, name: str) -> int | None:
    """Return a value flag as a number, None when it was not given. Raises InvalidParameter."""
    value = options.get(name)
    if value is None:
        return None
    try:
        return int(str(value))
    except ValueError:
        raise InvalidParameter(f"invalid value {value!r} for flag --{name}: not a number") from None


def several(options: Options, name: str) -> list[str]:
    """Return a list flag."""
    value = options.get(name, [])
    return value if isinstance(value, list) else []


def usage() -> str:
    """Return the help text of the whole command."""
    lines = ["Usage: havre oci [global options] command [options] [arguments]", "", "Commands:"]
    lines += [f"  {name:<10}{command.about}" for name, command in COMMANDS.items()]
    lines += ["", "Global options:", *_flag_lines(GLOBAL)]
    return "\n".join(lines)


def command_usage(name: str) -> str:
    """Return the help text of one command."""
    command = COMMANDS[name]
    head = f"Usage: havre oci {name} [options] {command.arguments}".rstrip()
    lines = [
        head,
        "",
        command.about[:1].upper() + command.about[1:],
        *(["", "Options:"] if command.flags else []),
    ]
    return "\n".join(lines + _flag_lines(command))


def _flag_lines(command: Command) -> list[str]:
    short = {long: letter for letter, long in command.short.items()}
    lines = []
    for name, kind in command.flags.items():
        value = "" if kind == "bool" else " value"
        lines.append(f"  --{name}{value}" + (f", -{short[name]}{value}" if name in short else ""))
    return lines
