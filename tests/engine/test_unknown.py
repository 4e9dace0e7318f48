"""An older Havre gives back what a newer one had stored."""

import json

from havre.engine.container import Container, decode, encode
from havre.engine.containers import KIND, Containers
from havre.store import Records

RECORD = {
    "id": "c1",
    "name": "web",
    "created_nanos": 1,
    "image": "i",
    "image_id": "sha256:1",
    "manifest_digest": "sha256:2",
    "chain_id": "",
    "platform": "linux",
    "config": {"Cmd": ["x"], "Novel": {"a": 1}},
    "host_config": {"Memory": 5},
    "path": "x",
    "args": [],
    "state": {"status": "exited", "mood": "good"},
    "later": [1, 2],
}


def stored(records: Records) -> dict:
    return json.loads(records.get(KIND, "c1") or b"{}")


def test_fields_of_a_newer_havre_survive_a_change(tmp_path) -> None:
    records = Records(tmp_path / "r.db")
    records.put(KIND, "c1", json.dumps(RECORD).encode())
    containers = Containers(records)
    containers.load()
    container = containers.find("web")
    container.state.status = "running"
    container.record.host_config.memory = 7
    containers.save(container)
    found = stored(records)
    assert found["later"] == [1, 2]
    assert found["config"]["Novel"] == {"a": 1}
    assert found["state"] == {"status": "running", "mood": "good"}
    assert found["host_config"] == {"Memory": 7}


def test_record_without_unknown_fields_is_stored_as_it_is(tmp_path) -> None:
    plain = {key: value for key, value in RECORD.items() if key != "later"}
    plain = {**plain, "config": {"Cmd": ["x"]}, "state": {"status": "exited"}}
    record = decode(json.dumps(plain).encode())
    assert json.loads(encode(Container(record))) == plain


def test_unreadable_record_is_kept_and_its_files_are_known(tmp_path) -> None:
    records = Records(tmp_path / "r.db")
    records.put(KIND, "c1", b'{"id": 5}')
    containers = Containers(records)
    containers.load()
    assert len(containers) == 0 and containers.unreadable == {"c1"}
    assert records.get(KIND, "c1") == b'{"id": 5}'
