"""One sample of a container's stats as the row `docker stats` shows. Lean, pure."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Row = dict[str, Any]
COLUMNS = (
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
)
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")


def row(name: str, sample: "Row | None", no_trunc: bool = False) -> "Row":
    """Return the fields; `name` is what the container was asked for by, dashes are shown before the first sample."""
    if sample is None:
        dashes = {"Name": "--", "ID": "--", "CPUPerc": "--", "MemUsage": "-- / --", "MemPerc": "--"}
        return {"Container": name, **dashes, "NetIO": "--", "BlockIO": "--", "PIDs": "--"}
    memory = sample.get("memory_stats") or {}
    used, limit = memory_used(memory), memory.get("limit", 0)
    received, sent = network_bytes(sample)
    read, written = disk_bytes(sample)
    return {
        "Container": name,
        "Name": sample["name"].removeprefix("/"),
        "ID": sample["id"] if no_trunc else sample["id"][:12],
        "CPUPerc": f"{cpu_percent(sample):.2f}%",
        "MemUsage": f"{_size(used, 1024, _BINARY, 4)} / {_size(limit, 1024, _BINARY, 4)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{_decimal(received)} / {_decimal(sent)}",
        "BlockIO": f"{_decimal(read)} / {_decimal(written)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current", 0)),
    }


def cpu_percent(sample: "Row") -> float:
    """Of one processor, between this sample and the one before it."""
    now, before = sample["cpu_stats"], sample["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cpus = now.get("online_cpus") or len(now["cpu_usage"].get("percpu_usage") or [])
    return used / passed * cpus * 100 if used > 0 and passed > 0 else 0.0


def memory_used(memory: "Row") -> int:
    """Without the page cache that can be given back: total_inactive_file is v1's word, inactive_file v2's."""
    usage, stats = memory.get("usage", 0), memory.get("stats") or {}
    cache = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return int(usage - cache if cache < usage else usage)


def network_bytes(sample: "Row") -> "tuple[int, int]":
    """Received and sent, by all interfaces."""
    every = (sample.get("networks") or {}).values()
    return sum(one["rx_bytes"] for one in every), sum(one["tx_bytes"] for one in every)


def disk_bytes(sample: "Row") -> "tuple[int, int]":
    """Read and written, on all disks."""
    entries = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    sums = {"r": 0, "w": 0}
    for one in entries:
        letter = one["op"][:1].lower()
        if letter in sums:
            sums[letter] += one["value"]
    return sums["r"], sums["w"]


def _decimal(size: float) -> str:
    return _size(size, 1000, _DECIMAL, 3)


def _size(size: float, base: int, units: "tuple[str, ...]", digits: int) -> str:
    place = 0
    while size >= base and place < len(units) - 1:
        size /= base
        place += 1
    return f"{size:.{digits}g}{units[place]}"
