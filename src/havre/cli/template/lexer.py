"""Text and actions, and the tokens inside an action."""

from havre.errors import InvalidParameter

SYMBOLS = ("|", "(", ")", ",", ":=", "=")
Token = tuple[str, str]  # kind, text


class TemplateError(InvalidParameter):
    """A template that cannot be parsed or carried out."""

    exit_code = 64

    def __init__(self, message: str) -> None:
        super().__init__(f"template parsing error: template: :1: {message}")


def split(text: str) -> "list[tuple[bool, str]]":
    """Return (is action, content) pieces; {{- and -}} have trimmed their neighbours, comments are gone."""
    pieces: list[tuple[bool, str]] = []
    place = 0
    trim_next = False
    while True:
        start = text.find("{{", place)
        plain = text[place:] if start < 0 else text[place:start]
        if trim_next:
            plain = plain.lstrip(" \t\r\n")
        if start < 0:
            pieces.append((False, plain))
            return pieces
        end = _end_of_action(text, start + 2)
        action = text[start + 2 : end]
        if action.startswith("- ") or action.startswith("-\n"):
            plain, action = plain.rstrip(" \t\r\n"), action[1:]
        trim_next = action.endswith(" -") or action.endswith("\n-")
        action = action[:-1] if trim_next else action
        pieces.append((False, plain))
        if not action.strip().startswith("/*"):
            pieces.append((True, action))
        place = end + 2


def _end_of_action(text: str, place: int) -> int:
    """Find }} outside of quotes."""
    quote = ""
    while place < len(text):
        char = text[place]
        if quote:
            if char == "\\" and quote == '"':
                place += 1
            elif char == quote:
                quote = ""
        elif char in "\"`'":
            quote = char
        elif text.startswith("}}", place):
            return place
        place += 1
    raise TemplateError("unclosed action")


def tokens(action: str) -> list[Token]:
    """Return the tokens of one action."""
    found: list[Token] = []
    place = 0
    while place < len(action):
        char = action[place]
        if char.isspace():
            found.append(("space", " "))
            place += 1
        elif char in '"`':
            text, place = _string(action, place)
            found.append(("string", text))
        elif action.startswith(":=", place):
            found.append((":=", ":="))
            place += 2
        elif char in "|(),=":
            found.append((char, char))
            place += 1
        elif char.isdigit() or (char in "+-" and action[place + 1 : place + 2].isdigit()):
            place, text = _run(action, place, lambda c: c.isalnum() or c in ".+-_")
            found.append(("number", text))
        elif char == "." or char == "$" or char.isalpha() or char == "_":
            place, text = _run(action, place, lambda c: c.isalnum() or c in "._$")
            found.append(("field" if text[0] == "." else "variable" if text[0] == "$" else "word", text))
        else:
            raise TemplateError(f"unexpected {char!r} in command")
    return found


def _run(text: str, place: int, wanted: "object") -> "tuple[int, str]":
    start = place
    place += 1
    while place < len(text) and wanted(text[place]):  # type: ignore[operator]
        place += 1
    return place, text[start:place]


_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    '"': '"',
    "\\": "\\",
    "'": "'",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}


def _string(text: str, place: int) -> "tuple[str, int]":
    quote = text[place]
    place += 1
    out = ""
    while place < len(text):
        char = text[place]
        if char == quote:
            return out, place + 1
        if char == "\\" and quote == '"':
            place += 1
            code = text[place : place + 1]
            if code in "xu" and code:
                width = 2 if code == "x" else 4
                digits = text[place + 1 : place + 1 + width]
                try:
                    out += chr(int(digits, 16))
                except ValueError:
                    raise TemplateError("bad escape in string") from None
                place += width
            else:
                out += _ESCAPES.get(code, code)
        else:
            out += char
        place += 1
    raise TemplateError("unterminated quoted string")
