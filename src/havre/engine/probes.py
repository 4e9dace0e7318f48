"""Run one health probe: through the monitor's exec, or, for HTTP and TCP, over a socket that is in the container's network.

The daemon keeps nothing of it: the monitor ends an exec probe at its timeout and cuts its output, and opens the socket (it enters the
container's network namespace for that moment), so that the daemon itself enters no namespace and starts no process.
"""

import asyncio
import os
import socket
import ssl
from functools import partial

from havre import ids
from havre.clock import now_nanos
from havre.engine import exec as execs
from havre.engine import health
from havre.engine.container import Container, HealthResult
from havre.engine.execs import Exec
from havre.engine.healthurl import Target, parse_port, parse_url
from havre.engine.rooms import Rooms
from havre.errors import HavreError, KernelError
from havre.runtime.link import Monitor, Probed
from havre.spec.engine import ExecCreate, HealthConfig
from havre.spec.runplan import ExecPlan
from havre.units import go_duration

START_LIMIT_S = 30  # Docker's; a probe's own timeout counts from its execve
HEAD_BYTES = 4096  # of an HTTP answer, and what is kept of it
CLOSED = "the connection was closed without an answer"


def prepare(rooms: Rooms, container: Container, check: HealthConfig) -> ExecPlan | None:
    """What is the same for every exec probe of a run, made once: seccomp and capabilities cost more than the rest. None: no exec."""
    if health.kind(check) in ("HTTP", "TCP"):
        return None
    command = health.command(check, container.record.config.shell)
    body = ExecCreate(cmd=command, attach_stdout=True, attach_stderr=True)
    return execs.make_plan(rooms, container, Exec("", container.id, body), (0, 0))


async def run(
    rooms: Rooms, container: Container, monitor: Monitor, check: HealthConfig, plan: ExecPlan | None
) -> HealthResult | None:
    """Return how it went; None when the container ended meanwhile. `plan` comes from `prepare`."""
    start = now_nanos()
    try:
        if plan is None:
            found: tuple[int, str] | None = await _connect(monitor, check)
        else:
            found = await _execute(rooms, container, monitor, plan, health.timeout_s(check))
    except HavreError as error:
        found = (-1, str(error)) if container.monitor is monitor else None
    return HealthResult(start, now_nanos(), *found) if found else None


async def _execute(
    rooms: Rooms, container: Container, monitor: Monitor, plan: ExecPlan, timeout_s: float
) -> tuple[int, str] | None:
    key, command = ids.new_id(), " ".join(plan["process"]["args"])
    plan["exec_id"] = container.probe_id = key
    _publish(rooms, container, key, f"exec_create: {command}")
    try:
        async with asyncio.timeout(START_LIMIT_S):
            ending = await monitor.probe(plan, timeout_s)
    except TimeoutError:
        raise HavreError(f"timed out starting health check for container {container.id}") from None
    _publish(rooms, container, key, f"exec_start: {command}")
    ending.add_done_callback(partial(_died, rooms, container, key))
    try:
        ended = await asyncio.shield(ending)
    except asyncio.CancelledError:
        monitor.cancel_probe(key)
        raise
    finally:
        container.probe_id = ""
    return _words(ended, timeout_s) if ended else None


def _publish(rooms: Rooms, container: Container, key: str, action: str, **more: str) -> None:
    attributes = {**container.attributes(), "execID": key, **more}
    rooms.events.publish("container", action, container.id, attributes)


def _died(rooms: Rooms, container: Container, key: str, ending: "asyncio.Future[Probed | None]") -> None:
    code = ended.code if (ended := ending.result()) else 137
    _publish(rooms, container, key, "exec_die", exitCode=str(code))


def _words(ended: Probed, timeout_s: float) -> tuple[int, str]:
    output = ended.output.decode(errors="replace")
    return _too_long(timeout_s, output) if ended.timed_out else (ended.code, output)


def _too_long(timeout_s: float, output: str = "") -> tuple[int, str]:
    words = f"Health check exceeded timeout ({go_duration(round(timeout_s * 1e9))})"
    return -1, f"{words}: {output}" if output else words


async def _connect(monitor: Monitor, check: HealthConfig) -> tuple[int, str]:
    word, text = (check.test or ["", ""])[:2]
    target = parse_url(text) if word == "HTTP" else parse_port(text)
    timeout_s = health.timeout_s(check)
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _reach(monitor, target)
            try:
                return await _ask(sock, target) if word == "HTTP" else (0, f"connected to port {target.port}")
            finally:
                sock.close()
    except TimeoutError:
        return _too_long(timeout_s)
    except ConnectionResetError:
        return 1, CLOSED
    except (OSError, EOFError) as error:
        return 1, str(error) or "the connection was closed"


async def _reach(monitor: Monitor, target: Target) -> socket.socket:
    """Connect to the first address that answers. Raises the first one's OSError."""
    failed: OSError | None = None
    for address in target.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            sock = await monitor.open_socket(family)
        except KernelError as error:  # no IPv6 there
            failed = failed or OSError(str(error))
            continue
        try:
            await asyncio.get_running_loop().sock_connect(sock, (address, target.port))
        except OSError as error:
            sock.close()
            why = os.strerror(error.errno or 0).lower()
            failed = failed or OSError(f"connect {address} port {target.port}: {why}")
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed or OSError("no address")


async def _ask(sock: socket.socket, target: Target) -> tuple[int, str]:
    """Send GET and judge the status: 200 to 399 is healthy. Redirects are not followed, certificates of a localhost not checked."""
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nUser-Agent: havre-health\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
    )
    data = await (_exchange_tls(sock, target, request) if target.tls else _exchange(sock, request))
    line = data.partition(b"\n")[0].decode("utf-8", "replace").strip()
    words = line.split(maxsplit=2)
    code = words[1] if len(words) > 1 else ""
    if line.startswith("HTTP/1.") and code.isascii() and code.isdigit():
        return (0 if 200 <= int(code) < 400 else 1), line
    return 1, f"the answer is not HTTP: {line}" if line else CLOSED


async def _exchange(sock: socket.socket, request: bytes) -> bytes:
    """Return the answer as far as its first line, at most HEAD_BYTES."""
    loop, data = asyncio.get_running_loop(), b""
    await loop.sock_sendall(sock, request)
    while b"\n" not in data and len(data) < HEAD_BYTES:
        more = await loop.sock_recv(sock, HEAD_BYTES - len(data))
        if not more:
            break
        data += more
    return data


async def _exchange_tls(sock: socket.socket, target: Target, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=_any_certificate(), server_hostname=target.addresses[0], limit=HEAD_BYTES
    )
    try:
        writer.write(request)
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        return b""
    finally:
        writer.close()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
