"""The daemon's own log: a fixed sentence with fields beside it, one line per state change, to stderr.

No secrets. Never log and raise. `configure` sets the level and the shape ("text" or "json").
"""

import sys
import time

LEVELS = {"debug": 10, "info": 20, "warn": 30, "warning": 30, "error": 40, "fatal": 50}
_level = 20
_json = False


def configure(level: str = "info", fmt: str = "text") -> None:
    """Set the lowest level that is written and the format, "text" or "json"."""
    global _level, _json
    _level = LEVELS[level]
    _json = fmt == "json"


def debug(message: str, **fields: object) -> None:
    _write("debug", message, fields)


def info(message: str, **fields: object) -> None:
    _write("info", message, fields)


def warn(message: str, **fields: object) -> None:
    _write("warn", message, fields)


def error(message: str, **fields: object) -> None:
    _write("error", message, fields)


def _write(level: str, message: str, fields: dict[str, object]) -> None:
    if LEVELS[level] < _level:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        sys.stderr.write(_line(stamp, level, message, fields))
        sys.stderr.flush()
    except OSError:
        pass  # a closed stderr must not stop the daemon


def _line(stamp: str, level: str, message: str, fields: dict[str, object]) -> str:
    if _json:
        import json

        return json.dumps({"time": stamp, "level": level, "msg": message, **fields}, default=str) + "\n"
    rest = "".join(f" {key}={_field(value)}" for key, value in fields.items())
    return f"{stamp} {level:5} {message}{rest}\n"


def _field(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text.isprintable() else text
