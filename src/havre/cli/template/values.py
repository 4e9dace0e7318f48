"""What templates look into: plain JSON values, rows of a listing, and Go's typed nothings."""

from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class TemplateError(InvalidParameter):
    """A template that cannot be parsed or carried out; `executing` tells which of the two."""

    def __init__(self, message: str, *, executing: bool = False) -> None:
        super().__init__(f"template: {message}")
        self.executing = executing


class CallFailed(Exception):
    """A function of a template refuses its arguments; the walker adds where."""


class Row:
    """One line of a listing: named texts, and methods that take an argument (.Label "x")."""

    def __init__(
        self,
        kind: str,
        fields: "Mapping[str, Any]",
        methods: "Mapping[str, Callable[[Any], Any]] | None" = None,
        json: "Any" = None,
    ) -> None:
        self.kind = kind  # Go's name of the type, for error texts
        self.fields = fields
        self.methods = methods or {}
        self.json = fields if json is None else json  # what {{json .}} shows


class Nil:
    """A typed nil of Docker's API types: false, empty, printed as Go prints it, null as JSON."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


class Shown:
    """A value that is one thing as text and another as JSON."""

    def __init__(self, text: str, json: "Any") -> None:
        self.text, self.json = text, json


NIL_POINTER, NIL_LIST, NIL_MAP = Nil("<nil>"), Nil("[]"), Nil("map[]")
_TYPES = {
    str: "string",
    bool: "bool",
    int: "int",
    float: "float64",
    list: "[]interface {}",
    dict: "map[string]interface {}",
}


def type_name(value: "Any") -> str:
    """Return what Go would call the type of a value."""
    if isinstance(value, Row):
        return value.kind
    return "<nil>" if value is None else _TYPES.get(type(value), "interface {}")


def is_number(value: "Any") -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
