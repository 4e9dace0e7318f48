"""Which daemon a command talks to: -H, DOCKER_HOST, contexts, or this machine's own, which is started when it is absent. Lean."""

import os
import sys

from havre.cli.options import program
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
        self.starts = True  # whether a daemon that is absent is started
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

    def write_config(self, config: "dict[str, Any]") -> None:
        """Replace config.json by rename, mode 0600: it may hold passwords."""
        os.makedirs(self.config_dir, mode=0o700, exist_ok=True)
        path = os.path.join(self.config_dir, "config.json")
        temporary = f"{path}.{os.getpid()}"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(minijson.dumps(config, indent=8))
        os.replace(temporary, os.path.realpath(path))
        self._config = config

    @property
    def debug(self) -> bool:
        return bool(self._given.get("debug"))

    @property
    def wanted_version(self) -> str:
        """The API version somebody insists on, "" when it is left to the daemon."""
        return os.environ.get("DOCKER_API_VERSION", "")

    @property
    def named_by_flag(self) -> bool:
        return bool(self._given.get("context"))

    @property
    def default_host(self) -> str:
        """Where the context "default" leads: -H, DOCKER_HOST, or this machine's own daemon."""
        hosts = self._given.get("host") or []
        return str(
            hosts[0]
            if hosts
            else os.environ.get("DOCKER_HOST") or os.environ.get("HAVRE_HOST") or DEFAULT_HOST
        )

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
        if hosts and self._given.get("context"):
            raise InvalidParameter("conflicting options: cannot specify both --host and --context")
        env = os.environ
        host = hosts[0] if hosts else "" if self._given.get("context") else env.get("DOCKER_HOST", "")
        tls = self._tls()
        if not host and self.name != "default":
            host, tls = self._from_context(self.name)
        host = host.rstrip()
        if not host:
            host = env.get("HAVRE_HOST") or DEFAULT_HOST
            self._start_local(host)
        return Client(host, tls, self.wanted_version, self._headers())

    def _headers(self) -> dict[str, str]:
        """The headers every request gets: DOCKER_CUSTOM_HEADERS ("A=1,B=2") instead of HttpHeaders of config.json. Raises HavreError."""
        if text := os.environ.get("DOCKER_CUSTOM_HEADERS"):
            found = dict(word.partition("=")[::2] for word in text.split(","))
        else:
            given = self.config.get("HttpHeaders") if self._has_config() else None
            found = {str(key): str(value) for key, value in (given or {}).items()}
        for name, value in found.items():
            if not name.strip() or any(char in name + value for char in "\r\n") or ":" in name:
                raise InvalidParameter(
                    f"invalid custom header: {name!r}", hint="DOCKER_CUSTOM_HEADERS=Name=value"
                )
        return {name.strip(): value.strip() for name, value in found.items()}

    def _has_config(self) -> bool:
        return os.path.exists(os.path.join(self.config_dir, "config.json"))

    def configured(self, name: str) -> str:
        """A text of config.json (psFormat, ...), "" when it is not there."""
        return str(self.config.get(name) or "") if self._has_config() else ""

    def _tls(self) -> "TlsFiles | None":
        given = self._given
        verify = bool(given.get("tlsverify") or os.environ.get("DOCKER_TLS_VERIFY"))
        wanted = given.get("tls") or given.get("tlscacert") or os.environ.get("DOCKER_TLS")
        if not (verify or wanted):
            return None
        folder = os.environ.get("DOCKER_CERT_PATH") or self.config_dir
        names = [given.get(name) or "" for name in ("tlscacert", "tlscert", "tlskey")]
        return TlsFiles(folder, verify, *names)

    def _from_context(self, name: str) -> "tuple[str, TlsFiles | None]":
        """Return where a context leads, and its certificates. Raises HavreError in docker's words."""
        from havre.cli.contextstore import ENDPOINT, Store

        store = Store(self.config_dir)
        try:
            endpoint = store.get(name)["Endpoints"].get(ENDPOINT) or {}
        except NotFound as error:
            raise NotFound(
                f"Failed to initialize: unable to resolve docker endpoint: {error}",
                hint=f"{program()} context ls",
            ) from None
        folder = os.path.join(store.tls_dir(name), ENDPOINT)
        tls = TlsFiles(folder, not endpoint.get("SkipTLSVerify")) if os.path.isdir(folder) else None
        return str(endpoint.get("Host") or ""), tls

    def _start_local(self, host: str) -> None:
        """Start havred when nobody listens on the local socket; one line says so."""
        import _socket

        path = host.removeprefix("unix://")
        if not self.starts or not host.startswith("unix://"):
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
