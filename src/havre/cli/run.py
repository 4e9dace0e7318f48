"""havre run, havre create."""

import os
import sys

from havre.cli import options, terminal
from havre.cli.runflags import OLD_NAMES, RUN_FLAGS, RUN_USAGE, attached, request
from havre.client.http import ApiError, query, quote
from havre.errors import HavreError, InvalidParameter, NotFound

CREATE_FLAGS, CREATE_USAGE = RUN_FLAGS, RUN_USAGE
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context
    from havre.client.http import Client, Response

__all__ = ["RUN_FLAGS", "RUN_USAGE", "create", "run"]


def create(context: "Context", words: list[str]) -> int:
    """Make a container and print its id."""
    given, args = options.parse(words, RUN_FLAGS, stop_early=True, aliases=OLD_NAMES)
    options.need(args, 1, "create")
    body = request(given, args, attach_all=True)
    print(_create(context, given, body))
    return 0


def _create(context: "Context", given: "dict[str, Any]", body: "dict[str, Any]") -> str:
    """Create, pulling the image when it is missing; writes the cidfile."""
    cidfile = given["cidfile"]
    if cidfile and os.path.exists(cidfile):
        raise InvalidParameter(
            f"container ID file found, make sure the other container isn't running or delete {cidfile}"
        )
    policy = given["pull"] or "missing"
    if policy not in ("always", "missing", "never"):
        raise InvalidParameter(
            f'invalid pull option: \'{policy}\': must be one of "always", "missing" or "never"'
        )
    client = context.client
    given["platform"] = given["platform"] or os.environ.get("DOCKER_DEFAULT_PLATFORM") or None
    body["Env"] = [*(body["Env"] or []), *_proxies(context, body["Env"] or [])] or None
    path = "/containers/create" + query({"name": given["name"], "platform": given["platform"]})
    if policy == "always":
        _pull(context, body["Image"], given)
    try:
        answer = client.request("POST", path, body).json()
    except NotFound as error:
        if policy == "never" or not error.message.startswith("No such image"):
            raise
        sys.stderr.write(f"Unable to find image '{_with_tag(body['Image'])}' locally\n")
        _pull(context, body["Image"], given)
        answer = client.request("POST", path, body).json()
    for warning in answer.get("Warnings") or []:
        sys.stderr.write(f"WARNING: {warning}\n")
    if cidfile:
        with open(cidfile, "w", encoding="ascii") as file:
            file.write(answer["Id"])
    return str(answer["Id"])


def _with_tag(image: str) -> str:
    """The name as Docker shows it: with the tag that is meant."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


def _pull(context: "Context", image: str, given: "dict[str, Any]") -> None:
    from havre.cli.transfer import pull_image

    pull_image(context, image, platform=given["platform"] or "", quiet=given["quiet"], out=sys.stderr)


def run(context: "Context", words: list[str]) -> int:
    """Create, attach, start, wait: in the order stock clients use."""
    given, args = options.parse(words, RUN_FLAGS, stop_early=True, aliases=OLD_NAMES)
    options.need(args, 1, "run")
    tty, detach = given["tty"], given["detach"]
    if detach and given["attach"]:
        raise InvalidParameter("conflicting options: cannot specify both --attach and --detach")
    if tty and given["interactive"] and not detach and not os.isatty(0):
        raise terminal.NoTerminal
    keys = typed_keys(context, given["detach_keys"])
    terminal.parse_keys(keys or terminal.DETACH_KEYS)
    body = request(given, args, attach_all=not detach)
    if tty and not detach:
        body["HostConfig"]["ConsoleSize"] = list(terminal.window_size())
    container = _create(context, given, body)
    client = context.client
    if detach:
        _start(client, container)
        print(container)
        return 0
    return _run_attached(client, container, given, keys)


def typed_keys(context: "Context", asked: "str | None") -> str:
    """The detach keys of --detach-keys or config.json, "" for the default. The daemon is told: it watches for them as well."""
    return asked or str(context.config.get("detachKeys") or "")


def _run_attached(client: "Client", container: str, given: "dict[str, Any]", typed: str) -> int:
    keys = terminal.parse_keys(typed or terminal.DETACH_KEYS)
    stdin = given["interactive"]
    wanted = set(attached(given)) or {"stdout", "stderr", *(["stdin"] if stdin else [])}
    flags = {
        "stream": True,
        **{name: name in wanted for name in ("stdin", "stdout", "stderr")},
        "detachKeys": typed,
    }
    stream = client.hijack(f"/containers/{container}/attach" + query(flags))
    condition = "removed" if given["rm"] else "next-exit"
    waiting = client.request("POST", f"/containers/{container}/wait?condition={condition}")
    proxied = (given["sig_proxy"] or "true").lower() not in ("false", "0")
    if proxied:
        terminal.proxy_signals(lambda name: _kill(client, container, name))
    _start(client, container)
    return _follow(
        client, container, stream, waiting, tty=given["tty"], stdin="stdin" in wanted and stdin, keys=keys
    )


PROXIES = {
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
    "ftpProxy": "FTP_PROXY",
    "allProxy": "ALL_PROXY",
}


def _proxies(context: "Context", given: list[str]) -> list[str]:
    """The proxies that config.json names for this daemon, in both spellings, but for those the command line sets."""
    proxies = (context.config.get("proxies") if context._has_config() else None) or {}
    wanted = proxies.get(context.client.host) or proxies.get("default") or {}
    taken = {entry.partition("=")[0] for entry in given}
    found = [
        f"{name}={wanted[key]}"
        for key, upper in PROXIES.items()
        if wanted.get(key)
        for name in (upper, upper.lower())
    ]
    return [entry for entry in found if entry.partition("=")[0] not in taken]


def _start(client: "Client", container: str) -> None:
    """Raises HavreError whose exit code tells why it did not start."""
    try:
        client.request("POST", f"/containers/{container}/start").read()
    except HavreError as error:
        error.exit_code = start_code(error)
        raise


def _follow(
    client: "Client",
    container: str,
    stream: "Response",
    waiting: "Response",
    *,
    tty: bool,
    stdin: bool,
    keys: bytes,
) -> int:
    with terminal.Raw(tty and stdin):
        if tty:
            terminal.on_resize(lambda rows, columns: _resize(client, container, rows, columns))
        try:
            terminal.pump(stream, tty=tty, stdin=stdin, keys=keys)
        except terminal.Detached:
            return 0
    result = waiting.json() or {}
    if message := (result.get("Error") or {}).get("Message"):
        raise HavreError(message)
    return int(result.get("StatusCode", 125))


def _resize(client: "Client", container: str, rows: int, columns: int) -> None:
    try:
        client.request(
            "POST", f"/containers/{quote(container)}/resize" + query({"h": rows, "w": columns})
        ).read()
    except HavreError:
        pass  # it has just ended


def _kill(client: "Client", container: str, name: str) -> None:
    try:
        client.request("POST", f"/containers/{quote(container)}/kill" + query({"signal": name})).read()
    except HavreError:
        pass  # it has just ended


def start_code(error: HavreError) -> int:
    """125, 126 or 127 by the daemon's words: the same rule as the stock CLI's, because a status alone does not tell."""
    if isinstance(error, ApiError):
        text = error.message
        if "executable file not found" in text or "no such file or directory" in text:
            return 127
        if "permission denied" in text or "is a directory" in text or "exec format error" in text:
            return 126
    return 125
