"""The help of every command, and what a wrong command line is told."""

import pytest

from havre.cli import help as helping
from havre.cli.commands import COMMANDS, GROUPS, INNER, entry_of, find, function_of
from havre.cli.main import main
from havre.errors import InvalidParameter


@pytest.mark.parametrize("command", [*COMMANDS, *INNER])
def test_every_command_has_its_function_and_a_help(command: str) -> None:
    assert callable(function_of(entry_of(command)))
    text = helping.of(command.split(" "))
    assert text.startswith(f"\nUsage:  havre {command}")
    assert entry_of(command)[2] in text


def test_the_help_names_every_command_and_group() -> None:
    text = helping.of([])
    assert all(f"\n  {name} " in text for name in [*COMMANDS, *GROUPS])


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_commands_that_are_there(group: str) -> None:
    text = helping.of([group])
    for name, inner in GROUPS[group].items():
        assert f"\n  {name} " in text
        assert find([group, name, "x"]) == (inner, entry_of(inner), ["x"])


def test_an_unknown_command_is_told_the_nearest() -> None:
    with pytest.raises(InvalidParameter, match=r"unknown command: havre runn \(try: havre run\)"):
        find(["runn"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "--nope", "x"], 125, "unknown flag: --nope\n\nUsage:  havre run "),
        (["run"], 1, "havre: 'havre run' requires at least 1 argument\n"),
        (["rm", "-x"], 125, "unknown shorthand flag: 'x' in -x\n\nUsage:  havre rm "),
        (["rm"], 1, "havre: 'havre rm' requires at least 1 argument\n"),
        (["--log-level", "loud", "ps"], 1, "unable to parse logging level: loud"),
        (["nope"], 1, "havre: unknown command: havre nope"),
        (["network", "nope"], 1, "havre: unknown command: havre network nope"),
    ],
)
def test_a_wrong_command_line_ends_as_dockers(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", [["network"], ["network", "--help"], ["help", "network"]])
def test_a_bare_group_shows_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == helping.of(["network"])
