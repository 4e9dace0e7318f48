"""Medians and ratios as a table and as JSON."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.lines import Line

REFERENCE, OURS = "dockerd", "havre"


def _value(line: Line, values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    scaled = middle / 1e6 if line.unit == "MB" else middle * 1e3
    return f"{scaled:.1f} {line.unit}"


def ratio(found: Mapping[str, Sequence[float]]) -> float | None:
    """Ours to dockerd's, by medians."""
    if not found.get(OURS) or not found.get(REFERENCE):
        return None
    return statistics.median(found[OURS]) / statistics.median(found[REFERENCE])


def row(line: Line, names: Sequence[str], found: Mapping[str, Sequence[float]]) -> str:
    """One line of the table."""
    share = ratio(found)
    shown = f"{share:.2f}x" if share is not None else "-"
    if line.goal:
        shown += f" (goal {line.goal:.2f}x)"
    cells = "".join(f"{_value(line, found.get(name, [])):>14}" for name in names)
    return f"{line.name:<17}{cells}  {shown:<20} {line.what}"


def head(names: Sequence[str]) -> str:
    return f"{'':<17}" + "".join(f"{name:>14}" for name in names) + f"  {'havre : dockerd':<20}"


def document(
    lines: Sequence[Line], found: Mapping[str, Mapping[str, Sequence[float]]], about: Mapping[str, Any]
) -> str:
    """Everything as JSON: seconds or bytes, every single value."""
    rows = [
        {
            "name": line.name,
            "what": line.what,
            "unit": "bytes" if line.unit == "MB" else "s",
            "goal": line.goal or None,
            "ratio": ratio(found[line.name]),
            "values": found[line.name],
            "medians": {
                name: statistics.median(values) for name, values in found[line.name].items() if values
            },
        }
        for line in lines
        if line.name in found
    ]
    return json.dumps({"about": dict(about), "lines": rows}, indent=1)
