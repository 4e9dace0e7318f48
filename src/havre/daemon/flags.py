"""havred's command line: dockerd's flags in dockerd's grammar; a flag and the same key in daemon.json conflict, as there."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from havre.daemon import config
from havre.daemon.options import (
    BOOLEAN,
    BY_FLAG,
    BY_KEY,
    LATER,
    LIST,
    MAP,
    NOTHING,
    OPTIONS,
    REFUSED,
    SHORT,
    Option,
    check_kind,
    from_text,
)
from havre.errors import InvalidParameter
from havre.version import VERSION

TALKING = ("--help", "-h", "--version", "-v")


class UsageError(InvalidParameter):
    """The words themselves are wrong: dockerd ends with 125 then, and with 1 for anything else."""


def called_dockerd() -> bool:
    """Whether the program was started under dockerd's name: then Docker's socket, pid file and daemon.json are the defaults."""
    return os.path.basename(sys.argv[0]) == "dockerd"


def program() -> str:
    return "dockerd" if called_dockerd() else "havred"


def parse(words: Sequence[str], *, as_dockerd: bool = False) -> config.Config:
    """Return the configuration of a command line and its daemon.json. Raises UsageError, InvalidParameter."""
    flags = _parse_words(words)
    default = config.DOCKER_PATHS["config"] if as_dockerd else config.CONFIG_FILE
    path = flags.pop("config-file", default)
    from_file = _read_file(path, must_exist=path != default)
    _refuse_twice(flags, from_file, path)
    merged = _merge(flags, from_file)
    _refuse(merged)
    if as_dockerd:
        merged.setdefault("hosts", [config.DOCKER_PATHS["hosts"]])
        merged.setdefault("pidfile", config.DOCKER_PATHS["pidfile"])
    return config.make(
        merged,
        ignored=tuple(sorted(key for key in merged if BY_KEY[key].fate == NOTHING)),
        later={
            key: BY_KEY[key].reason for key in sorted(merged) if BY_KEY[key].fate == LATER and merged[key]
        },
    )


def _read_file(path: str, *, must_exist: bool) -> dict[str, Any]:
    found = config.read_file(path, must_exist=must_exist)
    unknown = sorted(set(found) - set(BY_KEY))
    if unknown:
        raise InvalidParameter(
            f"the following directives don't match any configuration option: {', '.join(unknown)}",
            context=path,
        )
    for key, value in found.items():
        try:
            check_kind(key, value)
        except InvalidParameter as error:
            raise InvalidParameter(error.message, context=path) from None
    return {key: value for key, value in found.items() if value is not None}


def _refuse_twice(flags: Mapping[str, Any], from_file: Mapping[str, Any], path: str) -> None:
    """Lists and maps of both places are joined, but for the hosts; the rest may stand in one place only."""
    both = [
        key for key in flags if key in from_file and (BY_KEY[key].kind not in (LIST, MAP) or key == "hosts")
    ]
    both += [
        key for key in ("http-proxy", "https-proxy", "no-proxy") if key in flags and from_file.get("proxies")
    ]
    if both:
        raise InvalidParameter(
            f"the following directives are specified both as a flag and in the configuration file: {', '.join(sorted(both))}",
            context=path,
        )


def _merge(flags: Mapping[str, Any], from_file: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**from_file, **flags}
    for key in set(flags) & set(from_file):
        if BY_KEY[key].kind == LIST:
            merged[key] = [*from_file[key], *flags[key]]
        elif BY_KEY[key].kind == MAP:
            merged[key] = {**from_file[key], **flags[key]}
    return merged


def _refuse(given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if BY_KEY[key].fate == REFUSED and value:
            raise InvalidParameter(BY_KEY[key].reason, hint=f"leave out {key}")


def _parse_words(words: Sequence[str]) -> dict[str, Any]:
    """Return what the flags say by the names of daemon.json. Raises UsageError."""
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--" or not word.startswith("-") or word == "-":
            if word == "--" and not rest:
                break
            raise InvalidParameter(f'"{program()}" accepts no arguments', hint=f"{program()} --help")
        option, text, shown = _split(word, rest)
        try:
            value = from_text(option, text, shown)
        except InvalidParameter as error:
            raise UsageError(error.message) from None
        _add(found, option, value)
    return found


def _split(word: str, rest: list[str]) -> tuple[Option, str, str]:
    """Return (option, its text, its name in messages) of "--flag=value", "--flag value", "-Hvalue", "-H=value", "-D"."""
    if word.startswith("--"):
        name, equals, text = word[2:].partition("=")
        if name not in BY_FLAG:
            raise UsageError(f"unknown flag: --{name}")
        option, asked = BY_FLAG[name], f"flag needs an argument: --{name}"
    else:
        letter, name, equals, text = word[1], SHORT.get(word[1], ""), word[2:], word[2:].removeprefix("=")
        if not name:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        option, asked = BY_FLAG[name], f"flag needs an argument: '{letter}' in {word}"
        if option.kind == BOOLEAN and equals and not equals.startswith("="):
            rest.insert(0, "-" + equals)  # -Dl debug
            equals = ""
    letters = [letter for letter, flag in SHORT.items() if flag == name]
    shown = f"-{letters[0]}, --{name}" if letters else f"--{name}"
    if equals:
        return option, text, shown
    if option.kind == BOOLEAN:
        return option, "true", shown
    if not rest:
        raise UsageError(asked)
    return option, rest.pop(0), shown


def _add(found: dict[str, Any], option: Option, value: Any) -> None:
    if option.kind == LIST:
        found.setdefault(option.key, []).extend(value)
    elif option.kind == MAP:
        into = found.setdefault(option.key, {})
        for name, each in value.items():
            nested = option.key == "default-network-opts" and isinstance(into.get(name), dict)
            into[name] = {**into[name], **each} if nested else each
    else:
        found[option.key] = value


def asks_to_validate(words: Sequence[str]) -> bool:
    return any(word.partition("=")[0] == "--validate" for word in words)


def only_talk(words: Sequence[str]) -> int:
    """--help, --version and --validate: print and return the exit code."""
    if any(word in ("--version", "-v") for word in words):
        print(f"Havre version {VERSION}")
        return 0
    if any(word in TALKING for word in words):
        print(usage())
        return 0
    try:
        parse([word for word in words if not asks_to_validate([word])], as_dockerd=called_dockerd())
    except InvalidParameter as error:
        return complain(error)
    print("configuration OK", file=sys.stderr)
    return 0


def complain(error: InvalidParameter) -> int:
    """Say what is wrong with the words or the file as dockerd does; return the exit code."""
    if isinstance(error, UsageError):
        name = program()
        print(
            f"{error}\n\nUsage:  {name} [OPTIONS]\n\nRun '{name} --help' for more information",
            file=sys.stderr,
        )
        return 125
    print(f"unable to configure the daemon: {error}", file=sys.stderr)
    return 1


def usage() -> str:
    """The text of --help."""
    shorts = {name: letter for letter, name in SHORT.items()}
    lines = [
        f"Usage:  {program()} [OPTIONS]",
        "",
        "The daemon of Havre. The options are dockerd's.",
        "",
        "Options:",
    ]
    for option in OPTIONS:
        if option.flag and not option.fate:
            short = f"-{shorts[option.flag]}, " if option.flag in shorts else "    "
            lines.append(f"  {short}--{option.flag} {option.kind}".rstrip())
    lines += [
        "      --teardown            Take bridges, firewall table and control groups out of the kernel again, and end",
        "      --validate            Check flags and daemon.json, and end",
        "  -v, --version             Print the version, and end",
    ]
    for title, fate in (
        ("Accepted, without a meaning here", NOTHING),
        ("Not there yet", LATER),
        ("Refused", REFUSED),
    ):
        lines += [
            "",
            f"{title}:",
            *_wrapped([f"--{each.flag}" for each in OPTIONS if each.fate == fate and each.flag]),
        ]
    return "\n".join(lines)


def _wrapped(words: Sequence[str]) -> list[str]:
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > 90:
            lines.append("")
        lines[-1] += f" {word}"
    return [f" {line}" for line in lines]
