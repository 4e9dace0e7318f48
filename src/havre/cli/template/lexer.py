"""Tokens of a template, with their places: text between actions, and what stands inside {{ }}."""

from havre.cli.template.literals import quoted
from havre.cli.template.values import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEYWORDS = frozenset("if else end range with define template block break continue".split())
_SPACES = " \t\r\n"
_SINGLE = {"(": "(", ")": ")", "|": "|", ",": ",", "=": "="}
Token = tuple[str, str, int]  # kind, text as it was written, place


class Lexer:
    """Cuts `text` into tokens. kinds: text, left, right, space, field, variable, identifier, keyword, string, number, char,
    bool, nil, dot, end (of the input), and the marks ( ) | , = :="""

    def __init__(self, text: str) -> None:
        self._text, self._place = text, 0
        self._parens = 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        """Return all tokens. Raises TemplateError."""
        trim = False
        while True:
            start = self._text.find("{{", self._place)
            end = len(self._text) if start < 0 else start
            plain = self._text[self._place : end]
            if trim:
                plain = plain.lstrip(_SPACES)
            trimmed = start >= 0 and self._text[start + 2 : start + 3] == "-" and self._space_at(start + 3)
            if trimmed:
                plain = plain.rstrip(_SPACES)
            if plain:
                self.tokens.append(("text", plain, self._place))
            if start < 0:
                self.tokens.append(("end", "", len(self._text)))
                return self.tokens
            self._place = start + 2 + trimmed
            trim = self._comment() if self._comment_at() else self._action()

    def _space_at(self, place: int) -> bool:
        return place < len(self._text) and self._text[place] in _SPACES

    def _fail(self, message: str, place: int) -> TemplateError:
        line = self._text.count("\n", 0, place) + 1
        return TemplateError(f":{line}: {message}")

    def _comment_at(self) -> bool:
        place = self._place + (1 if self._space_at(self._place) and self._text[self._place - 1] == "-" else 0)
        return self._text.startswith("/*", place)

    def _comment(self) -> bool:
        end = self._text.find("*/", self._place)
        if end < 0:
            raise self._fail("unclosed comment", self._place)
        trim = self._text.startswith("-}}", end + 3) and self._space_at(end + 2)
        if not trim and not self._text.startswith("}}", end + 2):
            raise self._fail("comment ends before closing delimiter", end)
        self._place = end + (6 if trim else 4)
        return trim

    def _action(self) -> bool:
        """Read the tokens of one action; return whether the text behind it is trimmed."""
        self.tokens.append(("left", "{{", self._place))
        self._parens = 0
        while True:
            text, place = self._text, self._place
            trim = self._space_at(place) and text.startswith("-}}", place + 1)
            if trim or text.startswith("}}", place):
                if self._parens:
                    raise self._fail("unclosed left paren", place)
                self.tokens.append(("right", "}}", place))
                self._place = place + (4 if trim else 2)
                return trim
            if place >= len(text):
                raise self._fail("unclosed action", place)
            self._token(text[place], place)

    def _token(self, char: str, place: int) -> None:
        if char in _SPACES:
            self._spaces()
        elif char in "\"`'":
            self._quoted(char)
        elif self._text.startswith(":=", place):
            self._add(":=", place + 2)
        elif char in _SINGLE:
            self._paren(char, place)
            self._add(_SINGLE[char], place + 1)
        elif char == "." and place + 1 == len(self._text):
            raise self._fail('illegal number syntax: "."', place)  # Go looks one letter ahead
        elif char == "." and not self._text[place + 1 : place + 2].isdigit():
            end = self._end_of_name(place + 1)
            self._add("dot" if end == place + 1 else "field", end)
        elif char == "$":
            self._add("variable", self._end_of_name(place + 1))
        elif char.isdigit() or char in "+-.":
            self._number()
        elif char.isalpha() or char == "_":
            self._word()
        elif char.isascii() and char.isprintable():
            self._add("other", place + 1)
        else:
            raise self._fail(f"unrecognized character in action: U+{ord(char):04X} {char!r}", place)

    def _paren(self, char: str, place: int) -> None:
        self._parens += {"(": 1, ")": -1}.get(char, 0)
        if self._parens < 0:
            raise self._fail("unexpected right paren", place)

    def _add(self, kind: str, end: int) -> None:
        self.tokens.append((kind, self._text[self._place : end], self._place))
        self._place = end

    def _spaces(self) -> None:
        end = self._place
        while self._space_at(end) and not self._text.startswith("-}}", end + 1):
            end += 1
        self._add("space", end if end > self._place else end + 1)

    def _run(self, place: int, wanted: "Callable[[str], bool]") -> int:
        while place < len(self._text) and wanted(self._text[place]):
            place += 1
        return place

    def _end_of_name(self, place: int) -> int:
        end = self._run(place, lambda char: char.isalnum() or char == "_")
        self._check_end(end)
        return end

    def _check_end(self, end: int) -> None:
        """A name may only be followed by a mark that ends it."""
        following = self._text[end : end + 1]
        if following and following not in " \t\r\n.,|:()=" and not self._text.startswith("}}", end):
            raise self._fail(f"bad character U+{ord(following):04X} {following!r}", end)

    def _word(self) -> None:
        end = self._end_of_name(self._place)
        word = self._text[self._place : end]
        kind = "bool" if word in ("true", "false") else "nil" if word == "nil" else "identifier"
        self._add("keyword" if word in KEYWORDS else kind, end)

    def _number(self) -> None:
        """A sign, digits, a fraction, an exponent; nothing of a name may follow."""
        text, start = self._text, self._place
        place = start + (text[start] in "+-")
        prefix = text[place : place + 2].lower()
        digits = {"0x": "0123456789abcdefABCDEF_", "0b": "01_", "0o": "01234567_"}.get(prefix, "0123456789_")
        place = self._run(place + 2 if prefix in ("0x", "0b", "0o") else place, lambda char: char in digits)
        if text[place : place + 1] == ".":
            place = self._run(place + 1, lambda char: char in digits)
        if len(digits) == 11 and text[place : place + 1] in ("e", "E"):
            place += 2 if text[place + 1 : place + 2] in ("+", "-") else 1
            place = self._run(place, lambda char: char in digits)
        following = text[place : place + 1]
        if following and (following.isalnum() or following in "_+-"):
            raise self._fail(f"bad number syntax: {quoted(text[start : place + 1])}", start)
        self._add("number", place)

    def _quoted(self, quote: str) -> None:
        """A string, raw string or character; the token keeps its quotes."""
        place = self._place + 1
        while place < len(self._text):
            char = self._text[place]
            if char == quote:
                self._add("char" if quote == "'" else "string", place + 1)
                return
            if char == "\n" and quote != "`":
                break
            place += 2 if char == "\\" and quote != "`" else 1
        what = {'"': "quoted string", "`": "raw quoted string", "'": "character constant"}[quote]
        raise self._fail(f"unterminated {what}", self._place)
