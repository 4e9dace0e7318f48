"""The order of starts at boot."""

from typing import Any

from havre.engine.bootorder import DEPENDS_ON, PROJECT, SERVICE, order
from havre.engine.container import ContainerRecord
from havre.spec.engine import ContainerConfig, HostConfig


def record(key: str, age: int, host: dict[str, Any] | None = None, **labels: str) -> ContainerRecord:
    names = {"project": PROJECT, "service": SERVICE, "depends": DEPENDS_ON}
    return ContainerRecord(
        id=key * 4,
        name=key,
        created_nanos=age,
        image="",
        image_id="",
        manifest_digest="",
        chain_id="",
        platform="linux",
        config=ContainerConfig(labels={names[word]: value for word, value in labels.items()}),
        host_config=HostConfig(**(host or {})),
        path="",
        args=[],
    )


def keys(*records: ContainerRecord) -> str:
    return "".join(key[0] for key, _ in order(records))


def test_older_ones_come_first() -> None:
    assert keys(record("b", 2), record("a", 1), record("c", 3)) == "abc"


def test_who_is_joined_or_linked_comes_before() -> None:
    net = record("a", 1, {"network_mode": "container:cccc"})
    linked = record("b", 2, {"links": ["d:alias"]})
    given = record("e", 0, {"volumes_from": ["d:ro"]})
    assert keys(net, linked, record("c", 3), record("d", 4), given) == "decab"
    assert dict(order([net, record("c", 3)]))["aaaa"] == {"cccc"}


def test_compose_services_wait_for_what_they_depend_on() -> None:
    web = record(
        "w", 1, project="p", service="web", depends="db:service_healthy:false,cache:service_started:true"
    )
    other = record("o", 2, project="q", service="db")
    database = record("d", 3, project="p", service="db")
    cache = record("c", 4, project="p", service="cache")
    found = order([web, other, database, cache])
    assert "".join(key[0] for key, _ in found) == "dcwo"
    assert dict(found)["wwww"] == {"dddd", "cccc"}


def test_circles_are_cut_and_strangers_left_out() -> None:
    one = record("a", 1, {"network_mode": "container:b"})
    two = record("b", 2, {"pid_mode": "container:a"})
    found = dict(order([one, two, record("c", 3, {"ipc_mode": "container:gone"})]))
    assert list(found) == ["bbbb", "aaaa", "cccc"]
    assert found["bbbb"] == frozenset()
    assert found["aaaa"] == {"bbbb"}
    assert found["cccc"] == frozenset()


def test_two_hundred_in_a_row_are_no_problem() -> None:
    chain = [
        record(chr(200 + place), place, {"network_mode": f"container:{chr(201 + place)}"})
        for place in range(200)
    ]
    assert [key[0] for key, _ in order(chain)] == [chr(200 + place) for place in reversed(range(200))]
