"""One registry process: from a Config to open doors, and back."""

import asyncio
import os
import signal
import socket
import ssl
from urllib.parse import urlsplit

from havre import log, tasks
from havre.errors import InvalidParameter
from havre.http.server import Handler, Listening, Request, listen_tcp
from havre.registry.server import collect
from havre.registry.server.access import Everybody, Htpasswd
from havre.registry.server.config import Config, TlsFiles, parse_address
from havre.registry.server.metrics import Metrics
from havre.registry.server.proxy import Upstream
from havre.registry.server.refusal import Refused
from havre.registry.server.routes import VERSION, handler, refuse
from havre.registry.server.service import Access, Rules, Service
from havre.registry.server.storage import Storage
from havre.registry.server.tokens import TokenIssuer, Tokens, load_keys
from havre.tasks import in_disk_thread

STOP_S = 10.0


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. Raises InvalidParameter, Conflict when it cannot start."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    doors = await open_doors(config)
    log.info("registry is ready", addr=f"{config.host}:{config.port}", root=str(config.root), pid=os.getpid())
    try:
        await stop.wait()
    finally:
        for door in doors:
            await door.close()
        await tasks.shutdown(STOP_S)


async def open_doors(config: Config) -> list[Listening]:
    """Listen for clients, and for whoever watches. Raises InvalidParameter, Conflict."""
    storage = Storage(config.root)
    access, issuer = _access(config)
    upstream = Upstream(storage, config.proxy) if config.proxy else None
    read_only = config.read_only or upstream is not None
    rules = Rules(config.delete, read_only, config.check_parts, config.quota_bytes)
    answer = handler(Service(storage, access, rules, upstream))
    if issuer is not None:
        answer = _with_issuer(answer, issuer, urlsplit(config.token.realm).path if config.token else "")
    metrics = Metrics()
    answer = metrics.around(answer, access_log=config.access_log)
    common = {**VERSION, **config.headers}
    tls = _tls_context(config.tls) if config.tls else None
    host = config.host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")
    doors = [await listen_tcp(host, config.port, answer, tls=tls, common=common, public=True)]
    if config.debug_addr:
        host, port = parse_address(config.debug_addr)
        watching = _watching(storage, metrics, config.metrics_path)
        doors.append(await listen_tcp(host or "127.0.0.1", port, watching, public=True))
    if config.upload_interval_s and not config.read_only:
        tasks.spawn("purge uploads", _purge(storage, config), _report)
    return doors


def _access(config: Config) -> tuple[Access, TokenIssuer | None]:
    if config.htpasswd:
        return Htpasswd(*config.htpasswd), None
    if config.token is None:
        return Everybody(), None
    builtin = config.token.builtin
    issuer = TokenIssuer(config.token, builtin, config.root) if builtin else None
    return Tokens(config.token, load_keys(config.token) + ([issuer.public_key()] if issuer else [])), issuer


def _with_issuer(answer: Handler, issuer: TokenIssuer, path: str) -> Handler:
    async def handle(request: Request) -> None:
        if request.path != path:
            await answer(request)
            return
        try:
            await issuer.answer(request)
        except Refused as refused:
            await refuse(request, refused)

    return handle


def _watching(storage: Storage, metrics: Metrics, path: str) -> Handler:
    """http.debug: health, and metrics where they are wished."""

    async def handle(request: Request) -> None:
        if request.path == "/debug/health":
            problem = await in_disk_thread(_unhealthy, storage)
            await request.json(
                503 if problem else 200, {"storagedriver_filesystem": problem} if problem else {}
            )
        elif path and request.path == path:
            await request.reply(200, metrics.text().encode(), "text/plain; version=0.0.4; charset=utf-8")
        else:
            await request.reply(404, b"404 page not found\n", "text/plain; charset=utf-8")

    return handle


def _unhealthy(storage: Storage) -> str:
    """What keeps the storage from working, "" when nothing does."""
    try:
        os.stat(storage.layout.repositories)
        free = os.statvfs(storage.layout.root)
    except OSError as error:
        return str(error)
    return "" if free.f_bavail else f"no space left on {storage.layout.root}"


def _tls_context(files: TlsFiles) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.verify_flags &= (
            ~ssl.VERIFY_X509_STRICT
        )  # Docker (Go) takes a CA without key usage; Python 3.13 would not
        context.load_cert_chain(files.certificate, files.key)
        for path in files.client_cas:
            context.load_verify_locations(path)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise InvalidParameter(f"config.yml: http.tls: {files.certificate}, {files.key}: {error}") from None
    return context


async def _purge(storage: Storage, config: Config) -> None:
    while True:
        count = await in_disk_thread(collect.purge_uploads, storage, config.upload_age_s)
        if count:
            log.info("uploads nobody continued were removed", count=count)
        await asyncio.sleep(config.upload_interval_s)


def _report(name: str, error: BaseException) -> None:
    log.error("background task failed", task=name, error=repr(error))
