"""havre attach."""

import sys

from havre.cli import options, terminal
from havre.cli.run import _kill, _resize, typed_keys
from havre.client.http import query, quote
from havre.errors import InvalidParameter

ATTACH_USAGE = "[OPTIONS] CONTAINER"
ATTACH_FLAGS = {"detach-keys": ":str", "no-stdin": ":bool", "sig-proxy": ":str"}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def attach(context: "Context", words: list[str]) -> int:
    """Attach to a running container; returns its exit code, 1 when detached."""
    given, args = options.parse(words, ATTACH_FLAGS)
    options.need(args, 1, "attach", 1)
    typed = typed_keys(context, given["detach_keys"])
    keys = terminal.parse_keys(typed or terminal.DETACH_KEYS)
    client, name = context.client, quote(args[0])
    found = client.get(f"/containers/{name}/json")
    if not found["State"]["Running"]:
        raise InvalidParameter(
            "You cannot attach to a stopped container, start it first", hint=f"havre start -a {args[0]}"
        )
    if found["State"]["Paused"]:
        raise InvalidParameter(
            "You cannot attach to a paused container, unpause it first", hint=f"havre unpause {args[0]}"
        )
    tty, stdin = found["Config"]["Tty"], found["Config"]["OpenStdin"] and not given["no_stdin"]
    waiting = client.request("POST", f"/containers/{name}/wait")
    flags = {"stream": True, "stdin": stdin, "stdout": True, "stderr": True, "detachKeys": typed}
    stream = client.hijack(f"/containers/{name}/attach" + query(flags))
    if (given["sig_proxy"] or "true").lower() not in ("false", "0"):
        terminal.proxy_signals(lambda signal: _kill(client, args[0], signal))
    with terminal.Raw(tty and stdin):
        if tty:
            _redraw(client, args[0])
        try:
            terminal.pump(stream, tty=tty, stdin=stdin, keys=keys)
        except terminal.Detached:
            sys.stderr.write("read escape sequence\r\n")
            return 1
    return int((waiting.json() or {}).get("StatusCode", 0))


def _redraw(client: object, container: str) -> None:
    """Change the size and back, so that what runs draws itself again."""
    rows, columns = terminal.window_size()
    if rows:
        _resize(client, container, rows + 1, columns + 1)  # type: ignore[arg-type]
    terminal.on_resize(lambda new_rows, new_columns: _resize(client, container, new_rows, new_columns))  # type: ignore[arg-type]
