"""pull, push, load, save, import: streams with progress."""

import os
import sys

from havre.cli import options
from havre.cli.progress import show_progress
from havre.client.http import query, quote
from havre.errors import InvalidParameter

PULL_USAGE = "[OPTIONS] NAME[:TAG|@DIGEST]"
PULL_FLAGS = {"all-tags": "a:bool", "platform": ":str", "quiet": "q:bool", "disable-content-trust": ":bool"}
PUSH_USAGE = "[OPTIONS] NAME[:TAG]"
PUSH_FLAGS = {"all-tags": "a:bool", "quiet": "q:bool", "platform": ":str", "disable-content-trust": ":bool"}
LOAD_FLAGS = {"input": "i:str", "quiet": "q:bool", "platform": ":str"}
SAVE_USAGE = "[OPTIONS] IMAGE [IMAGE...]"
SAVE_FLAGS = {"output": "o:str", "platform": ":str"}
IMPORT_USAGE = "[OPTIONS] FILE|- [REPOSITORY[:TAG]]"
IMPORT_FLAGS = {"change": "c:list", "message": "m:str", "platform": ":str"}
STEP_BYTES = 1 << 20
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any, TextIO

    from havre.cli.context import Context


def split_tag(name: str) -> "tuple[str, str]":
    """Return (repository, tag or digest); the tag is "" when there is none."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    head, slash, last = name.rpartition("/")
    repository, _, tag = last.partition(":")
    return head + slash + repository, tag


def pull(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, PULL_FLAGS)
    options.need(args, 1, "pull", 1)
    platform = given["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    pull_image(
        context, args[0], platform=platform, quiet=given["quiet"], out=sys.stdout, all_tags=given["all_tags"]
    )
    return 0


def pull_image(
    context: "Context", name: str, *, platform: str, quiet: bool, out: "TextIO", all_tags: bool = False
) -> None:
    """Pull with progress on `out`. Raises the daemon's error."""
    from havre.spec import reference

    reference.parse(name)  # nothing is asked of the daemon for a name that is none
    repository, tag = split_tag(name)
    if all_tags and tag:
        raise InvalidParameter("tag can't be used with --all-tags/-a")
    if not tag and not all_tags:
        tag = "latest"
        if not quiet:
            out.write("Using default tag: latest\n")
    path = "/images/create" + query({"fromImage": repository, "tag": tag, "platform": platform})
    answer = context.client.request("POST", path, headers=auth_header(context, repository))
    show_progress(answer.objects(), out, quiet=quiet)
    if quiet:
        out.write(f"{name}\n")


def auth_header(context: "Context", repository: str) -> dict[str, str]:
    """X-Registry-Auth for a repository's registry, from config.json and its helpers."""
    if not context._has_config():
        return {}
    from havre.cli.login import header_for

    return header_for(context, repository)


def push(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, PUSH_FLAGS)
    options.need(args, 1, "push", 1)
    repository, tag = split_tag(args[0])
    if not tag and not given["all_tags"]:
        tag = "latest"
        if not given["quiet"]:
            print("Using default tag: latest")
    answer = context.client.request(
        "POST",
        f"/images/{quote(repository)}/push" + query({"tag": tag}),
        headers={"X-Registry-Auth": "e30=", **auth_header(context, repository)},
    )
    show_progress(answer.objects(), sys.stdout, quiet=given["quiet"])
    return 0


def _read(file: "IO[bytes]") -> "Iterator[bytes]":
    while data := file.read(STEP_BYTES):
        yield data


def _open_input(path: "str | None") -> "IO[bytes]":
    if path and path != "-":
        try:
            return open(path, "rb")
        except OSError as error:
            raise InvalidParameter(f"open {path}: {(error.strerror or '').lower()}") from None
    if os.isatty(0):
        raise InvalidParameter("requested load from stdin, but stdin is empty", hint="-i FILE, or < FILE")
    return open(0, "rb", closefd=False)


def load(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, LOAD_FLAGS)
    options.need(args, 0, "load", 0)
    with _open_input(given["input"]) as file:
        headers = {"Content-Type": "application/x-tar"}
        quiet = given["quiet"] or not os.isatty(1)
        answer = context.client.request(
            "POST", "/images/load" + query({"quiet": quiet}), headers=headers, stream=_read(file)
        )
        show_progress(answer.objects(), sys.stdout, quiet=False)
    return 0


def import_(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, IMPORT_FLAGS)
    options.need(args, 1, "import", 2)
    repository, tag = split_tag(args[1]) if len(args) > 1 else ("", "")
    values = {
        "fromSrc": "-",
        "repo": repository,
        "tag": tag,
        "changes": given["change"],
        "message": given["message"],
        "platform": given["platform"],
    }
    if args[0].startswith(("http://", "https://")):
        raise InvalidParameter(
            "import from a URL is not there yet", hint=f"curl {args[0]} | havre import - {repository}"
        )
    with _open_input(args[0]) as file:
        headers = {"Content-Type": "text/plain"}
        answer = context.client.request(
            "POST", "/images/create" + query(values), headers=headers, stream=_read(file)
        )
        show_progress(answer.objects(), sys.stdout, quiet=False)
    return 0


def save(context: "Context", words: list[str]) -> int:
    """Write an archive to a file (by rename: whole or not there) or to stdout."""
    given, args = options.parse(words, SAVE_FLAGS)
    options.need(args, 1, "save")
    path = given["output"]
    if not path and os.isatty(1):
        raise InvalidParameter("cowardly refusing to save to a terminal", hint="-o FILE, or > FILE")
    answer = context.client.request("GET", "/images/get" + query({"names": args}))
    if not path:
        for piece in answer.pieces():
            write_all(piece)
        return 0
    save_to(path, answer)
    return 0


def write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def save_to(path: str, answer: "Any") -> None:
    temporary = f"{path}.havre-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            for piece in answer.pieces():
                file.write(piece)
        os.replace(temporary, path)
    except OSError as error:
        raise InvalidParameter(f"cannot write {path}: {(error.strerror or '').lower()}") from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
