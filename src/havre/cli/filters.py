"""--filter key=value words as the API's filters parameter. Lean."""

from havre.cli.options import UsageError
from havre.client import minijson


def encode(words: list[str], flag: str = "-f, --filter") -> str:
    """Return JSON {"key": {"value": true}} (every API version reads this form), "" for none."""
    found: dict[str, dict[str, bool]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(
                f'invalid argument "{word}" for "{flag}" flag: bad format of filter (expected name=value)'
            )
        if name.endswith("!"):
            name = name.strip() if name == "label!" else name
        found.setdefault(name.strip().lower() if name.strip() != "label!" else "label!", {})[
            value.strip()
        ] = True
    return minijson.dumps(found) if found else ""
