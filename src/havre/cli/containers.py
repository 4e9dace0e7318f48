"""start, stop, kill, restart, pause, unpause, rm, wait, rename, port."""

import sys

from havre.cli import options
from havre.client.http import query, quote
from havre.errors import HavreError, InvalidParameter, NotFound

RENAME_USAGE = "CONTAINER NEW_NAME"
PORT_USAGE = "CONTAINER [PRIVATE_PORT[/PROTO]]"
PAUSE_USAGE = UNPAUSE_USAGE = WAIT_USAGE = "CONTAINER [CONTAINER...]"
START_USAGE = STOP_USAGE = RESTART_USAGE = KILL_USAGE = RM_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
START_FLAGS = {"attach": "a:bool", "interactive": "i:bool", "detach-keys": ":str", "sig-proxy": ":str"}
STOP_FLAGS = RESTART_FLAGS = {"time": "t:int", "timeout": ":int", "signal": "s:str"}
KILL_FLAGS = {"signal": "s:str"}
RM_FLAGS = {"force": "f:bool", "volumes": "v:bool", "link": "l:bool"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.cli.context import Context


SILENT = object()  # what `each` prints nothing for


def each(
    names: list[str],
    work: "Callable[[str], object]",
    failed: "list[str] | None" = None,
    *,
    intro: str = "Error response from daemon: ",
) -> int:
    """Do one thing to every name, printing it; go on after an error and return 1 then. `failed` collects the names that went wrong."""
    code = 0
    for name in names:
        try:
            shown = work(name)
        except HavreError as error:
            sys.stdout.flush()
            sys.stderr.write(f"{intro}{error}\n")
            code = 1
            if failed is not None:
                failed.append(name)
        else:
            if shown is not SILENT:
                print(name if shown is None else shown)
    return code


def _post(
    context: "Context", verb: str, values: "dict[str, object] | None" = None
) -> "Callable[[str], None]":
    def work(name: str) -> None:
        context.client.request("POST", f"/containers/{quote(name)}/{verb}" + query(values or {})).read()

    return work


def start(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, START_FLAGS)
    options.need(args, 1, "start")
    if given["attach"] or given["interactive"]:
        options.need(args, 1, "start -a", 1)
        return _start_attached(context, args[0], given["interactive"], given["detach_keys"])
    failed: list[str] = []
    code = each(args, _post(context, "start"), failed)
    if failed:
        sys.stderr.write(f"Error: failed to start containers: {', '.join(failed)}\n")
    return code


def _start_attached(context: "Context", name: str, interactive: bool, asked_keys: "str | None") -> int:
    from havre.cli import run, terminal

    typed = run.typed_keys(context, asked_keys)
    keys = terminal.parse_keys(typed or terminal.DETACH_KEYS)
    client = context.client
    found = client.get(f"/containers/{quote(name)}/json")
    tty = found["Config"]["Tty"]
    stdin = interactive and found["Config"]["OpenStdin"]
    flags = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": typed}
    stream = client.hijack(f"/containers/{quote(name)}/attach" + query(flags))
    waiting = client.request("POST", f"/containers/{quote(name)}/wait?condition=next-exit")
    client.request("POST", f"/containers/{quote(name)}/start").read()
    return run._follow(client, name, stream, waiting, tty=tty, stdin=stdin, keys=keys)


def _stop_values(given: "dict[str, object]") -> "dict[str, object]":
    seconds = given["time"] if given["time"] is not None else given["timeout"]
    return {"t": seconds, "signal": given["signal"]}


def stop(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, STOP_FLAGS)
    options.need(args, 1, "stop")
    return each(args, _post(context, "stop", _stop_values(given)))


def restart(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, RESTART_FLAGS)
    options.need(args, 1, "restart")
    return each(args, _post(context, "restart", _stop_values(given)))


def kill(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, KILL_FLAGS)
    options.need(args, 1, "kill")
    return each(args, _post(context, "kill", {"signal": given["signal"]}))


def pause(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 1, "pause")
    return each(args, _post(context, "pause"))


def unpause(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 1, "unpause")
    return each(args, _post(context, "unpause"))


def rm(context: "Context", words: list[str]) -> int:
    given, args = options.parse(words, RM_FLAGS)
    options.need(args, 1, "rm")

    def work(name: str) -> object:
        values = {"force": given["force"], "v": given["volumes"], "link": given["link"]}
        try:
            context.client.request("DELETE", f"/containers/{quote(name)}" + query(values)).read()
        except NotFound as error:
            if not given["force"]:
                raise
            sys.stderr.write(f"Error response from daemon: {error}\n")  # told, but no failure
            return SILENT
        return None

    return each(args, work)


def wait(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 1, "wait")
    return each(
        args,
        lambda name: context.client.request("POST", f"/containers/{quote(name)}/wait").json()["StatusCode"],
    )


def rename(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 2, "rename", 2)
    try:
        path = f"/containers/{quote(args[0])}/rename" + query({"name": args[1]})
        context.client.request("POST", path).read()
    except HavreError as error:
        sys.stderr.write(f"Error response from daemon: {error}\n")
        sys.stderr.write(f"Error: failed to rename container named {args[0]}\n")
        return 1
    return 0


def port(context: "Context", words: list[str]) -> int:
    """Print published ports; with a second word only that port."""
    _, args = options.parse(words, {})
    options.need(args, 1, "port", 2)
    ports = context.client.get(f"/containers/{quote(args[0])}/json")["NetworkSettings"]["Ports"] or {}
    asked = args[1] if len(args) > 1 else ""
    if asked:
        number, _, protocol = asked.partition("/")
        _check_port(number)
        if not (found := ports.get(f"{number}/{protocol or 'tcp'}")):
            raise NotFound(f"Error: No public port '{asked}' published for {args[0]}")
        lines = [_address(one) for one in found]
    else:
        lines = [f"{key} -> {_address(one)}" for key, found in ports.items() for one in found or []]
    sys.stdout.write("".join(f"{line}\n" for line in sorted(lines, key=_natural)))
    return 0


def _check_port(text: str) -> None:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
        raise InvalidParameter(f'Error: invalid port ({text}): strconv.ParseUint: parsing "{text}": {why}')


def _address(binding: "dict[str, str]") -> str:
    address = binding["HostIp"]
    return f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"


def _natural(line: str) -> "list[tuple[int, int, str]]":
    """The order of docker port: runs of digits count as numbers."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for char in line + "\n":
        if char.isdigit():
            digits += char
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, char))
    return parts
