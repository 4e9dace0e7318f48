"""havre inspect: containers, images, networks, volumes, by whichever has the name first; container inspect, image inspect."""

import sys

from havre.cli import options
from havre.cli.main import BAD_TEMPLATE
from havre.client import minijson
from havre.client.http import quote
from havre.errors import HavreError, InvalidParameter, NotFound

INSPECT_USAGE = "[OPTIONS] NAME|ID [NAME|ID...]"
INSPECT_FLAGS = {"format": "f:str", "size": "s:bool", "type": ":str"}
CONTAINER_INSPECT_USAGE, CONTAINER_INSPECT_FLAGS = (
    "[OPTIONS] CONTAINER [CONTAINER...]",
    {"format": "f:str", "size": "s:bool"},
)
IMAGE_INSPECT_USAGE, IMAGE_INSPECT_FLAGS = (
    "[OPTIONS] IMAGE [IMAGE...]",
    {"format": "f:str", "platform": ":str"},
)
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
        known = ", ".join(f'"{one}"' for one in PLACES)
        raise InvalidParameter(f'unknown type: "{kind}": must be one of {known}')
    if kind:
        return show(args, lambda name: _one(context, kind, name, given["size"]), given["format"])
    return show(args, lambda name: _any(context, name, given["size"]), given["format"])


def container_inspect(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, CONTAINER_INSPECT_FLAGS)
    options.need(args, 1, "container inspect")
    return show(args, lambda name: _one(context, "container", name, given["size"]), given["format"])


def image_inspect(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, IMAGE_INSPECT_FLAGS)
    options.need(args, 1, "image inspect")
    return show(args, lambda name: _one(context, "image", name, False), given["format"])


def show(
    names: list[str],
    find: "Callable[[str], Any]",
    fmt: "str | None",
    *,
    intro: str = "Error: ",
    html: bool = False,
) -> int:
    """Print every object that is found and name those that are not, behind `intro`; 1 if any is missing."""
    found, problems = [], []
    template = None if fmt in (None, "", "json") else _parsed(str(fmt))
    for name in names:
        try:
            found.append(find(name))
        except HavreError as error:
            problems.append(f"Error response from daemon: {error}" if error.by_daemon else f"{intro}{error}")
    if template:
        _render(found, template)
    elif fmt == "json":
        print(minijson.dumps(found, html=html))
    else:
        print(minijson.dumps(found, indent=4, html=html))
    sys.stdout.flush()
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _parsed(fmt: str) -> "Any":
    """The template twice: as Docker's types see the values, and as plain JSON when that fails."""
    from havre.cli.template import Template, TemplateError

    try:
        return Template(fmt, typed=True), Template(fmt)
    except TemplateError as error:
        problem = HavreError(f"template parsing error: {error}")
        problem.exit_code = BAD_TEMPLATE
        raise problem from None


def _render(values: "list[Any]", templates: "Any") -> None:
    from havre.cli.template import TemplateError

    for one in values:
        try:
            try:
                print(templates[0].render(one))
            except TemplateError:
                print(templates[1].render(one))
        except TemplateError as error:
            print()  # docker does, and a script that reads lines counts on one for each object
            raise HavreError(f"template parsing error: {error}") from None


def render(value: "Any", fmt: str, name: str = "") -> None:
    """Print a value by a Go template, in the words of `docker info` and `docker version`. Raises HavreError."""
    from havre.cli.template import Template, TemplateError

    try:
        template = Template(fmt)
        print(template.render(value))
    except TemplateError as error:
        text = str(error).replace("template: :", f"template: {name}:", 1)
        if not error.executing:
            problem = HavreError(f"template parsing error: {text}")
            problem.exit_code = BAD_TEMPLATE
            raise problem from None
        print()
        raise HavreError(text.replace('executing ""', f'executing "{name}"', 1)) from None


def _one(context: "Context", kind: str, name: str, size: bool) -> "Any":
    if size and kind != "container":
        sys.stderr.write(f"WARNING: --size ignored for {kind}\n")
    return context.client.get(_path(kind, name, size))


def _path(kind: str, name: str, size: bool) -> str:
    return PLACES[kind].format(quote(name)) + ("?size=1" if size and kind == "container" else "")


def _any(context: "Context", name: str, size: bool) -> "Any":
    for kind in PLACES:
        try:
            found = context.client.get(_path(kind, name, size))
        except HavreError as error:
            if error.status in (
                400,
                404,
                501,
            ):  # a name that kind cannot have, or a kind this daemon does not know
                continue
            raise
        if size and kind != "container":
            sys.stderr.write(f"WARNING: --size ignored for {kind}\n")
        return found
    raise NotFound(f"No such object: {name}")
