"""The texts of --help, made from the tables of commands and flags, in Docker's layout."""

from havre.cli.commands import (
    COMMANDS,
    GLOBAL_FLAGS,
    GROUP_SUMMARIES,
    GROUPS,
    GroupAsked,
    entry_of,
    find,
    flags_of,
    shape_of,
)
from havre.cli.options import program

KINDS = {
    "bool": "",
    "list": " list",
    "int": " int",
}  # what pflag prints behind a flag's name; others are strings


def of(words: list[str]) -> str:
    """Return the help of the program, of a group, or of a command. Raises InvalidParameter for an unknown one."""
    if not words:
        return _program()
    try:
        command, _, _ = find(words)
    except GroupAsked as group:
        return _group(group.name)
    return _command(command)


def usage_lines(command: str) -> str:
    """Return what stands below an error in a command line: the usage, and how to get the whole help."""
    if not command:
        return (
            f"Usage:  {program()} [OPTIONS] COMMAND [ARG...]\n\nRun '{program()} --help' for more information"
        )
    return (
        f"Usage:  {program()} {command} {shape_of(command)}".rstrip() + "\n\n"
        f"Run '{program()} {command} --help' for more information"
    )


def _program() -> str:
    name = program()
    return "\n".join(
        [
            *("", f"Usage:  {name} [OPTIONS] COMMAND", ""),
            *("Docker's whole job in one package: containers, images, networks", ""),
            *("Management Commands:", *_columns(GROUP_SUMMARIES), ""),
            *("Commands:", *_columns({one: entry[2] for one, entry in COMMANDS.items()}), ""),
            *("Global Options:", *_flag_lines(GLOBAL_FLAGS), ""),
            *(f"Run '{name} COMMAND --help' for more information on a command.", ""),
        ]
    )


def _group(group: str) -> str:
    name = program()
    lines = ["", f"Usage:  {name} {group} COMMAND", "", GROUP_SUMMARIES[group], "", "Commands:"]
    lines += _columns({one: entry_of(inner)[2] for one, inner in GROUPS[group].items()})
    return "\n".join(
        [*lines, "", f"Run '{name} {group} COMMAND --help' for more information on a command.", ""]
    )


def _command(command: str) -> str:
    lines = ["", f"Usage:  {program()} {command} {shape_of(command)}".rstrip(), "", entry_of(command)[2], ""]
    if flags := flags_of(command):
        lines += ["Options:", *_flag_lines(flags), ""]
    return "\n".join(lines)


def _columns(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows)) + 2
    return [f"  {name:{width}}{summary}" for name, summary in sorted(rows.items())]


def _flag_lines(flags: dict[str, str]) -> list[str]:
    """One line a flag: short, long, kind."""
    found = []
    for name, spec in sorted(flags.items()):
        short, _, kind = spec.partition(":")
        found.append(f"  {'-' + short + ', ' if short else '    '}--{name}{KINDS.get(kind, ' string')}")
    return found
