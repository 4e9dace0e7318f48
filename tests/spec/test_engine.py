"""Request bodies decode as Go would."""

import msgspec
import pytest

from havre.spec.engine import ContainerCreate, HostConfig, docker_name


def test_keys_are_dockers_when_special() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(HostConfig)}
    for name in (
        "IOMaximumIOps",
        "UTSMode",
        "ContainerIDFile",
        "BlkioDeviceReadIOps",
        "NanoCpus",
        "CpusetCpus",
    ):
        assert name in names
    assert docker_name("readonly_rootfs") == "ReadonlyRootfs"


def test_nulls_and_missing_keys_decode_when_a_go_client_sends_them() -> None:
    body = b'{"Image":"x","Env":null,"HostConfig":{"Binds":null,"PortBindings":{"80/tcp":[{"HostPort":"8080"}]}},"Future":1}'
    decoded = msgspec.json.decode(body, type=ContainerCreate)
    assert decoded.env is None
    assert decoded.host_config and decoded.host_config.port_bindings
    bindings = decoded.host_config.port_bindings["80/tcp"]
    assert bindings and bindings[0].host_port == "8080"


def test_wrong_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Image"):
        msgspec.json.decode(b'{"Image":1}', type=ContainerCreate)
