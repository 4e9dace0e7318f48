"""ps arguments become columns, or an error that says what to type."""

import pytest

from havre.engine import ps_args
from havre.engine.ps_columns import COLUMNS, HEADINGS
from havre.errors import InvalidParameter


def titles(text: str) -> list[str]:
    return [heading for _, heading, _ in ps_args.parse(text, HEADINGS).columns]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
        ("-f", "UID PID PPID C STIME TTY TIME CMD"),
        ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-u", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-e", "PID TTY TIME CMD"),
        ("ax", "PID TTY STAT TIME COMMAND"),
        ("l", "F UID PID PPID PRI NI VSZ RSS WCHAN STAT TTY TIME COMMAND"),
        ("-l", "F S UID PID PPID C PRI NI ADDR SZ WCHAN TTY TIME CMD"),
        ("-F", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
        ("-eLf", "UID PID PPID LWP C NLWP STIME TTY TIME CMD"),
        ("-L", "PID LWP TTY TIME CMD"),
        ("-o pid,cmd", "PID CMD"),
        ("-opid -o user", "PID USER"),
        ("axo pid,user:20", "PID USER"),
        ("-eo pid,args=THE WORDS", "PID THE"),
        ("--format=pid,rss", "PID RSS"),
        ("--format pid", "PID"),
    ],
)
def test_titles_are_those_of_ps(text: str, wanted: str) -> None:
    assert " ".join(titles(text.replace("THE WORDS", "THE"))) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-o cmd", "Couldn't find PID field in ps output"),
        ("-o pid=", "Couldn't find PID field"),
        ("-o pid=number", "Couldn't find PID field"),
        ("-ef --no-headers", "Couldn't find PID field"),
        ("-o user=PID", 'specifying "user=PID" is not allowed'),
        ("-o pid,user=PIDS", 'specifying "user=PIDS" is not allowed'),
        ("-o pid,nonsense", '"nonsense"'),
        ("-o pid:0", "column widths"),
        ("-o", "format specification must follow -o"),
        ("--frobnicate", "unknown gnu long option --frobnicate"),
        ("-p 1", "-p selects processes"),
        ("-C sleep", "-C selects processes"),
        ("-u root", "-u selects processes"),
        ("--ppid 1", "--ppid selects processes"),
        ("-b", "unsupported option -b"),
        ("-", "garbage option"),
        ("aQ", "unsupported option Q"),
    ],
)
def test_arguments_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        titles(text)
    assert words in str(error.value)


def test_every_heading_has_a_column() -> None:
    assert set(COLUMNS) == set(HEADINGS)
    formats = [value for name, value in vars(ps_args).items() if name.isupper() and isinstance(value, str)]
    used = {pair.partition("=")[0] for text in formats if "=" in text for pair in text.split()}
    assert used <= set(COLUMNS)
