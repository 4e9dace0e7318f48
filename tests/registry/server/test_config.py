"""config.yml: docker-registry's words are read, others are named."""

from pathlib import Path

import pytest

from havre.errors import HavreError
from havre.registry.server.config import load, parse_address, seconds

SAMPLE = """
version: 0.1
log: {level: debug, fields: {service: registry}, accesslog: {disabled: true}}
storage:
  cache: {blobdescriptor: inmemory}
  filesystem: {rootdirectory: /srv/registry}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: true, age: 1h30m, interval: 10m}, readonly: {enabled: true}}
auth: {htpasswd: {realm: basic-realm, path: /auth/htpasswd}}
http:
  addr: 127.0.0.1:5001
  secret: asecret
  headers: {X-Content-Type-Options: [nosniff]}
  tls: {certificate: /c.crt, key: /c.key, clientcas: [/ca.crt]}
  debug: {addr: ":5002", prometheus: {enabled: true, path: /metrics}}
health: {storagedriver: {enabled: true, interval: 10s, threshold: 3}}
"""


def test_a_docker_registry_config_is_understood() -> None:
    found = load(SAMPLE, {})
    assert (found.root, found.host, found.port) == (Path("/srv/registry"), "127.0.0.1", 5001)
    assert (found.delete, found.read_only, found.upload_age_s, found.upload_interval_s) == (
        True,
        True,
        5400,
        600,
    )
    assert found.htpasswd == (Path("/auth/htpasswd"), "basic-realm")
    assert found.tls
    assert found.tls.client_cas == (Path("/ca.crt"),)
    assert (found.headers, found.metrics_path, found.access_log) == (
        {"X-Content-Type-Options": "nosniff"},
        "/metrics",
        False,
    )


def test_nothing_said_is_docker_registrys_default() -> None:
    found = load("", {})
    assert (found.root, found.host, found.port, found.delete) == (Path("/var/lib/registry"), "", 5000, False)


def test_the_environment_goes_first() -> None:
    found = load(
        SAMPLE, {"REGISTRY_HTTP_ADDR": ":7000", "REGISTRY_STORAGE_DELETE_ENABLED": "false", "HOME": "/"}
    )
    assert (found.port, found.delete) == (7000, False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("htp: {addr: :5000}", "htp"),
        ("http: {adr: x}", "http.adr"),
        ("http: 5000", "http"),
        ("storage: {s3: {bucket: b}}", "s3"),
        ("proxy: {remoteurl: example.com}", "proxy.remoteurl"),
        ("auth: {silly: {realm: x}}", "auth.silly"),
        ("auth: {htpasswd: {realm: x}}", "auth.htpasswd needs path"),
        ("auth: {token: {realm: x, service: y}}", "auth.token needs issuer"),
        ("auth: {token: {realm: x, service: y, issuer: z}}", "rootcertbundle"),
        ("http: {tls: {certificate: /x}}", "http.tls needs"),
        ("http: {addr: nowhere}", "nowhere"),
        ("http: {headers: {X: 'a\\n\\n  b'}, addr: ':1'}\nversion: 7", "version"),
        ("storage: {maintenance: {uploadpurging: {age: 3 days}}}", "3 days"),
        ("[1, 2", "no YAML"),
        ("- x", "mapping"),
        ("!!python/object/apply:os.system ['true']", "no YAML"),
    ],
)
def test_what_is_wrong_is_named(text: str, names: str) -> None:
    with pytest.raises(HavreError) as error:
        load(text, {})
    assert names in str(error.value)


def test_addresses_and_durations() -> None:
    assert parse_address("[::1]:5000") == ("::1", 5000)
    assert parse_address(":5000") == ("", 5000)
    assert [seconds(one) for one in ("168h", "1h30m", "90s", "500ms", 7)] == [604800, 5400, 90, 0.5, 7]
