"""Tables and --format. Lean: the template engine is imported only when a template is given."""

import sys

from havre.client import minijson
from havre.errors import HavreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Fields = dict[str, Any]  # what a template may name; "_labels" holds the labels for .Label
MIN_WIDTH, GAP = 10, 3  # of a column, as in Docker's tables
HEADINGS = {"RunningFor": "CREATED", "CreatedSince": "CREATED"}


class FormatError(HavreError):
    """A --format that cannot be parsed or carried out; `executing` tells which."""

    def __init__(self, reason: str, executing: bool) -> None:
        super().__init__(f"template parsing error: {reason}")
        self.reason, self.executing = reason, executing


def show(
    rows: "Sequence[Fields]",
    columns: "Sequence[tuple[str, str]]",
    fmt: str = "",
    *,
    quiet: str = "",
    kind: str = "formatter.Context",
    raw: str = "",
) -> None:
    """Print rows: as a table of (field, heading) columns, as their `quiet` field only, or by a template.

    fmt "json" prints one JSON object a line, "table TEMPLATE" a table of what the template names, "raw" the template `raw` (one line
    when quiet). `kind` is Docker's name of the rows' type.
    """
    if quiet and fmt in ("", "table"):
        _lines(str(row[quiet]) for row in rows)
    elif fmt in ("", "table"):
        lines_of(
            [[str(row[field]) for field, _ in columns] for row in rows], [heading for _, heading in columns]
        )
    elif fmt == "json":
        _lines(minijson.dumps(_sorted(row), html=True) for row in rows)
    elif fmt == "raw" and raw:
        line = next(one for one in raw.splitlines() if "{{.ID}}" in one)
        _template(rows, dict(columns), line if quiet else raw, kind)
    else:
        _template(rows, dict(columns), fmt, kind)


def _sorted(row: "Fields") -> "Fields":
    return {name: row[name] for name in sorted(row) if not name.startswith("_")}


def _lines(lines: "Iterable[str]") -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))


def lines_of(cells: list[list[str]], headings: list[str], min_width: int = MIN_WIDTH) -> None:
    """Print a table: columns three spaces apart and `min_width` wide at least, the last one as long as it is."""
    rows = [headings, *cells]
    width = max(map(len, rows))
    widths = [
        max(min_width, GAP + max(len(row[place]) for row in rows if place < len(row)))
        for place in range(width)
    ]
    _lines(
        "".join(cell.ljust(size) for cell, size in zip(row[:-1], widths, strict=False)) + row[-1]
        for row in rows
    )


def _template(rows: "Sequence[Fields]", headings: dict[str, str], fmt: str, kind: str) -> None:
    from havre.cli.template import Row, Template, TemplateError

    text = fmt.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    try:
        template = Template(text)
        lines = [template.render(_row(one, kind, Row)) for one in rows]
        if not fmt.startswith("table "):
            _lines(lines)
            return
        known = {name: _heading(name) for row in rows[:1] for name in row} | HEADINGS | headings
        first = Template(text, strict=False).render(Row(kind, _Known(known), {"Label": _label_heading}))
    except TemplateError as error:
        raise FormatError(str(error), error.executing) from None
    lines_of([line.split("\t") for line in lines], first.split("\t"))


class _Known(dict[str, str]):
    """Headings; those of a field nobody has told are made of its name."""

    def __contains__(self, name: object) -> bool:
        return name != "Label"

    def __missing__(self, name: str) -> str:
        return _heading(name)


def _row(fields: "Fields", kind: str, make: "Any") -> "Any":
    labels = fields.get("_labels")
    methods = {} if labels is None else {"Label": lambda name: labels.get(name, "")}
    shown = {name: _value(name, value) for name, value in fields.items() if name != "_labels"}
    return make(f"*{kind}", shown, methods)


def _value(name: str, value: "Any") -> "Any":
    """A platform is an object as JSON and os/architecture as text; everything else is what it is."""
    from havre.cli.template import NIL_POINTER, Shown

    if name != "Platform":
        return value
    if not value:
        return NIL_POINTER
    words = [str(value.get(part) or "") for part in ("os", "architecture", "variant")]
    return Shown("/".join(word for word in words if word), value)


def _label_heading(name: "Any") -> str:
    """com.example.my-label is headed "my label"."""
    return str(name).rpartition(".")[2].replace("-", " ").replace("_", " ")


def _heading(field: str) -> str:
    """CreatedAt becomes CREATED AT."""
    return "".join(
        f" {char}" if char.isupper() and place and field[place - 1].islower() else char
        for place, char in enumerate(field)
    ).upper()
