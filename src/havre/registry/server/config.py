"""config.yml as docker-registry has it, checked word by word. Pure: text and environment in, one frozen value out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from havre.errors import InvalidParameter, NotImplementedHere

DEFAULT_ROOT = "/var/lib/registry"
DEFAULT_ADDR = ":5000"
UPLOAD_AGE_S = 7 * 86400  # docker-registry: uploadpurging.age 168h
UPLOAD_INTERVAL_S = 86400
PROXY_TTL_S = 168 * 3600  # docker-registry: proxy.ttl
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# Sections and keys that are known. What is here and not read below has no meaning for this server, or is refused by _refuse_missing.
_KNOWN: dict[str, frozenset[str]] = {
    "": frozenset("version log storage auth http proxy health validation loglevel quota".split()),
    "proxy": frozenset("remoteurl username password ttl".split()),
    "log": frozenset("level formatter fields accesslog".split()),
    "storage": frozenset("filesystem delete maintenance cache redirect tag".split()),
    "storage.filesystem": frozenset("rootdirectory maxthreads".split()),
    "storage.maintenance": frozenset("uploadpurging readonly".split()),
    "auth": frozenset("htpasswd token".split()),
    "auth.htpasswd": frozenset("realm path".split()),
    "auth.token": frozenset(
        "realm service issuer rootcertbundle jwks signingalgorithms autoredirect builtin".split()
    ),
    "auth.token.builtin": frozenset("htpasswd rules ttl".split()),
    "http": frozenset(
        "addr net prefix host secret relativeurls draintimeout tls headers http2 h2c debug".split()
    ),
    "http.tls": frozenset("certificate key clientcas minimumtls ciphersuites".split()),
    "http.debug": frozenset("addr prometheus".split()),
}
_ELSEWHERE = frozenset("s3 azure gcs swift oss inmemory middleware".split())


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: Path
    key: Path
    client_cas: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """Whom the built-in token issuer lets do what; shell patterns."""

    users: tuple[str, ...]
    repositories: tuple[str, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Issuer:
    """The built-in token issuer."""

    htpasswd: Path
    rules: tuple[Rule, ...]
    ttl_s: int = 300


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """auth.token: who signs, and for whom."""

    realm: str
    service: str
    issuer: str
    certificates: Path | None = None
    jwks: Path | None = None
    builtin: Issuer | None = None


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """proxy: the registry this one is a pull-through cache of."""

    remote_url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ttl_s: float = PROXY_TTL_S  # 0: content is kept for ever


@dataclass(frozen=True, slots=True)
class Config:
    """One registry's config.yml."""

    root: Path = Path(DEFAULT_ROOT)
    host: str = ""
    port: int = 5000
    tls: TlsFiles | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delete: bool = False
    read_only: bool = False
    htpasswd: tuple[Path, str] | None = None  # (file, realm)
    token: TokenAuth | None = None
    debug_addr: str = ""
    metrics_path: str = ""
    upload_age_s: float = UPLOAD_AGE_S
    upload_interval_s: float = UPLOAD_INTERVAL_S  # 0: uploads are never purged
    check_parts: bool = True
    quota_bytes: int = 0
    proxy: ProxyConfig | None = None
    log_level: str = "info"
    access_log: bool = True


def load(text: str, environment: Mapping[str, str]) -> Config:
    """Return the config of a config.yml. Raises InvalidParameter or NotImplementedHere naming the key."""
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InvalidParameter(f"config.yml is no YAML: {error}") from None
    if not isinstance(value, dict):
        raise InvalidParameter("config.yml must be a mapping")
    _override(value, environment)
    _check_keys(value, "")
    if str(value.get("version", "0.1")) != "0.1":
        raise InvalidParameter(f"config.yml: unsupported version {value['version']!r}", hint='version: "0.1"')
    return _config(value)


def _override(value: dict[str, Any], environment: Mapping[str, str]) -> None:
    """REGISTRY_HTTP_ADDR sets http.addr: docker-registry's rule."""
    for name, text in sorted(environment.items()):
        if name.startswith("REGISTRY_") and len(name) > len("REGISTRY_"):
            *path, last = name.removeprefix("REGISTRY_").lower().split("_")
            place = value
            for word in path:
                following = place.setdefault(word, {})
                if not isinstance(following, dict):
                    following = place[word] = {}
                place = following
            place[last] = yaml.safe_load(text)


def _check_keys(value: Mapping[str, Any], section: str) -> None:
    for key, inner in value.items():
        where = f"{section}.{key}" if section else str(key)
        if section == "storage" and key in _ELSEWHERE:
            raise NotImplementedHere(
                f"config.yml: storage driver {key} is not there yet", hint="storage.filesystem"
            )
        if section in _KNOWN and key not in _KNOWN[section]:
            raise InvalidParameter(f"config.yml: unknown key {where}")
        if where in _KNOWN and inner is not None:
            if not isinstance(inner, dict):
                raise InvalidParameter(f"config.yml: {where} must be a mapping")
            _check_keys(inner, where)


def _config(value: dict[str, Any]) -> Config:
    http, maintenance = _section(value, "http"), _section(_section(value, "storage"), "maintenance")
    purging = _section(maintenance, "uploadpurging")
    host, port = parse_address(str(http.get("addr") or DEFAULT_ADDR))
    debug = _section(http, "debug")
    metrics = _section(debug, "prometheus")
    return Config(
        root=Path(_section(_section(value, "storage"), "filesystem").get("rootdirectory") or DEFAULT_ROOT),
        host=host,
        port=port,
        tls=_tls(_section(http, "tls")),
        headers={str(name): _one_line(name, text) for name, text in _section(http, "headers").items()},
        delete=bool(_section(_section(value, "storage"), "delete").get("enabled")),
        read_only=bool(_section(maintenance, "readonly").get("enabled")),
        htpasswd=_htpasswd(_section(value, "auth")),
        token=_token(_section(_section(value, "auth"), "token")),
        debug_addr=str(debug.get("addr") or ""),
        metrics_path=str(metrics.get("path") or "/metrics") if metrics.get("enabled") else "",
        upload_age_s=seconds(purging.get("age", UPLOAD_AGE_S)),
        upload_interval_s=seconds(purging.get("interval", UPLOAD_INTERVAL_S))
        if purging.get("enabled", True)
        else 0,
        check_parts=not _section(value, "validation").get("disabled"),
        quota_bytes=int(value.get("quota") or 0),
        proxy=_proxy(_section(value, "proxy")),
        log_level=str(_section(value, "log").get("level") or value.get("loglevel") or "info"),
        access_log=not _section(_section(value, "log"), "accesslog").get("disabled"),
    )


def _section(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    if found is not None and not isinstance(found, dict):
        raise InvalidParameter(f"config.yml: {key} must be a mapping")
    return found or {}


def _one_line(name: object, value: object) -> str:
    """docker-registry's headers are lists of values."""
    words = value if isinstance(value, list) else [value]
    text = ", ".join(str(word) for word in words)
    if any(char in text for char in "\r\n\0"):
        raise InvalidParameter(f"config.yml: http.headers.{name} has a line break")
    return text


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of "host:port", ":5000" or "[::1]:5000"; "" is every address. Raises InvalidParameter."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise InvalidParameter(f"config.yml: http.addr {text!r} is no host:port", hint="addr: :5000")
    return host.strip("[]"), int(port)


def seconds(value: object) -> float:
    """Return the seconds of 90, "168h" or "1h30m". Raises InvalidParameter."""
    if isinstance(value, (int, float)):
        return float(value)
    total, number, text = 0.0, "", str(value)
    while text:
        if text[0].isdigit() or text[0] == ".":
            number, text = number + text[0], text[1:]
            continue
        unit = "ms" if text.startswith("ms") else text[0]
        if unit not in _UNITS or not number:
            raise InvalidParameter(f"config.yml: {value!r} is no duration", hint="168h")
        total, number, text = total + float(number) * _UNITS[unit], "", text[len(unit) :]
    if number:
        raise InvalidParameter(f"config.yml: {value!r} is no duration", hint="168h")
    return total


def _tls(value: Mapping[str, Any]) -> TlsFiles | None:
    if not value:
        return None
    if not value.get("certificate") or not value.get("key"):
        raise InvalidParameter("config.yml: http.tls needs certificate and key")
    return TlsFiles(
        Path(value["certificate"]),
        Path(value["key"]),
        tuple(Path(one) for one in value.get("clientcas") or []),
    )


def _proxy(value: Mapping[str, Any]) -> ProxyConfig | None:
    if not value:
        return None
    url = str(value.get("remoteurl") or "")
    if not url.startswith(("http://", "https://")) or not url.partition("://")[2].strip("/"):
        raise InvalidParameter(
            f"config.yml: proxy.remoteurl {url!r} is no URL", hint="remoteurl: https://registry-1.docker.io"
        )
    return ProxyConfig(
        url,
        str(value.get("username") or ""),
        str(value.get("password") or ""),
        seconds(value.get("ttl", PROXY_TTL_S)),
    )


def _htpasswd(auth: Mapping[str, Any]) -> tuple[Path, str] | None:
    if "htpasswd" not in auth:
        return None
    value = _section(auth, "htpasswd")
    if not value.get("path"):
        raise InvalidParameter("config.yml: auth.htpasswd needs path")
    if "token" in auth:
        raise InvalidParameter("config.yml: auth has htpasswd and token: only one can decide")
    return Path(value["path"]), str(value.get("realm") or "Registry")


def _token(value: Mapping[str, Any]) -> TokenAuth | None:
    if not value:
        return None
    for key in ("realm", "service", "issuer"):
        if not value.get(key):
            raise InvalidParameter(f"config.yml: auth.token needs {key}")
    builtin = _issuer(_section(value, "builtin"))
    if not (value.get("rootcertbundle") or value.get("jwks") or builtin):
        raise InvalidParameter("config.yml: auth.token needs rootcertbundle, jwks or builtin")
    return TokenAuth(
        realm=str(value["realm"]),
        service=str(value["service"]),
        issuer=str(value["issuer"]),
        certificates=Path(value["rootcertbundle"]) if value.get("rootcertbundle") else None,
        jwks=Path(value["jwks"]) if value.get("jwks") else None,
        builtin=builtin,
    )


def _issuer(value: Mapping[str, Any]) -> Issuer | None:
    if not value:
        return None
    if not value.get("htpasswd"):
        raise InvalidParameter("config.yml: auth.token.builtin needs htpasswd")
    return Issuer(
        Path(value["htpasswd"]),
        tuple(_rule(one) for one in value.get("rules") or []),
        int(seconds(value.get("ttl", 300))),
    )


def _rule(value: Any) -> Rule:
    keys = ("users", "repositories", "actions")
    if (
        not isinstance(value, dict)
        or set(value) != set(keys)
        or not all(isinstance(value[key], list) for key in keys)
    ):
        raise InvalidParameter("config.yml: a rule needs the lists users, repositories and actions")
    return Rule(*(tuple(str(word) for word in value[key]) for key in keys))
