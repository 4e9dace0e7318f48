"""havre exec."""

import os
import sys

from havre.cli import options, terminal
from havre.cli.run import start_code, typed_keys
from havre.cli.runflags import environment
from havre.client.http import query, quote
from havre.errors import HavreError

EXECUTE_USAGE = "[OPTIONS] CONTAINER COMMAND [ARG...]"
EXECUTE_FLAGS = {
    "detach": "d:bool",
    "detach-keys": ":str",
    "env": "e:list",
    "env-file": ":list",
    "interactive": "i:bool",
    "privileged": ":bool",
    "tty": "t:bool",
    "user": "u:str",
    "workdir": "w:str",
}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context
    from havre.client.http import Client


def execute(context: "Context", words: list[str]) -> int:
    """Run one more process; returns its exit code."""
    given, args = options.parse(words, EXECUTE_FLAGS, stop_early=True)
    options.need(args, 2, "exec")
    if given["tty"] and given["interactive"] and not given["detach"] and not os.isatty(0):
        raise terminal.NoTerminal
    typed = typed_keys(context, given["detach_keys"])
    keys = terminal.parse_keys(typed or terminal.DETACH_KEYS)
    client = context.client
    body = {**_body(given, args[1:]), "DetachKeys": typed}
    made = client.request("POST", f"/containers/{quote(args[0])}/exec", body).json()
    return _start(client, made["Id"], given, keys)


def _body(given: "dict[str, Any]", command: list[str]) -> "dict[str, Any]":
    attach = not given["detach"]
    return {
        "AttachStdin": attach and given["interactive"],
        "AttachStdout": attach,
        "AttachStderr": attach,
        "Tty": given["tty"],
        "ConsoleSize": list(terminal.window_size()) if given["tty"] and attach else None,
        "Env": environment(given["env"], given["env_file"]) or None,
        "Cmd": command,
        "Privileged": given["privileged"],
        "User": given["user"] or "",
        "WorkingDir": given["workdir"] or "",
    }


def _start(client: "Client", exec_id: str, given: "dict[str, Any]", keys: bytes) -> int:
    size = list(terminal.window_size()) if given["tty"] and not given["detach"] else None
    wanted = {"Detach": given["detach"], "Tty": given["tty"], "ConsoleSize": size}
    path = f"/exec/{exec_id}/start"
    try:
        if given["detach"]:
            client.request("POST", path, wanted).read()
            return 0
        stream = client.hijack(path, wanted)
    except HavreError as error:
        sys.stderr.write(f"Error response from daemon: {error}\n")
        code = start_code(error)
        return code if code != 125 else 1
    with terminal.Raw(given["tty"] and given["interactive"]):
        if given["tty"]:
            terminal.on_resize(lambda rows, columns: _resize(client, exec_id, rows, columns))
        try:
            terminal.pump(stream, tty=given["tty"], stdin=given["interactive"], keys=keys)
        except terminal.Detached:
            return 0
    return int(client.get(f"/exec/{exec_id}/json").get("ExitCode") or 0)


def _resize(client: "Client", exec_id: str, rows: int, columns: int) -> None:
    try:
        client.request("POST", f"/exec/{exec_id}/resize" + query({"h": rows, "w": columns})).read()
    except HavreError:
        pass  # it has just ended
