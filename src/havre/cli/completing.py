"""`havre __complete WORDS... CURRENT`: what the word under the cursor may become, a line each, "word<tab>what it is".

Ends with 1 when a file or anything else may stand there. Never starts the daemon, and without one says what needs none.
"""

from havre.cli.commands import COMMANDS, GLOBAL_FLAGS, GROUP_SUMMARIES, GROUPS, entry_of, find, flags_of
from havre.cli.options import HelpAsked
from havre.errors import HavreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.cli.context import Context

    Candidates = list[tuple[str, str]]  # word, what it is
    Ask = Callable[[str], Candidates]  # "containers", "running", "images", ... as the daemon has them now

# what a command's words are; with "first" only the first of them
WORDS = {
    **dict.fromkeys("attach exec kill pause port stats stop top".split(), "running"),
    **dict.fromkeys("diff export inspect logs rename restart rm start update wait".split(), "containers"),
    **dict.fromkeys("history push rmi save tag".split(), "images"),
    **dict.fromkeys("create run".split(), "images"),
    "unpause": "paused",
    "container inspect": "containers",
    "image inspect": "images",
    "network inspect": "networks",
    "network rm": "networks",
    "network connect": "networks",
    "network disconnect": "networks",
    "volume inspect": "volumes",
    "volume rm": "volumes",
    "context use": "contexts",
    "context rm": "contexts",
    "completion": "shells",
}
FIRST = ("attach", "create", "exec", "export", "logs", "port", "run", "tag", "top", "completion")
VALUES = {
    "network": "networks",
    "net": "networks",
    "context": "contexts",
    "volumes-from": "containers",
    "link": "containers",
}
FIXED = {
    "restart": "always no on-failure unless-stopped",
    "pull": "always missing never",
    "log-driver": "fluentd gelf journald json-file local none syslog",
    "log-level": "debug info warn error fatal",
    "cgroupns": "host private",
    "ipc": "host none private shareable",
    "pid": "host",
    "userns": "host",
    "shells": "bash fish zsh",
}
FILE_FLAGS = (
    "cidfile",
    "config",
    "env-file",
    "input",
    "label-file",
    "output",
    "tlscacert",
    "tlscert",
    "tlskey",
    "volume",
    "mount",
)


def complete(context: "Context", words: list[str]) -> int:
    """Print the candidates."""
    context.starts = False
    found = candidates(words, lambda kind: ask(context, kind))
    if found is None:
        return 1
    for word, text in found:
        print(f"{word}\t{text}")
    return 0


def candidates(words: list[str], asks: "Ask") -> "Candidates | None":
    """Return what the last of the words may become; None: a file, or anything. The words begin behind the program's name."""
    *before, current = words or [""]
    before, waiting = _skip_flags(before, GLOBAL_FLAGS)
    if waiting:
        return _starting(current, _values(waiting, asks))
    if not before:
        return _starting(current, _flags(GLOBAL_FLAGS) if current.startswith("-") else _commands())
    if before[0] in GROUPS and len(before) == 1:
        return _starting(current, _inner(before[0]))
    try:
        command, _, rest = find(before)
    except (HavreError, HelpAsked):
        return []
    return _of_command(command, rest, current, asks)


def _of_command(command: str, rest: list[str], current: str, asks: "Ask") -> "Candidates | None":
    flags = flags_of(command)
    early = command in ("run", "create", "exec")
    words, waiting = _skip_flags(rest, flags, early=early)
    if waiting:
        return _starting(current, _values(waiting, asks))
    if current.startswith("-") and not (early and words):
        name, equals, _ = current[2:].partition("=")
        if equals:
            return _starting(current, _prefixed(f"--{name}=", _values(name, asks)))
        return _starting(current, _flags(flags))
    kind = WORDS.get(command, "")
    if not kind or (words and command in FIRST):
        return None if command in ("run", "create", "exec", "load", "import", "save") else []
    found = _named(kind, asks)
    return _starting(current, [one for one in found if one[0] not in words])


def _skip_flags(words: list[str], flags: "dict[str, str]", *, early: bool = True) -> tuple[list[str], str]:
    """Return the words that are no flags (with `early` all that stands behind the first), and the flag that waits for its value."""
    kinds = {name: spec.partition(":")[2] for name, spec in flags.items()}
    shorts = {spec.partition(":")[0]: name for name, spec in flags.items()}
    found: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            found.append(word)
            if early:
                return found + rest, ""
            continue
        name = word[2:] if word.startswith("--") else shorts.get(word[-1:], "")
        if "=" in word or kinds.get(name, "bool") == "bool":
            continue
        if not rest:
            return found, name
        rest.pop(0)
    return found, ""


def _starting(current: str, found: "Candidates | None") -> "Candidates | None":
    return None if found is None else sorted(one for one in found if one[0].startswith(current))


def _commands() -> "Candidates":
    return [*((name, entry[2]) for name, entry in COMMANDS.items()), *GROUP_SUMMARIES.items()]


def _inner(group: str) -> "Candidates":
    return [(name, entry_of(command)[2]) for name, command in GROUPS[group].items()]


def _flags(flags: "dict[str, str]") -> "Candidates":
    return [(f"--{name}", "") for name in [*flags, "help"]]


def _prefixed(prefix: str, found: "Candidates | None") -> "Candidates | None":
    return None if found is None else [(prefix + word, text) for word, text in found]


def _values(flag: str, asks: "Ask") -> "Candidates | None":
    if flag in VALUES:
        return asks(VALUES[flag])
    if flag in FIXED:
        return [(word, "") for word in FIXED[flag].split()]
    return None if flag in FILE_FLAGS else []


def _named(kind: str, asks: "Ask") -> "Candidates":
    return [(word, "") for word in FIXED[kind].split()] if kind in FIXED else asks(kind)


def ask(context: "Context", kind: str) -> "Candidates":
    """Ask the daemon for names; none when it does not answer."""
    try:
        if kind == "contexts":
            return _contexts(context)
        if kind == "images":
            return _images(context.client.get("/images/json"))
        if kind in ("networks", "volumes"):
            found: Any = context.client.get(f"/{kind}")
            found = found.get("Volumes") or [] if kind == "volumes" else found
            return [(one["Name"], one["Driver"]) for one in found]
        return _containers(context.client.get("/containers/json?all=1"), kind)
    except (HavreError, OSError, ValueError):
        return []


def _containers(listed: "Any", kind: str) -> "Candidates":
    wanted = {"running": ("running",), "paused": ("paused",)}.get(kind, ())
    return [
        (one["Names"][0].lstrip("/"), f"{one['Image']}, {one['Status']}")
        for one in listed
        if one["Names"] and (not wanted or one["State"] in wanted)
    ]


def _images(listed: "Any") -> "Candidates":
    names = [name for one in listed for name in one.get("RepoTags") or []]
    short = [name.removesuffix(":latest") for name in names if name.endswith(":latest")]
    return [(name, "") for name in [*names, *short] if not name.startswith("<none>")]


def _contexts(context: "Context") -> "Candidates":
    import json
    import os

    found = [("default", "")]
    folder = os.path.join(context.config_dir, "contexts", "meta")
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        with open(os.path.join(folder, name, "meta.json"), encoding="utf-8") as file:
            found.append((str(json.load(file)["Name"]), ""))
    return found
