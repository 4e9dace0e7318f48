"""havre inspect: containers, images, networks, by whichever has the name first."""

import sys

from havre.cli import options
from havre.client import minijson
from havre.client.http import quote
from havre.errors import HavreError, InvalidParameter, NotFound

INSPECT_USAGE = "[OPTIONS] NAME|ID [NAME|ID...]"
INSPECT_FLAGS = {"format": "f:str", "size": "s:bool", "type": ":str"}
PLACES = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from havre.cli.context import Context


def inspect(context: "Context", words: list[str]) -> int:
    """Print JSON, or what --format says."""
    given, args = options.parse(words, INSPECT_FLAGS)
    options.need(args, 1, "inspect")
    kind = given["type"] or ""
    if kind and kind not in PLACES:
        raise InvalidParameter(f'"{kind}" is not a valid value for --type', hint=", ".join(PLACES))
    kinds = [kind] if kind else list(PLACES)
    return show(args, lambda name: _find(context, name, kinds, given["size"]), given["format"])


def show(names: list[str], find: "Callable[[str], Any]", fmt: "str | None") -> int:
    """Print every object that is found and name those that are not; 1 if any is missing."""
    found, code = [], 0
    for name in names:
        try:
            found.append(find(name))
        except HavreError as error:
            sys.stderr.write(f"Error: {error}\n")
            code = 1
    if fmt and fmt != "json":
        render(found, fmt)
    elif fmt == "json":
        print(minijson.dumps(found))
    else:
        print(minijson.dumps(found, indent=4))
    return code


def render(values: "list[Any]", fmt: str) -> None:
    """Print each value by a Go template, one line each. Raises InvalidParameter in the words of `docker inspect`."""
    from havre.cli.template import Template, TemplateError

    try:
        template = Template(fmt)
        for one in values:
            print(template.render(one))
    except TemplateError as error:
        raise InvalidParameter(f"template parsing error: {error}") from None


def _find(context: "Context", name: str, kinds: list[str], size: bool) -> "Any":
    for kind in kinds:
        path = PLACES[kind].format(quote(name)) + ("?size=1" if size and kind == "container" else "")
        try:
            return context.client.get(path)
        except NotFound:
            continue
        except HavreError as error:
            if len(kinds) == 1 or error.status not in (400, 501):
                raise
    raise NotFound(f"No such {'object' if len(kinds) > 1 else kinds[0]}: {name}")
