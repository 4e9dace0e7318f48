"""The tree of a template. Every node knows its place and prints itself as Go does, for error texts."""

from havre.cli.template.literals import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Node:
    """A part of the tree; `place` is its offset in the template."""

    def __init__(self, place: int) -> None:
        self.place = place


class Text(Node):
    def __init__(self, place: int, text: str) -> None:
        super().__init__(place)
        self.text = text

    def __str__(self) -> str:
        return self.text


class Literal(Node):
    """A number, string, character, bool or nil; `source` is how it was written."""

    def __init__(self, place: int, kind: str, value: "Any", source: str) -> None:
        super().__init__(place)
        self.kind, self.value, self._source = kind, value, source

    def __str__(self) -> str:
        return self._source


class Dot(Node):
    def __str__(self) -> str:
        return "."


class Field(Node):
    """.A.B"""

    def __init__(self, place: int, names: list[str]) -> None:
        super().__init__(place)
        self.names = names

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


class Variable(Node):
    """$x.A.B"""

    def __init__(self, place: int, name: str, names: list[str]) -> None:
        super().__init__(place)
        self.name, self.names = name, names

    def __str__(self) -> str:
        return ".".join([self.name, *self.names])


class Identifier(Node):
    """A function's name."""

    def __init__(self, place: int, name: str) -> None:
        super().__init__(place)
        self.name = name

    def __str__(self) -> str:
        return self.name


class Chain(Node):
    """(pipeline).A.B"""

    def __init__(self, place: int, inner: "Pipe", names: list[str]) -> None:
        super().__init__(place)
        self.inner, self.names = inner, names

    def __str__(self) -> str:
        return f"({self.inner})" + "".join(f".{name}" for name in self.names)


class Command(Node):
    """Words that are evaluated together: a function or value, and arguments."""

    def __init__(self, place: int, words: list[Node]) -> None:
        super().__init__(place)
        self.words = words

    def __str__(self) -> str:
        return " ".join(f"({word})" if isinstance(word, Pipe) else str(word) for word in self.words)


class Pipe(Node):
    """Commands joined by |, perhaps given to variables; `declares` tells := from =."""

    def __init__(self, place: int, names: list[str], declares: bool, commands: list[Command]) -> None:
        super().__init__(place)
        self.names, self.declares, self.commands = names, declares, commands

    def __str__(self) -> str:
        given = ", ".join(self.names) + (" := " if self.declares else " = ") if self.names else ""
        return given + " | ".join(map(str, self.commands))


class Action(Node):
    """{{pipeline}}"""

    def __init__(self, place: int, pipe: Pipe) -> None:
        super().__init__(place)
        self.pipe = pipe


class Branch(Node):
    """if, with or range."""

    def __init__(self, place: int, word: str, pipe: Pipe, body: list[Node], other: list[Node]) -> None:
        super().__init__(place)
        self.word, self.pipe, self.body, self.other = word, pipe, body, other


class Jump(Node):
    """break or continue."""

    def __init__(self, place: int, word: str) -> None:
        super().__init__(place)
        self.word = word


class Call(Node):
    """{{template "name" pipeline}}"""

    def __init__(self, place: int, name: str, pipe: "Pipe | None") -> None:
        super().__init__(place)
        self.name, self.pipe = name, pipe

    def __str__(self) -> str:
        return f"{{{{template {quoted(self.name)}{f' {self.pipe}' if self.pipe else ''}}}}}"
