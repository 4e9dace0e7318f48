"""Command lines in Docker's grammar: -it, -e A=1, --name=x, `--`, and for run and exec an end at the first word. Lean."""

from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Flags = dict[str, str]  # long name -> "short:kind", kind one of bool, str, int, list, opt


def parse(
    words: list[str], flags: "Flags", *, stop_early: bool = False
) -> "tuple[dict[str, Any], list[str]]":
    """Return (values by long name with _ for -, positional words). Raises InvalidParameter in Docker's words.

    kind: bool (also --flag=false), str, int, list (may be repeated). Missing ones are False, None or [].
    """
    kinds = {name: spec.partition(":")[2] for name, spec in flags.items()}
    shorts = {spec.partition(":")[0]: name for name, spec in flags.items() if spec.partition(":")[0]}
    found: dict[str, Any] = {
        key(name): [] if kind == "list" else False if kind == "bool" else None for name, kind in kinds.items()
    }
    rest = list(words)
    positional: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "--":
            positional += rest
            break
        if word == "-" or not word.startswith("-"):
            positional.append(word)
            if stop_early:
                positional += rest
                break
        elif word.startswith("--"):
            _long(word, kinds, found, rest)
        else:
            _short(word, shorts, kinds, found, rest)
    return found, positional


def key(name: str) -> str:
    return name.replace("-", "_")


def _long(word: str, kinds: dict[str, str], found: "dict[str, Any]", rest: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    if name == "help":
        raise HelpAsked
    if name not in kinds:
        raise InvalidParameter(f"unknown flag: --{name}")
    if kinds[name] == "bool":
        found[key(name)] = _boolean(name, value if equals else "true")
        return
    if not equals:
        if not rest:
            raise InvalidParameter(f"flag needs an argument: --{name}")
        value = rest.pop(0)
    _set(found, name, kinds[name], value)


def _short(
    word: str, shorts: dict[str, str], kinds: dict[str, str], found: "dict[str, Any]", rest: list[str]
) -> None:
    """One or several letters; the first that takes a value takes what is left of the word, or the next word."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "h" and letter not in shorts:
            raise HelpAsked
        if letter not in shorts:
            raise InvalidParameter(f"unknown shorthand flag: {letter!r} in {word}")
        name = shorts[letter]
        if kinds[name] == "bool":
            if letters.startswith("="):
                found[key(name)], letters = _boolean(name, letters[1:]), ""
            else:
                found[key(name)] = True
            continue
        value = letters.removeprefix("=")
        if not letters:
            if not rest:
                raise InvalidParameter(f"flag needs an argument: {letter!r} in {word}")
            value = rest.pop(0)
        _set(found, name, kinds[name], value)
        return


def _set(found: "dict[str, Any]", name: str, kind: str, value: str) -> None:
    if kind == "list":
        found[key(name)].append(value)
    elif kind == "int":
        if not value.lstrip("-").isdigit():
            raise InvalidParameter(f'invalid argument "{value}" for "--{name}": not a number')
        found[key(name)] = int(value)
    else:
        found[key(name)] = value


def _boolean(name: str, text: str) -> bool:
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise InvalidParameter(f'invalid argument "{text}" for "--{name}": not a boolean')


class HelpAsked(Exception):
    """--help was given."""


def need(args: list[str], least: int, command: str, most: int = -1) -> None:
    """Check the number of positional words. Raises InvalidParameter in Docker's words."""
    if len(args) < least:
        what = f"exactly {least}" if most == least else f"at least {least}"
        raise InvalidParameter(
            f"'havre {command}' requires {what} argument{'s' if least != 1 else ''}",
            hint=f"havre {command} --help",
        )
    if 0 <= most < len(args):
        raise InvalidParameter(
            f"'havre {command}' accepts at most {most} argument{'s' if most != 1 else ''}",
            hint=f"havre {command} --help",
        )
