"""The numbers `docker stats` makes of a sample."""

from typing import Any

import pytest

from havre.cli.statsrow import row


def sample(**changed: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "/web",
        "id": "0123456789abcdef",
        "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
        "memory_stats": {"usage": 3 << 20, "limit": 64 << 20, "stats": {"total_inactive_file": 1 << 20}},
        "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 7}, "eth1": {"rx_bytes": 3, "tx_bytes": 0}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read", "value": 1000},
                {"op": "write", "value": 2_000_000},
                {"op": "Total", "value": 9},
            ]
        },
        "pids_stats": {"current": 3},
    }
    return {**found, **changed}


def test_row_has_dockers_words() -> None:
    assert row("w", sample()) == {
        "Container": "w",
        "Name": "web",
        "ID": "0123456789ab",
        "CPUPerc": "40.00%",
        "MemUsage": "2MiB / 64MiB",
        "MemPerc": "3.12%",
        "NetIO": "1.5kB / 7B",
        "BlockIO": "1kB / 2MB",
        "PIDs": "3",
    }
    assert row("w", sample(), no_trunc=True)["ID"] == "0123456789abcdef"


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [
        ({"usage": 4096, "limit": 8192, "stats": {"inactive_file": 1024}}, "3KiB / 8KiB"),
        ({"usage": 4096, "limit": 8192, "stats": {"inactive_file": 5000}}, "4KiB / 8KiB"),
        ({}, "0B / 0B"),
    ],
)
def test_memory_is_without_cache(memory: dict[str, Any], wanted: str) -> None:
    assert row("w", sample(memory_stats=memory))["MemUsage"] == wanted


def test_first_sample_and_a_restart_are_no_load() -> None:
    zero = {"cpu_usage": {"total_usage": 0}}
    assert row("w", sample(cpu_stats=zero, precpu_stats=zero))["CPUPerc"] == "0.00%"
    later = {"cpu_usage": {"total_usage": 50}, "system_cpu_usage": 3000, "online_cpus": 2}
    assert row("w", sample(cpu_stats=later))["CPUPerc"] == "0.00%"


def test_dashes_before_the_first_sample() -> None:
    assert row("w", None)["CPUPerc"] == "--"
