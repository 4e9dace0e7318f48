"""Ports from Docker's maps."""

import pytest

from havre.engine.ports import parse_requests, port_list, port_map
from havre.errors import InvalidParameter
from havre.spec.endpoint import PortRequest, PublishedPort
from havre.spec.engine import ContainerConfig, HostConfig, PortBinding


def test_every_form_is_read() -> None:
    host = HostConfig(
        port_bindings={
            "80/tcp": [
                PortBinding(host_port="8080"),
                PortBinding(host_ip="127.0.0.1", host_port="8000-8010"),
            ],
            "53/udp": [PortBinding()],
        }
    )
    assert parse_requests(ContainerConfig(), host) == (
        PortRequest(80, "tcp", "", 8080, 8080),
        PortRequest(80, "tcp", "127.0.0.1", 8000, 8010),
        PortRequest(53, "udp"),
    )


def test_publish_all_takes_exposed_ports_that_are_not_bound() -> None:
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "81/tcp": {}})
    host = HostConfig(publish_all_ports=True, port_bindings={"80/tcp": [PortBinding(host_port="1")]})
    assert parse_requests(config, host)[1:] == (PortRequest(81),)


@pytest.mark.parametrize(
    ("key", "port", "ip"),
    [("0/tcp", "", ""), ("80/xyz", "", ""), ("80", "9-8", ""), ("80", "70000", ""), ("80", "1", "nope")],
)
def test_bad_ports_are_refused(key: str, port: str, ip: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_requests(
            ContainerConfig(), HostConfig(port_bindings={key: [PortBinding(host_port=port, host_ip=ip)]})
        )


def test_maps_show_published_and_exposed() -> None:
    config = ContainerConfig(exposed_ports={"80/tcp": {}, "443/tcp": {}})
    ports = (PublishedPort(80, "tcp", "0.0.0.0", 8080),)
    assert port_map(ports, config) == {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": None}
    assert [entry.get("PublicPort") for entry in port_list(ports, config)] == [8080, None]
