"""Reach a daemon: unix, tcp, TLS, ssh. Lean: `_socket` itself; ssl and subprocess are imported only when asked for."""

import _socket
import os

from havre.errors import HavreError, Unavailable

DEFAULT_HOST = "unix:///run/havre/havre.sock"
DOCKER_SOCKET = "unix:///var/run/docker.sock"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Socket(Protocol):
        """What is used of a socket."""

        def recv(self, size: int) -> bytes: ...
        def sendall(self, data: bytes) -> None: ...
        def shutdown(self, how: int) -> None: ...
        def fileno(self) -> int: ...
        def close(self) -> None: ...


class TlsFiles:
    """Where the certificates are: DOCKER_CERT_PATH or --tls* flags."""

    def __init__(self, folder: str, verify: bool, ca: str = "", cert: str = "", key: str = "") -> None:
        self.ca = ca or os.path.join(folder, "ca.pem")
        self.cert = cert or os.path.join(folder, "cert.pem")
        self.key = key or os.path.join(folder, "key.pem")
        self.verify = verify


def connect(host: str, tls: "TlsFiles | None" = None) -> "Socket":
    """Return a connected stream. Raises Unavailable in words that name the host and what to do."""
    kind, mark, rest = host.partition("://")
    if not mark:
        kind, rest = "tcp", host
    if kind == "unix":
        return _unix(rest)
    if kind == "tcp":
        return _tcp(rest, tls)
    if kind == "ssh":
        return _ssh(rest)
    raise HavreError(f"cannot connect to {host!r}", hint="unix:///path, tcp://host:port or ssh://user@host")


def _unix(path: str) -> "Socket":
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except PermissionError:
        raise Unavailable(
            f"permission denied while connecting to {path}", hint="sudo, or join the group docker"
        ) from None
    except OSError as error:
        text = f"Cannot connect to the Docker daemon at unix://{path}. Is the daemon running?"
        raise Unavailable(f"{text} ({error.strerror})", hint="sudo havred") from None
    return sock


def _tcp(rest: str, tls: "TlsFiles | None") -> "Socket":
    address, colon, port = rest.rstrip("/").rpartition(":")
    if not colon or not port.isdigit():
        address, port = rest.rstrip("/"), "2376" if tls else "2375"
    try:
        found = _socket.getaddrinfo(address.strip("[]"), int(port), 0, _socket.SOCK_STREAM)
    except OSError:
        raise Unavailable(f"unknown host: {address}", hint="check -H and DOCKER_HOST") from None
    error: OSError | None = None
    for family, kind, number, _, place in found:
        sock = _socket.socket(family, kind, number)
        try:
            sock.connect(place)
        except OSError as one:
            error = one
            sock.close()
            continue
        if tls is None:
            return sock
        from havre.client.tls import wrap

        return wrap(sock, address.strip("[]"), tls)
    raise Unavailable(
        f"cannot connect to tcp://{rest}: {(error.strerror or '').lower() if error else 'no address'}"
    )


def _ssh(rest: str) -> "Socket":
    """`ssh host havre system dial-stdio` (docker, where that is what the far side has), its stdin and stdout as one socket."""
    import subprocess

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        subprocess.Popen(
            ssh_words(rest), stdin=theirs.fileno(), stdout=theirs.fileno(), start_new_session=True
        )
    except FileNotFoundError:
        raise Unavailable("ssh is not installed", hint="apt install openssh-client") from None
    finally:
        theirs.close()
    return ours


def ssh_words(rest: str) -> list[str]:
    """Return ssh's command line for "user@host:22/path/of/socket". Raises HavreError when it is no such thing."""
    target, slash, path = rest.partition("/")
    user, at, address = target.rpartition("@")
    host, port = address, ""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if (
        not host
        or host.startswith("-")
        or user.startswith("-")
        or ":" in user
        or (port and not port.isdigit())
    ):
        raise HavreError(f"this is no ssh host: 'ssh://{rest}'", hint="ssh://user@host:22")
    login = ["-l", user] if at and user else []
    flags = f" --host 'unix:///{_quoted(path)}'" if slash and path else ""
    remote = "docker" if flags else "$(command -v havre || echo docker)"
    return [
        *("ssh", "-o", "ConnectTimeout=30", "-T", *login, *(["-p", port] if port else []), "--", host),
        f"{remote}{flags} system dial-stdio",
    ]


def _quoted(text: str) -> str:
    return text.replace("'", "'\\''")
