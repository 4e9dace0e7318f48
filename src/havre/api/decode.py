"""Bodies and query strings, decoded as Go would: nulls, any key case, unknown keys ignored; hostile ones refused."""

import json
import re
import types
import typing
from functools import cache
from typing import Any, TypeVar

import msgspec

from havre.errors import InvalidParameter
from havre.http.server import Request

T = TypeVar("T", bound=msgspec.Struct)
_FALSE = frozenset({"", "0", "no", "false", "none"})
_ZERO: dict[Any, Any] = {str: "", int: 0, bool: False, float: 0.0}  # what Go makes of a null
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
MAX_TERMINAL = 65535  # struct winsize holds 16 bits


async def body(request: Request, kind: type[T]) -> T:
    """Return the JSON body as `kind`; an empty one is an empty object. Raises InvalidParameter, TooLarge."""
    data = await request.body()
    if not data.strip():
        return kind()
    media_type = request.head.header("content-type")
    if media_type.partition(";")[0].strip().lower() != "application/json":
        raise InvalidParameter(
            f"unsupported Content-Type header ({media_type[:200]}): must be 'application/json'"
        )
    return decode(data, kind)


def decode(data: bytes, kind: type[T]) -> T:
    """Return `data` as `kind`. Keys in another case and nulls where none belong cost a second pass. Raises InvalidParameter."""
    try:
        plain = msgspec.json.decode(data)
        if plain is None:  # Go's nil: docker 20.10 commits with it
            return kind()
        if not isinstance(plain, dict):
            raise InvalidParameter("invalid request body: a JSON object is needed")
        return msgspec.convert(_fold(plain, kind), kind)
    except msgspec.ValidationError as error:
        raise InvalidParameter(f"invalid request body: {error}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InvalidParameter(f"invalid JSON: {error}") from None


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[dict[str, Any], dict[str, str]]:
    """(type by key, key by key in lower case) of a struct."""
    found = msgspec.structs.fields(kind)
    types_by_key = {field.encode_name: field.type for field in found}
    return types_by_key, {name.lower(): name for name in types_by_key}


@cache
def _shape(kind: Any) -> tuple[type[msgspec.Struct] | None, Any, Any, bool]:
    """(struct, type of a list's members, type of a dict's values, may be null) that an annotation names."""
    options = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    struct = next((one for one in options if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)
    members = next((typing.get_args(one)[0] for one in options if typing.get_origin(one) is list), None)
    values = next((typing.get_args(one)[1] for one in options if typing.get_origin(one) is dict), None)
    return struct, members, values, type(None) in options or kind is Any


def _fold(value: Any, kind: Any) -> Any:
    """Return `value` with every key of a struct in its own case, at every depth, and no null where Go would put a zero."""
    if isinstance(value, dict):
        struct, _, values, _ = _shape(kind)
        if struct is not None:
            by_key, by_lower = _fields(struct)
            found = {}
            for key, inner in value.items():
                name = key if key in by_key else by_lower.get(key.lower())
                if name is not None:
                    found[name] = _fold(inner, by_key[name])
            return found
        return value if values in (None, Any) else {key: _fold(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        members = _shape(kind)[1]
        return value if members in (None, Any) else [_fold(inner, members) for inner in value]
    if value is None and not _shape(kind)[3]:
        return _zero(kind)
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise InvalidParameter(f"invalid request body: the number {value:.3g} is out of range")
    return value


def _zero(kind: Any) -> Any:
    origin = typing.get_origin(kind) or kind
    if origin in (list, dict):
        return origin()
    return {} if isinstance(origin, type) and issubclass(origin, msgspec.Struct) else _ZERO.get(origin)


def text(request: Request, name: str, default: str = "") -> str:
    """The first value of a query parameter."""
    values = request.query.get(name)
    return values[0] if values else default


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A boolean query parameter by Docker's rule: anything but "", 0, no, false and none is true."""
    values = request.query.get(name)
    return default if values is None else values[0].strip().lower() not in _FALSE


def number(request: Request, name: str, default: int | None = None) -> int | None:
    """An integer query parameter. Raises InvalidParameter naming it."""
    value = text(request, name)
    if not value:
        return default
    if not _NUMBER.fullmatch(value):
        raise InvalidParameter(f"invalid value {value[:200]!r} for {name}: not a number")
    return int(value)


def terminal_size(request: Request) -> tuple[int, int]:
    """(rows, columns) of the parameters h and w. Raises InvalidParameter."""
    found = []
    for name in ("h", "w"):
        value = number(request, name)
        if value is None or not 0 <= value <= MAX_TERMINAL:
            raise InvalidParameter(f"invalid or missing terminal size: {name}={text(request, name)[:200]!r}")
        found.append(value)
    return found[0], found[1]


def filters(request: Request) -> dict[str, list[str]]:
    """The filters parameter, in its list form or the older map form."""
    value = text(request, "filters")
    if not value:
        return {}
    try:
        found = json.loads(value)
        if not isinstance(found, dict):
            raise TypeError
        return {str(key): _filter_values(each) for key, each in found.items()}
    except (ValueError, TypeError, RecursionError):
        raise InvalidParameter(f"invalid filter: {value[:200]!r}") from None


def _filter_values(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [str(key) for key, wanted in value.items() if wanted]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise TypeError


def nanos(value: str) -> int:
    """Nanoseconds of a timestamp parameter: "1700000000", "1700000000.5", RFC 3339; 0 for none."""
    if not value:
        return 0
    try:
        seconds, _, fraction = value.partition(".")
        if _NUMBER.fullmatch(seconds):
            if fraction and not (fraction.isascii() and fraction.isdigit()):
                raise ValueError
            return int(seconds) * 1_000_000_000 + int((fraction + "0" * 9)[:9])
        from datetime import datetime

        return int(datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() * 1e9)
    except (ValueError, OverflowError):
        raise InvalidParameter(f"invalid timestamp: {value[:200]!r}") from None
