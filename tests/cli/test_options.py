"""Docker's flag grammar."""

import pytest

from havre.cli.options import HelpAsked, parse
from havre.errors import InvalidParameter

FLAGS = {
    "interactive": "i:bool",
    "tty": "t:bool",
    "env": "e:list",
    "name": ":str",
    "tail": "n:int",
    "rm": ":bool",
}


def test_short_flags_combine_and_take_values_in_every_form() -> None:
    given, args = parse(
        ["-it", "-eA=1", "-e", "B=2", "--name=x", "-n5", "image", "cmd", "-x"], FLAGS, stop_early=True
    )
    assert (given["interactive"], given["tty"], given["env"], given["name"], given["tail"]) == (
        True,
        True,
        ["A=1", "B=2"],
        "x",
        5,
    )
    assert args == ["image", "cmd", "-x"]


def test_flags_may_stand_behind_words_unless_the_command_stops_early() -> None:
    assert parse(["a", "--rm", "b"], FLAGS) == ({**parse([], FLAGS)[0], "rm": True}, ["a", "b"])
    assert parse(["--", "--rm"], FLAGS)[1] == ["--rm"]
    assert parse(["-"], FLAGS)[1] == ["-"]


@pytest.mark.parametrize("words", [["--nope"], ["-x"], ["--name"], ["-n", "x"], ["--rm=maybe"], ["-e"]])
def test_bad_flags_are_refused(words: list[str]) -> None:
    with pytest.raises(InvalidParameter):
        parse(words, FLAGS)


def test_boolean_can_be_switched_off_and_help_is_heard() -> None:
    assert parse(["--rm=false"], FLAGS)[0]["rm"] is False
    with pytest.raises(HelpAsked):
        parse(["--help"], FLAGS)
