"""value.Name, as Go's templates do it on decoded JSON, on rows, and with Docker's types in mind."""

from havre.cli.template.values import NIL_LIST, NIL_MAP, NIL_POINTER, CallFailed, Nil, Row, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Go's fields whose JSON names are spelled otherwise (moby api/types/container: NanoCPUs `json:"NanoCpus"`, DNS `json:"Dns"`, ...)
_SPELLINGS = (("CPU", "Cpu"), ("DNS", "Dns"), ("ID", "Id"), ("API", "Api"), ("URL", "Url"))
# what Docker's types have though the JSON may leave it out (omitempty), and their zero values
OMITTED: "dict[str, Any]" = {
    **dict.fromkeys(
        ("Health", "Healthcheck", "SizeRw", "SizeRootFs", "StopTimeout", "Init", "GraphDriver"), NIL_POINTER
    ),
    **dict.fromkeys(
        ("Shell", "OnBuild", "Mounts", "DeviceRequests", "GwPriority", "RepoDigests", "Warnings"), NIL_LIST
    ),
    **dict.fromkeys(("ExposedPorts", "Annotations", "Tmpfs", "Sysctls", "StorageOpt"), NIL_MAP),
    **dict.fromkeys(
        ("MacAddress", "StopSignal", "Parent", "Comment", "Variant", "OsVersion", "Author", "DockerVersion"),
        "",
    ),
    **dict.fromkeys(("NetworkDisabled", "ArgsEscaped"), False),
}
_POINTERS = frozenset(
    (
        "PidsLimit",
        "MemorySwappiness",
        "OomKillDisable",
        "Init",
        "IPAMConfig",
        "Health",
        "Healthcheck",
        "NetworkSettings",
    )
)
_MAPS = frozenset(("Labels", "Volumes", "Options", "Config", "Ports", "PortBindings", "ExposedPorts", "Sysctls", "Annotations", "Tmpfs",
                   "Networks", "DriverOpts", "Data", "Containers", "StorageOpt"))  # fmt: skip


def look_up(value: "Any", name: str, *, strict: bool, typed: bool) -> "Any":
    """Return value.name. Raises CallFailed in Go's words."""
    if isinstance(value, Row):
        if name in value.fields:
            return value.fields[name]
        if name in value.methods:
            raise CallFailed(f"wrong number of args for {name}: want 1 got 0")
        raise CallFailed(f"can't evaluate field {name} in type {value.kind}")
    if isinstance(value, dict):
        return _key(value, name, strict, typed)
    if isinstance(value, Nil):
        raise CallFailed(
            f'map has no entry for key "{name}"' if value is NIL_MAP else f"nil pointer evaluating {name}"
        )
    if value is None and typed:
        return None
    if value is None:
        raise CallFailed(f"nil pointer evaluating interface {{}}.{name}")
    raise CallFailed(f"can't evaluate field {name} in type {_shown_type(value)}")


def _shown_type(value: "Any") -> str:
    """What is found inside decoded JSON has the type interface {}."""
    return type_name(value) if isinstance(value, Row) else "interface {}"


def _key(value: "dict[str, Any]", name: str, strict: bool, typed: bool) -> "Any":
    if typed and name not in value:
        for ours, theirs in _SPELLINGS:
            if ours in name and name.replace(ours, theirs) in value:
                name = name.replace(ours, theirs)
                break
    if name not in value:
        if typed and name in OMITTED:
            return OMITTED[name]
        if typed and not name[:1].isupper():  # no field of a Go struct: a map without that key
            return None
        if strict:
            raise CallFailed(f'map has no entry for key "{name}"')
        return None
    found = value[name]
    if found is None and typed:
        return NIL_POINTER if name in _POINTERS else NIL_MAP if name in _MAPS else NIL_LIST
    return found
