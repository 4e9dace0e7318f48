"""Bodies and query strings, decoded as Go would: nulls, any key case, unknown keys ignored; hostile ones refused."""

import json
from typing import Any, TypeVar

import msgspec

from havre.errors import InvalidParameter
from havre.http.server import Request

T = TypeVar("T", bound=msgspec.Struct)
_FALSE = frozenset({"", "0", "no", "false", "none"})


async def body(request: Request, kind: type[T]) -> T:
    """Return the JSON body as `kind`; an empty one is an empty object. Raises InvalidParameter, TooLarge."""
    data = await request.body()
    if not data.strip():
        return kind()
    try:
        found = msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        return _folded(data, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameter(f"invalid JSON: {error}") from None
    return found if _exact(data, kind) else _folded(data, kind)


def _exact(data: bytes, kind: type[msgspec.Struct]) -> bool:
    """Whether the keys of the object are in Docker's own case (nearly always): else they would have been skipped."""
    try:
        keys = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return True
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    folded = {name.lower() for name in known}
    return not any(key not in known and key.lower() in folded for key in keys)


def _folded(data: bytes, kind: type[T]) -> T:
    """The slow path: keys are matched without regard to case, at every depth."""
    try:
        return msgspec.convert(_fold(msgspec.json.decode(data), kind), kind)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidParameter(f"invalid request body: {error}") from None


def _fold(value: Any, kind: Any) -> Any:
    structs = [one for one in _members(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)]
    if isinstance(value, dict) and structs:
        names = {field.encode_name.lower(): field for field in msgspec.structs.fields(structs[0])}
        found = {}
        for key, inner in value.items():
            field = names.get(key.lower())
            if field is not None:
                found[field.encode_name] = _fold(inner, field.type)
        return found
    if isinstance(value, list):
        return [_fold(inner, _members(kind)) for inner in value]
    return value


def _members(kind: Any) -> list[Any]:
    """All types named inside an annotation."""
    if isinstance(kind, (list, tuple)):
        return [member for one in kind for member in _members(one)]
    inner = getattr(kind, "__args__", ())
    return [kind, *(member for one in inner for member in _members(one))]


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
    try:
        return int(value)
    except ValueError:
        raise InvalidParameter(f"invalid value {value!r} for {name}: not a number") from None


def required_number(request: Request, name: str) -> int:
    value = number(request, name)
    if value is None:
        raise InvalidParameter(f"missing parameter: {name}")
    return value


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
        if seconds.lstrip("-").isdigit():
            return int(seconds) * 1_000_000_000 + int((fraction + "0" * 9)[:9] or 0)
        from datetime import datetime

        return int(datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() * 1e9)
    except ValueError:
        raise InvalidParameter(f"invalid timestamp: {value!r}") from None
