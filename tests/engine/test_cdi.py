"""CDI: specs are found, checked and resolved; GPUs go the same way."""

import json
from pathlib import Path

import pytest

from havre.engine import cdi
from havre.errors import InvalidParameter
from havre.spec.cdi import is_qualified, parse
from havre.spec.engine import DeviceRequest, HostConfig

NULL = {"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rw"}


def spec(kind: str, *names: str, **edits: object) -> str:
    devices = [{"name": name, "containerEdits": {"env": [f"D={name}"], **edits}} for name in names]
    return json.dumps(
        {"cdiVersion": "0.6.0", "kind": kind, "devices": devices, "containerEdits": {"env": ["S=1"]}}
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "etc", tmp_path / "run"
    first.mkdir()
    second.mkdir()
    return first, second


def ask(folders: tuple[Path, Path], **request: object) -> cdi.Edits:
    host = HostConfig(device_requests=[DeviceRequest(**request)])
    return cdi.ask(host, [str(folder) for folder in folders])


def test_a_device_brings_its_own_and_its_specs_edits(folders: tuple[Path, Path]) -> None:
    mount = {"hostPath": "/h", "containerPath": "/c", "options": ["ro"]}
    hook = {"hookName": "createContainer", "path": "/h", "args": ["h"]}
    text = spec("v.com/c", "a", "b", deviceNodes=[NULL], mounts=[mount], hooks=[hook], additionalGids=[7])
    (folders[0] / "v.json").write_text(text)
    found = ask(folders, driver="cdi", device_ids=["v.com/c=a", "v.com/c=b", "v.com/c=a"])
    assert found.env == ("S=1", "D=a", "D=b")
    assert [(node.path, node.source, node.major, node.minor, node.access) for node in found.nodes] == [
        ("/dev/x", "/dev/null", 1, 3, "rw")
    ]
    assert (found.groups, len(found.mounts), found.hooks[0].hook_name) == ((7, 7), 2, "createContainer")


def test_a_node_of_known_numbers_need_not_be_there(folders: tuple[Path, Path]) -> None:
    node = {"path": "/dev/x", "type": "c", "major": 9, "minor": 8, "fileMode": 384, "uid": 1, "gid": 2}
    (folders[0] / "v.json").write_text(spec("v.com/c", "a", deviceNodes=[node]))
    [found] = ask(folders, driver="cdi", device_ids=["v.com/c=a"]).nodes
    assert (found.major, found.minor, found.mode, found.uid, found.gid) == (9, 8, 0o600, 1, 2)


def test_a_later_directory_wins_and_twice_in_one_is_nobodys(folders: tuple[Path, Path]) -> None:
    (folders[0] / "v.json").write_text(spec("v.com/c", "a"))
    (folders[1] / "v.json").write_text(spec("v.com/c", "a").replace("S=1", "S=2"))
    assert "S=2" in ask(folders, driver="cdi", device_ids=["v.com/c=a"]).env
    (folders[1] / "w.json").write_text(spec("v.com/c", "a"))
    with pytest.raises(InvalidParameter, match="unresolvable CDI devices v"):
        ask(folders, driver="cdi", device_ids=["v.com/c=a"])


def test_gpus_are_counted_named_or_all(folders: tuple[Path, Path]) -> None:
    (folders[0] / "n.json").write_text(spec("nvidia.com/gpu", "0", "1", "all"))
    gpu = {"capabilities": [["gpu", "utility"]]}
    assert ask(folders, count=-1, **gpu).env == ("S=1", "D=all")
    assert ask(folders, count=2, **gpu).env == ("S=1", "D=0", "D=1")
    assert ask(folders, device_ids=["1"], driver="nvidia", **gpu).env == ("S=1", "D=1")
    with pytest.raises(InvalidParameter, match="3 GPUs were asked for, 2 are there"):
        ask(folders, count=3, **gpu)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (
            {"count": -1, "capabilities": [["gpu"]]},
            'could not select device driver "" with capabilities: [[gpu]]',
        ),
        ({"driver": "x", "count": 1}, 'could not select device driver "x" with capabilities: []'),
        ({"count": 1, "device_ids": ["a"]}, "cannot set both Count and DeviceIDs"),
        ({"driver": "cdi", "count": 1}, "not supported by the cdi driver"),
        ({"driver": "cdi", "device_ids": ["/dev/null"]}, "invalid CDI device name"),
        ({"driver": "cdi", "device_ids": ["v.com/c=a"]}, "unresolvable CDI devices v.com/c=a"),
        (
            {"driver": "cdi", "device_ids": ["v.com/c=a"], "options": {"a": "b"}},
            "options of a device request",
        ),
    ],
)
def test_what_cannot_be_resolved_is_refused(folders: tuple[Path, Path], request_: dict, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        ask(folders, **request_)
    assert words in str(caught.value)


def test_a_broken_spec_is_named_when_a_device_is_missing(folders: tuple[Path, Path]) -> None:
    (folders[0] / "bad.yaml").write_text("kind: v.com/c\nbogus: 1\n")
    (folders[0] / "good.json").write_text(spec("v.com/d", "a"))
    assert ask(folders, driver="cdi", device_ids=["v.com/d=a"]).env == ("S=1", "D=a")
    with pytest.raises(InvalidParameter, match=r"bad\.yaml"):
        ask(folders, driver="cdi", device_ids=["v.com/c=a"])


@pytest.mark.parametrize(
    "edits",
    [
        {"netDevices": [{"name": "x"}]},
        {"intelRdt": {"closID": "x"}},
        {"hooks": [{"hookName": "x", "path": "/h"}]},
    ],
)
def test_edits_that_are_not_made_are_refused(folders: tuple[Path, Path], edits: dict) -> None:
    (folders[0] / "v.json").write_text(spec("v.com/c", "a", **edits))
    with pytest.raises(InvalidParameter):
        ask(folders, driver="cdi", device_ids=["v.com/c=a"])


def test_names_and_unknown_keys() -> None:
    assert is_qualified("vendor.com/class=name") and is_qualified("nvidia.com/gpu=0:1")
    for word in ("/dev/null", "v.com/c", "v.com/c=", "/v.com/c=a", "v.com/c=a/b"):
        assert not is_qualified(word)
    with pytest.raises(InvalidParameter, match="unknown field"):
        parse(b'{"cdiVersion": "1", "kind": "v.com/c", "devices": [{"name": "a", "edits": {}}]}', "x")
    with pytest.raises(InvalidParameter, match="invalid kind"):
        parse(b'{"cdiVersion": "1", "kind": "nope"}', "x")
