"""Manifests, indexes and configs: ambiguous, unbounded and unsound ones are refused."""

import json

import pytest

from havre.errors import InvalidParameter
from havre.image import manifest as manifests
from havre.spec.image import Platform

DIGEST = "sha256:" + "a" * 64
LAYER = {"mediaType": manifests.OCI_LAYER, "digest": DIGEST, "size": 5}
CONFIG = {"mediaType": manifests.OCI_CONFIG, "digest": DIGEST, "size": 5}
GOOD = {"schemaVersion": 2, "mediaType": manifests.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def test_sound_manifest_is_read():
    found = manifests.parse_manifest(json.dumps(GOOD).encode())
    assert (found.config.size, found.layers[0].digest) == (5, DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"manifests": []},
        {"schemaVersion": 1},
        {"mediaType": manifests.OCI_INDEX},
        {"mediaType": "text/html"},
        {"layers": None},
        {"layers": [LAYER] * 600},
        {"layers": [{**LAYER, "digest": "sha256:../x"}]},
        {"layers": [{**LAYER, "size": -1}]},
        {"layers": [{**LAYER, "size": "5"}]},
        {"layers": [{**LAYER, "size": True}]},
        {"layers": [{**LAYER, "size": 1 << 60}]},
        {"layers": ["x"]},
        {"config": None},
        {"config": {**CONFIG, "digest": 5}},
    ],
)
def test_unsound_manifest_is_refused(change):
    with pytest.raises(InvalidParameter):
        manifests.parse_manifest(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b"[" * 50_000, b" " * (5 << 20), b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(InvalidParameter):
        manifests.parse_manifest(data)


def test_said_type_must_fit_the_content():
    with pytest.raises(InvalidParameter, match="ambiguous"):
        manifests.media_type_of(GOOD, manifests.DOCKER_MANIFEST)
    bare = {key: value for key, value in GOOD.items() if key != "mediaType"}
    assert manifests.media_type_of(bare, manifests.DOCKER_MANIFEST) == manifests.DOCKER_MANIFEST
    assert manifests.media_type_of(bare, "text/html") == manifests.OCI_MANIFEST


def test_index_is_bounded():
    entry = {"mediaType": manifests.OCI_MANIFEST, "digest": DIGEST, "size": 1}
    index = {"schemaVersion": 2, "manifests": [entry] * 1001}
    with pytest.raises(InvalidParameter):
        manifests.parse_index(json.dumps(index).encode())


def test_pick_never_takes_an_attestation():
    def one(os: str, architecture: str) -> manifests.Descriptor:
        return manifests.Descriptor(manifests.OCI_MANIFEST, DIGEST, 1, Platform(os, architecture))

    index = [one("unknown", "unknown"), one("linux", "arm64"), one("linux", "amd64")]
    found = manifests.pick(index, Platform("linux", "amd64"))
    assert found is not None and found.platform == Platform("linux", "amd64")
    assert manifests.pick(index[:1], Platform("linux", "amd64")) is None
    assert manifests.pick(index[:2], Platform("linux", "amd64")) is None


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"config": {"Env": ["A=1", 2]}}, r"config\.env"),
        ({"config": {"Labels": {"a": 1}}}, r"config\.labels"),
        ({"config": {"User": ["root"]}}, r"config\.user"),
        ({"config": {"Volumes": ["/v"]}}, r"config\.volumes"),
        ({"history": [{"created_by": 3}]}, r"history"),
        ({"created": {}}, r"created"),
    ],
)
def test_config_of_the_wrong_types_is_refused_with_its_field(config, field):
    with pytest.raises(InvalidParameter, match=field):
        manifests.read_config(json.dumps(config).encode())


def test_config_keeps_what_we_do_not_know():
    data = json.dumps({"config": {"Env": None, "ArgsEscaped": True}, "x": 1}).encode()
    assert manifests.read_config(data) == {"config": {"Env": None, "ArgsEscaped": True}, "x": 1}


@pytest.mark.parametrize(
    "rootfs", [None, {}, {"diff_ids": "x"}, {"diff_ids": ["sha256:x"]}, {"diff_ids": [5]}]
)
def test_diff_ids_must_be_digests(rootfs):
    with pytest.raises(InvalidParameter):
        manifests.diff_ids({"rootfs": rootfs})
