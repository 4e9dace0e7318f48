"""Usage read from files as v1 and v2 kernels write them."""

from pathlib import Path

import pytest

from havre.runtime.cgroup import usage
from havre.runtime.cgroup.layout import Layout

V1 = {
    "cpu/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 777\n",
    "cpuacct/cpuacct.usage": "1000\n",
    "cpuacct/cpuacct.usage_percpu": "400 600 \n",
    "cpuacct/cpuacct.stat": "user 5\nsystem 7\n",
    "memory/memory.usage_in_bytes": "4096\n",
    "memory/memory.max_usage_in_bytes": "8192\n",
    "memory/memory.failcnt": "2\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/memory.stat": "cache 1\nrss 2\nshmem 9\ntotal_inactive_file 3\nhierarchical_memory_limit 5\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n",
    "blkio/blkio.throttle.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
    "pids/pids.current": "4\n",
    "pids/pids.max": "max\n",
}
V2 = {
    "cpu.stat": "usage_usec 10\nuser_usec 4\nsystem_usec 6\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\n",
    "memory.current": "4096\n",
    "memory.max": "max\n",
    "memory.events": "low 0\noom 5\noom_kill 1\n",
    "memory.stat": "anon 1\nfile 2\ninactive_file 3\nzswap 9\n",
    "io.stat": "8:16 rbytes=11 wbytes=22 rios=1 wios=2 dbytes=0 dios=0\n254:0 rbytes=1 wbytes=0\n",
    "pids.current": "4\n",
    "pids.max": "max\n",
}
MACHINE = 1 << 30


def write(root: Path, files: dict[str, str], path: str) -> None:
    for name, text in files.items():
        controller, _, file = name.rpartition("/")
        folder = root / controller / path.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)


@pytest.fixture
def v1(tmp_path: Path) -> usage.Places:
    write(tmp_path, V1, "/h/c")
    names = {name.partition("/")[0] for name in V1}
    return usage.places(Layout({name: str(tmp_path / name) for name in names}), "/h/c")


@pytest.fixture
def v2(tmp_path: Path) -> usage.Places:
    write(tmp_path, V2, "/h/c")
    controllers = frozenset({"cpu", "memory", "io", "pids"})
    return usage.places(Layout({}, str(tmp_path), controllers), "/h/c")


def test_v1_has_its_keys(v1: usage.Places) -> None:
    found = usage.read(v1, MACHINE)
    tick = usage.TICK_NANOS
    assert found["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 1000,
            "percpu_usage": [400, 600],
            "usage_in_kernelmode": 7 * tick,
            "usage_in_usermode": 5 * tick,
        },
        "throttling_data": {"periods": 10, "throttled_periods": 3, "throttled_time": 777},
    }
    memory = found["memory_stats"]
    assert (memory["usage"], memory["max_usage"], memory["failcnt"], memory["limit"]) == (
        4096,
        8192,
        2,
        MACHINE,
    )
    assert memory["stats"]["total_inactive_file"] == 3
    assert "shmem" not in memory["stats"] and len(memory["stats"]) == 32
    entries = found["blkio_stats"]["io_service_bytes_recursive"]
    assert entries[0] == {"major": 8, "minor": 0, "op": "Read", "value": 10}
    assert [one["op"] for one in entries] == ["Read", "Write", "Total"]
    assert found["blkio_stats"]["sectors_recursive"] == []
    assert found["pids_stats"] == {"current": 4}


def test_v2_has_its_keys(v2: usage.Places) -> None:
    found = usage.read(v2, MACHINE)
    assert found["cpu_stats"]["cpu_usage"] == {
        "total_usage": 10_000,
        "usage_in_kernelmode": 6000,
        "usage_in_usermode": 4000,
    }
    assert found["cpu_stats"]["throttling_data"] == {
        "periods": 1,
        "throttled_periods": 2,
        "throttled_time": 3000,
    }
    memory = found["memory_stats"]
    assert (memory["usage"], memory["failcnt"], memory["limit"]) == (4096, 5, MACHINE)
    assert memory["stats"]["inactive_file"] == 3 and "max_usage" not in memory
    assert found["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 16, "op": "read", "value": 11},
        {"major": 8, "minor": 16, "op": "write", "value": 22},
        {"major": 254, "minor": 0, "op": "read", "value": 1},
        {"major": 254, "minor": 0, "op": "write", "value": 0},
    ]
    assert found["blkio_stats"]["io_serviced_recursive"] is None
    assert found["pids_stats"] == {"current": 4, "limit": usage.NO_LIMIT}


def test_group_that_has_gone_is_all_zeros(tmp_path: Path) -> None:
    places = usage.places(Layout({}, str(tmp_path), frozenset({"cpu", "memory", "io", "pids"})), "/gone")
    found = usage.read(places, MACHINE)
    assert found["cpu_stats"] == usage.no_cpu()
    assert found["memory_stats"]["usage"] == 0


def test_interfaces_but_loopback_are_counted() -> None:
    text = (
        "Inter-|   Receive |  Transmit\n face |bytes    packets errs\n"
        "    lo:  99 1 0 0 0 0 0 0 99 1 0 0 0 0 0 0\n"
        "  eth0:1936 12 1 2 0 0 0 0 50 3 4 5 0 0 0 0\n"
    )
    assert usage.networks(text) == {
        "eth0": {
            "rx_bytes": 1936, "rx_packets": 12, "rx_errors": 1, "rx_dropped": 2,
            "tx_bytes": 50, "tx_packets": 3, "tx_errors": 4, "tx_dropped": 5,
        }
    }  # fmt: skip


def test_system_time_counts_user_to_softirq() -> None:
    assert usage.system_cpu("cpu  1 2 3 4 5 6 7 800 900 1000\ncpu0 1\n") == 28 * usage.TICK_NANOS
