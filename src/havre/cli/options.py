"""Command lines in Docker's grammar: -it, -e A=1, --name=x, `--`, and for run and exec an end at the first word. Lean."""

from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Flags = dict[str, str]  # long name -> "short:kind", kind one of bool, str, int, list
TRUE, FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")


class HelpAsked(Exception):
    """--help was given."""


class UsageError(InvalidParameter):
    """A command line that cannot be read; the command's usage is shown behind it."""

    exit_code = 125


class CountError(UsageError):
    """Too few or too many words."""

    exit_code = 1


def parse(
    words: list[str], flags: "Flags", *, stop_early: bool = False, aliases: "dict[str, str] | None" = None
) -> "tuple[dict[str, Any], list[str]]":
    """Return (values by long name with _ for -, positional words). Raises UsageError in Docker's words.

    kind: bool (also --flag=false), str, int, list (may be repeated). Missing ones are False, None or [].
    """
    line = _Line(words, flags, aliases or {})
    positional: list[str] = []
    while line.rest:
        word = line.rest.pop(0)
        if word == "--":
            positional += line.rest
            break
        if word == "-" or not word.startswith("-"):
            positional.append(word)
            if stop_early:
                positional += line.rest
                break
        elif word.startswith("--"):
            line.long(word)
        else:
            line.short(word)
    return line.found, positional


def key(name: str) -> str:
    return name.replace("-", "_")


class _Line:
    """What is left of a command line, and what has been found."""

    def __init__(self, words: list[str], flags: "Flags", aliases: "dict[str, str]") -> None:
        self.rest = list(words)
        self._flags = flags
        self._aliases = aliases
        self._kinds: dict[str, str] = {}
        self._shorts: dict[str, str] = {}
        self.found: dict[str, Any] = {}
        for name, spec in flags.items():
            short, _, kind = spec.partition(":")
            self._kinds[name] = kind
            if short:
                self._shorts[short] = name
            self.found[key(name)] = [] if kind == "list" else False if kind == "bool" else None

    def long(self, word: str) -> None:
        name, equals, value = word[2:].partition("=")
        name = self._aliases.get(name, name)
        if name not in self._kinds:
            if name == "help":
                raise HelpAsked
            if not name:
                raise UsageError(f"bad flag syntax: {word}")
            raise UsageError(f"unknown flag: --{name}")
        if not equals and self._kinds[name] != "bool":
            if not self.rest:
                raise UsageError(f"flag needs an argument: --{name}")
            value = self.rest.pop(0)
        self._set(name, value if equals or self._kinds[name] != "bool" else "true")

    def short(self, word: str) -> None:
        """One or several letters; the first that takes a value takes what is left of the word, or the next word."""
        letters = word[1:]
        while letters:
            letter, left = letters[0], letters[1:]
            if letter not in self._shorts:
                if letter == "h":
                    raise HelpAsked
                raise UsageError(f"unknown shorthand flag: '{letter}' in -{letters}")
            name = self._shorts[letter]
            if left.startswith("="):
                self._set(name, left[1:])
                return
            if self._kinds[name] == "bool":
                self._set(name, "true")
                letters = left
                continue
            if not left and not self.rest:
                raise UsageError(f"flag needs an argument: '{letter}' in -{letters}")
            self._set(name, left or self.rest.pop(0))
            return

    def _set(self, name: str, value: str) -> None:
        kind = self._kinds[name]
        if kind == "list":
            self.found[key(name)].append(value)
        elif kind == "int":
            self.found[key(name)] = self._integer(name, value)
        elif kind == "bool":
            if value not in TRUE + FALSE:
                raise bad(self._flags, name, value, _go_syntax("Bool", value))
            self.found[key(name)] = value in TRUE
        else:
            self.found[key(name)] = value

    def _integer(self, name: str, value: str) -> int:
        try:
            if not value.isascii() or value != value.strip():
                raise ValueError
            return int(value, 0)
        except ValueError:
            raise bad(self._flags, name, value, _go_syntax("Int", value)) from None


def _go_syntax(kind: str, value: str) -> str:
    return f'strconv.Parse{kind}: parsing "{value}": invalid syntax'


def bad(flags: "Flags", name: str, value: str, why: str) -> UsageError:
    """A flag whose value is wrong, in Docker's words."""
    short = flags.get(name, ":").partition(":")[0]
    shown = f"-{short}, --{name}" if short else f"--{name}"
    return UsageError(f'invalid argument "{value}" for "{shown}" flag: {why}')


def boolean(text: "str | None", default: bool) -> bool:
    """The value of a flag that is on unless it is switched off. Raises UsageError."""
    if text is None:
        return default
    if text not in TRUE + FALSE:
        raise UsageError(_go_syntax("Bool", text))
    return text in TRUE


def need(args: list[str], least: int, command: str, most: int = -1) -> None:
    """Check the number of positional words. Raises CountError in Docker's words."""
    count = len(args)
    if count >= least and (most < 0 or count <= most):
        return
    if most == 0:
        what = "accepts no arguments"
    elif most == least:
        what = f"requires {least} argument{'s' if least > 1 else ''}"
    elif most > 0 and least == 0:
        what = f"requires at most {most} argument{'s' if most > 1 else ''}"
    elif most > 0:
        what = f"requires at least {least} and at most {most} arguments"
    else:
        what = f"requires at least {least} argument{'s' if least > 1 else ''}"
    raise CountError(f"'{program()} {command}' {what}")


def program() -> str:
    """The name this is called by: `havre`, or `docker` when it was installed under that name."""
    import sys

    return "docker" if sys.argv[0].rpartition("/")[2] == "docker" else "havre"
