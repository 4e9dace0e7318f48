"""havre update: change limits and restart policy of containers."""

import sys

from havre.cli import options
from havre.cli.runflags import _bytes, _nano_cpus, _restart
from havre.client.http import quote
from havre.errors import HavreError

UPDATE_USAGE = "[OPTIONS] CONTAINER [CONTAINER...]"
UPDATE_FLAGS = {
    "blkio-weight": ":int",
    "cpu-period": ":int",
    "cpu-quota": ":int",
    "cpu-rt-period": ":int",
    "cpu-rt-runtime": ":int",
    "cpu-shares": "c:int",
    "cpus": ":str",
    "cpuset-cpus": ":str",
    "cpuset-mems": ":str",
    "kernel-memory": ":str",
    "memory": "m:str",
    "memory-reservation": ":str",
    "memory-swap": ":str",
    "pids-limit": ":int",
    "restart": ":str",
}
MAX_WEIGHT = 65535  # a uint16 in Docker's API
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.context import Context


def update(context: "Context", words: list[str]) -> int:
    """Update each container; go on after an error and return 1 then."""
    given, args = options.parse(words, UPDATE_FLAGS)
    options.need(args, 1, "update")
    if all(value is None for value in given.values()):
        raise HavreError("you must provide one or more flags when using this command")
    body = _body(given)
    warnings: list[str] = []
    failed: list[str] = []
    for name in args:
        try:
            answer = context.client.request("POST", f"/containers/{quote(name)}/update", body).json()
        except HavreError as error:
            failed.append(f"Error response from daemon: {error}\n")
        else:
            print(name)
            warnings += answer.get("Warnings") or []
    if warnings:
        print("\n".join(warnings))
    sys.stdout.flush()
    sys.stderr.write("".join(failed))
    return 1 if failed else 0


def _body(given: "dict[str, Any]") -> "dict[str, Any]":
    swap = given["memory_swap"]
    weight = given["blkio_weight"] or 0
    if not 0 <= weight <= MAX_WEIGHT:
        why = "value out of range" if weight > 0 else "invalid syntax"
        text = f'strconv.ParseUint: parsing "{weight}": {why}'
        raise options.bad(UPDATE_FLAGS, "blkio-weight", str(weight), text)
    body: dict[str, Any] = {
        "BlkioWeight": weight,
        "CpuPeriod": given["cpu_period"] or 0,
        "CpuQuota": given["cpu_quota"] or 0,
        "CpuRealtimePeriod": given["cpu_rt_period"] or 0,
        "CpuRealtimeRuntime": given["cpu_rt_runtime"] or 0,
        "CpuShares": given["cpu_shares"] or 0,
        "NanoCpus": _nano_cpus(given["cpus"]),
        "CpusetCpus": given["cpuset_cpus"] or "",
        "CpusetMems": given["cpuset_mems"] or "",
        "KernelMemory": _bytes(given["kernel_memory"], "kernel-memory"),
        "Memory": _bytes(given["memory"], "memory"),
        "MemoryReservation": _bytes(given["memory_reservation"], "memory-reservation"),
        "MemorySwap": -1 if swap == "-1" else _bytes(swap, "memory-swap"),
    }
    if given["pids_limit"] is not None:
        body["PidsLimit"] = given["pids_limit"]
    if given["restart"]:
        body["RestartPolicy"] = _restart(given["restart"])
    return body
