"""Which daemon a command talks to: -H, DOCKER_HOST, contexts, or this machine's own, which is started when it is absent. Lean."""

import os
import sys

from havre.client import minijson
from havre.client.connection import DEFAULT_HOST, TlsFiles
from havre.client.http import Client
from havre.errors import HavreError, InvalidParameter, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Context:
    """Global options, and the client made from them when a command first asks for it."""

    def __init__(self, given: "dict[str, Any]") -> None:
        self._given = given
        self._client: Client | None = None
        self._config: dict[str, Any] | None = None

    @property
    def config_dir(self) -> str:
        """Where config.json is: --config, DOCKER_CONFIG or ~/.docker."""
        return (
            self._given.get("config")
            or os.environ.get("DOCKER_CONFIG")
            or os.path.join(os.path.expanduser("~"), ".docker")
        )

    @property
    def config(self) -> "dict[str, Any]":
        """config.json, {} when there is none. Raises HavreError naming the file when it is damaged."""
        if self._config is None:
            path = os.path.join(self.config_dir, "config.json")
            self._config = {}
            if os.path.exists(path):
                with open(path, "rb") as file:
                    found = minijson.loads(file.read() or b"{}")
                if not isinstance(found, dict):
                    raise HavreError(f"{path} is no JSON object")
                self._config = found
        return self._config

    @property
    def debug(self) -> bool:
        return bool(self._given.get("debug"))

    @property
    def wanted_version(self) -> str:
        """The API version somebody insists on, "" when it is left to the daemon."""
        return os.environ.get("DOCKER_API_VERSION", "")

    @property
    def name(self) -> str:
        """The name of the context in use; "default" is what the environment says."""
        if self._given.get("host"):
            return "default"
        if self._given.get("context"):
            return str(self._given["context"])
        if os.environ.get("DOCKER_HOST"):
            return "default"
        return os.environ.get("DOCKER_CONTEXT") or self.configured("currentContext") or "default"

    @property
    def client(self) -> Client:
        """The client; the local daemon is started first if nobody listens and nobody named another host."""
        if self._client is None:
            self._client = self._make_client()
        return self._client

    def _make_client(self) -> Client:
        hosts = self._given.get("host") or []
        if len(hosts) > 1:
            raise InvalidParameter("specify only one -H")
        env = os.environ
        host = hosts[0] if hosts else "" if self._given.get("context") else env.get("DOCKER_HOST", "")
        tls = self._tls()
        if not host and self.name != "default":
            host, tls = self._from_context(self.name)
        if not host:
            host = env.get("HAVRE_HOST") or DEFAULT_HOST
            self._start_local(host)
        headers = (
            {str(k): str(v) for k, v in (self.config.get("HttpHeaders") or {}).items()}
            if self._has_config()
            else {}
        )
        return Client(host, tls, self.wanted_version, headers)

    def _has_config(self) -> bool:
        return os.path.exists(os.path.join(self.config_dir, "config.json"))

    def configured(self, name: str) -> str:
        """A text of config.json (psFormat, ...), "" when it is not there."""
        return str(self.config.get(name) or "") if self._has_config() else ""

    def _tls(self) -> "TlsFiles | None":
        given = self._given
        verify = bool(given.get("tlsverify") or os.environ.get("DOCKER_TLS_VERIFY"))
        if not (verify or given.get("tls") or given.get("tlscacert")):
            return None
        folder = os.environ.get("DOCKER_CERT_PATH") or self.config_dir
        names = [given.get(name) or "" for name in ("tlscacert", "tlscert", "tlskey")]
        return TlsFiles(folder, verify, *names)

    def _from_context(self, name: str) -> "tuple[str, TlsFiles | None]":
        """Read ~/.docker/contexts/meta/<sha256 of the name>/meta.json."""
        import hashlib

        key = hashlib.sha256(name.encode()).hexdigest()
        base = os.path.join(self.config_dir, "contexts")
        try:
            with open(os.path.join(base, "meta", key, "meta.json"), "rb") as file:
                meta: Any = minijson.loads(file.read())
            endpoint = meta["Endpoints"]["docker"]
            host = str(endpoint["Host"])
        except FileNotFoundError:
            raise NotFound(
                f"context {name!r}: not found", hint="unset DOCKER_CONTEXT, or docker context ls"
            ) from None
        except (KeyError, TypeError):
            raise HavreError(f"context {name!r} is damaged") from None
        folder = os.path.join(base, "tls", key, "docker")
        tls = TlsFiles(folder, not endpoint.get("SkipTLSVerify")) if os.path.isdir(folder) else None
        return host, tls

    def _start_local(self, host: str) -> None:
        """Start havred when nobody listens on the local socket; one line says so."""
        import _socket

        path = host.removeprefix("unix://")
        if not host.startswith("unix://"):
            return
        probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            probe.connect(path)
            return
        except PermissionError:
            return
        except OSError:
            pass
        finally:
            probe.close()
        if os.geteuid() != 0:
            raise HavreError("the daemon does not run, and only root can start it", hint="sudo havre ...")
        from havre.cli.autostart import start_daemon

        sys.stderr.write("havre: starting havred ...\n")
        start_daemon(host)
