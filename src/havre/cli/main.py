"""From words to a command. Lean: only the module of the command that runs is imported."""

import os
import sys

from havre.cli import options
from havre.errors import HavreError, InvalidParameter
from havre.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.cli.context import Context

GLOBAL_FLAGS = {
    "host": "H:list",
    "context": "c:str",
    "config": ":str",
    "debug": "D:bool",
    "log-level": "l:str",
    "tls": ":bool",
    "tlsverify": ":bool",
    "tlscacert": ":str",
    "tlscert": ":str",
    "tlskey": ":str",
    "version": "v:bool",
}
# command -> (module, function, summary)
COMMANDS = {
    "run": ("run", "run", "Create and run a new container from an image"),
    "exec": ("exec", "execute", "Execute a command in a running container"),
    "ps": ("ps", "ps", "List containers"),
    "pull": ("transfer", "pull", "Download an image from a registry"),
    "push": ("transfer", "push", "Upload an image to a registry"),
    "images": ("images", "images", "List images"),
    "login": ("login", "login", "Authenticate to a registry"),
    "logout": ("login", "logout", "Log out from a registry"),
    "version": ("info", "version", "Show the version information"),
    "info": ("info", "info", "Display system-wide information"),
    "attach": ("attach", "attach", "Attach local standard streams to a running container"),
    "create": ("run", "create", "Create a new container"),
    "events": ("info", "events", "Get real time events from the server"),
    "history": ("images", "history", "Show the history of an image"),
    "import": ("transfer", "import_", "Make an image from a root filesystem archive"),
    "inspect": ("inspect", "inspect", "Return low-level information on objects"),
    "kill": ("containers", "kill", "Kill one or more running containers"),
    "load": ("transfer", "load", "Load images from an archive"),
    "logs": ("logs", "logs", "Fetch the logs of a container"),
    "pause": ("containers", "pause", "Pause all processes within containers"),
    "port": ("containers", "port", "List the published ports of a container"),
    "rename": ("containers", "rename", "Rename a container"),
    "restart": ("containers", "restart", "Restart one or more containers"),
    "rm": ("containers", "rm", "Remove one or more containers"),
    "rmi": ("images", "rmi", "Remove one or more images"),
    "save": ("transfer", "save", "Save images to an archive"),
    "start": ("containers", "start", "Start one or more stopped containers"),
    "stop": ("containers", "stop", "Stop one or more running containers"),
    "tag": ("images", "tag", "Give an image one more name"),
    "unpause": ("containers", "unpause", "Unpause all processes within containers"),
    "wait": ("containers", "wait", "Block until containers stop, then print their exit codes"),
}
GROUPS = {
    "container": {
        **{
            name: name
            for name in "attach create exec inspect kill logs pause port rename restart rm run start stop unpause wait".split()
        },
        "ls": "ps",
        "list": "ps",
        "ps": "ps",
        "prune": "container prune",
    },
    "image": {
        **{name: name for name in "history import inspect load pull push save tag".split()},
        "ls": "images",
        "list": "images",
        "rm": "rmi",
        "prune": "image prune",
    },
    "network": {
        **{name: f"network {name}" for name in "create inspect ls prune rm".split()},
        "list": "network ls",
        "remove": "network rm",
    },
    "system": {
        "info": "info",
        "events": "events",
        "df": "system df",
        "dial-stdio": "system dial-stdio",
        "prune": "system prune",
    },
}
INNER = {
    "container prune": ("prune", "containers", "Remove all stopped containers"),
    "image prune": ("prune", "images", "Remove unused images"),
    "network ls": ("network", "ls", "List networks"),
    "network inspect": ("network", "inspect", "Display detailed information on networks"),
    "network create": ("network", "create", "Create a network"),
    "network prune": ("network", "prune", "Remove all unused networks"),
    "network rm": ("network", "rm", "Remove one or more networks"),
    "system df": ("info", "disk_usage", "Show disk usage"),
    "system prune": ("prune", "system", "Remove unused data"),
    "system dial-stdio": ("info", "dial_stdio", "Carry stdin and stdout to the daemon"),
    "completion": ("completion", "completion", "Print the completion script of bash, zsh or fish"),
}


def main(words: list[str]) -> int:
    """Run one command; return its exit code. Every error becomes one line here."""
    try:
        given, rest = options.parse(words, GLOBAL_FLAGS, stop_early=True)
        if given["version"]:
            print(f"Havre version {VERSION}")
            return 0
        if not rest or rest[0] == "help":
            sys.stdout.write(usage() if len(rest) < 2 else _help(rest[1:]))
            return 0
        return _dispatch(rest, given)
    except options.HelpAsked:
        sys.stdout.write(usage())
        return 0
    except HavreError as error:
        sys.stderr.write(f"havre: {error}\n")
        return error.exit_code if error.exit_code else 125
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except KeyboardInterrupt:
        return 130


def _silence_stdout() -> None:
    """The reader has gone (`havre ps | head`): that is no error, and the flush at exit must not say so either."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)


def find(words: list[str]) -> "tuple[str, tuple[str, str, str], list[str]]":
    """Return (command, its entry, the words behind it). Raises InvalidParameter with a near name."""
    name = words[0]
    if name in GROUPS:
        if len(words) < 2 or words[1] in ("--help", "-h"):
            raise options.HelpAsked
        inner = GROUPS[name].get(words[1])
        if inner is None:
            raise _unknown(f"{name} {words[1]}", [f"{name} {one}" for one in GROUPS[name]])
        return inner, COMMANDS.get(inner) or INNER[inner], words[2:]
    if name in COMMANDS:
        return name, COMMANDS[name], words[1:]
    if name in INNER:
        return name, INNER[name], words[1:]
    raise _unknown(name, [*COMMANDS, *GROUPS])


def _unknown(name: str, known: list[str]) -> InvalidParameter:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return InvalidParameter(
        f"unknown command: havre {name}", hint=f"havre {near[0]}" if near else "havre --help"
    )


def _dispatch(words: list[str], given: "dict[str, object]") -> int:
    try:
        command, entry, rest = find(words)
    except options.HelpAsked:
        sys.stdout.write(_group_help(words[0]))
        return 0
    module, function, _ = entry
    run: Callable[[Context, list[str]], int] = getattr(
        __import__(f"havre.cli.{module}", fromlist=[function]), function
    )
    from havre.cli import context

    try:
        return run(context.Context(given), rest)
    except options.HelpAsked:
        sys.stdout.write(_help([command] if command in COMMANDS else words))
        return 0


def usage() -> str:
    """havre --help, in Docker's layout."""
    lines = [
        "",
        "Usage:  havre [OPTIONS] COMMAND",
        "",
        "Containers without a hassle: Docker's commands, in one Python package.",
        "",
    ]
    lines += ["Management Commands:", *(f"  {name}" for name in GROUPS), "", "Commands:"]
    width = max(map(len, COMMANDS)) + 2
    lines += [f"  {name:{width}}{entry[2]}" for name, entry in sorted(COMMANDS.items())]
    lines += ["", "Global Options:"]
    lines += [f"  {flag}" for flag in flag_lines(GLOBAL_FLAGS)]
    lines += ["", "Run 'havre COMMAND --help' for more information on a command.", ""]
    return "\n".join(lines)


def flag_lines(flags: dict[str, str]) -> list[str]:
    """One line a flag: short, long, kind."""
    found = []
    for name, spec in sorted(flags.items()):
        short, _, kind = spec.partition(":")
        shown = {"bool": "", "list": " list", "int": " int"}.get(kind, " string")
        found.append(f"{'-' + short + ', ' if short else '    '}--{name}{shown}")
    return found


def _group_help(group: str) -> str:
    lines = ["", f"Usage:  havre {group} COMMAND", "", "Commands:"]
    for name, inner in sorted(GROUPS[group].items()):
        entry = COMMANDS.get(inner) or INNER[inner]
        lines.append(f"  {name:12}{entry[2]}")
    return "\n".join([*lines, "", ""])


def _help(words: list[str]) -> str:
    command, (module, function, summary), _ = find(words)
    found = __import__(f"havre.cli.{module}", fromlist=[function])
    flags: dict[str, str] = getattr(found, f"{function.upper().rstrip('_')}_FLAGS", {})
    shape: str = getattr(found, f"{function.upper().rstrip('_')}_USAGE", "[OPTIONS]")
    lines = ["", f"Usage:  havre {command} {shape}", "", summary, ""]
    if flags:
        lines += ["Options:", *(f"  {line}" for line in flag_lines(flags)), ""]
    return "\n".join(lines) + "\n"
