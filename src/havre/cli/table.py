"""Tables and --format. Lean: the template engine is imported only when a template is given."""

import sys

from havre.client import minijson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Row = dict[str, Any]


def show(
    rows: "Sequence[Row]", columns: "Sequence[tuple[str, str]]", fmt: str = "", *, quiet: str = ""
) -> None:
    """Print rows: as a table of (field, heading) columns, as their `quiet` field only, or by a template.

    fmt "json" prints one JSON object a line, "table TEMPLATE" a table of what the template names.
    """
    if quiet and not fmt:
        _lines(str(row[quiet]) for row in rows)
    elif not fmt or fmt == "table":
        _table(
            [[str(row[field]) for field, _ in columns] for row in rows], [heading for _, heading in columns]
        )
    elif fmt == "json":
        _lines(
            minijson.dumps({key: value for key, value in row.items() if not key.startswith("_")})
            for row in rows
        )
    else:
        _template(rows, dict(columns), fmt)


def _lines(lines: "Any") -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))


def _table(cells: list[list[str]], headings: list[str]) -> None:
    """Columns three spaces apart, as Docker's."""
    rows = [headings, *cells]
    widths = [max(len(row[place]) for row in rows) for place in range(len(headings))]
    _lines(
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _template(rows: "Sequence[Row]", headings: dict[str, str], fmt: str) -> None:
    from havre.cli.template import Template

    as_table = fmt.startswith("table ")
    text = fmt.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    lines = [template.render(row) for row in rows]
    if not as_table:
        _lines(lines)
        return
    known = {**{key: _heading(key) for row in rows[:1] for key in row}, **headings}
    first = Template(text).render({key: known.get(key, _heading(key)) for key in {*known, *headings}})
    _table([line.split("\t") for line in lines], first.split("\t"))


def _heading(field: str) -> str:
    """CreatedAt becomes CREATED AT."""
    return "".join(
        f" {char}" if char.isupper() and place and field[place - 1].islower() else char
        for place, char in enumerate(field)
    ).upper()
