"""The client against a real registry and against ones that lie."""

import asyncio
import hashlib
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from havre.errors import HavreError, InvalidParameter, NotFound, Unauthorized, Unavailable
from havre.registry.auth import Credentials
from havre.registry.client import Client, Manifest
from havre.spec import reference as references
from havre.spec.reference import Reference

GOOD = Credentials("ann", "s3cret")


def fetch(name: str, client: Client | None = None, credentials: Credentials | None = None) -> Manifest:
    async def work() -> Manifest:
        own = client or Client()
        try:
            return await own.manifest(references.parse(name), credentials)
        finally:
            own.close()

    return asyncio.run(work())


async def put(
    client: Client, reference: Reference, data: bytes, credentials: Credentials | None = None
) -> str:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    assert not await client.upload(reference, digest, len(data), chunks, credentials)
    return digest


async def read(client: Client, reference: Reference, digest: str, offset: int = 0) -> tuple[int, bytes]:
    start, chunks = await client.blob(reference, digest, None, offset)
    return start, b"".join([chunk async for chunk in chunks])


# a real registry


def test_blobs_go_up_and_come_back_whole_and_in_part(real_registry: Callable[..., Any]) -> None:
    reference = references.parse(f"{real_registry().name}/a/b:1")
    data = bytes(range(256)) * 10_000

    async def scenario() -> None:
        client = Client()
        assert not await client.has_blob(reference, "sha256:" + "0" * 64, None)
        digest = await put(client, reference, data)
        assert await client.has_blob(reference, digest, None)
        assert await read(client, reference, digest) == (0, data)
        assert await read(client, reference, digest, 1000) == (1000, data[1000:])
        other = references.parse(reference.name.replace("/a/b", "/c"))
        assert await client.upload(other, digest, len(data), lambda: read_nothing(), None, "a/b")  # mounted
        with pytest.raises(NotFound, match="a/b misses a part"):
            await client.blob(reference, "sha256:" + "0" * 64)
        client.close()

    async def read_nothing() -> AsyncIterator[bytes]:
        raise AssertionError("a mounted blob is not sent")
        yield b""

    asyncio.run(scenario())


def test_password_is_needed_and_used(real_registry: Callable[..., Any]) -> None:
    name = real_registry(password=True).name
    reference = references.parse(f"{name}/a/b:1")

    async def scenario() -> None:
        client = Client()
        with pytest.raises(Unauthorized, match="no basic auth credentials"):
            await client.manifest(reference)
        with pytest.raises(NotFound, match="pull access denied"):
            await client.manifest(reference, Credentials("ann", "wrong"))
        with pytest.raises(NotFound, match="not found: manifest unknown"):
            await client.manifest(reference, GOOD)
        await put(client, reference, b"x" * 300_000, GOOD)
        assert await client.check_login(f"http://{name}/v1/", "ann", "s3cret") == ""
        with pytest.raises(Unauthorized, match="incorrect username or password"):
            await client.check_login(name, "ann", "wrong")
        client.close()

    asyncio.run(scenario())


def test_tls_needs_the_ca_that_certs_d_names(
    real_registry: Callable[..., Any], certs: Path, tmp_path: Path
) -> None:
    name = real_registry(certs=certs).name
    folder = tmp_path / "certs.d" / name
    folder.mkdir(parents=True)
    shutil.copy(certs / "client.cert", folder / "ca.crt")  # another one than it was signed with
    with pytest.raises(Unavailable, match="bad certificate") as caught:
        fetch(f"{name}/a:1", Client(certs=(str(tmp_path / "certs.d"),)))
    assert f"{tmp_path}/certs.d/{name}/ca.crt" in str(caught.value)
    shutil.copy(certs / "ca.crt", folder / "ca.crt")
    with pytest.raises(NotFound, match="manifest unknown"):
        fetch(f"{name}/a:1", Client(certs=(str(tmp_path / "certs.d"),)))
    with pytest.raises(
        NotFound, match="manifest unknown"
    ):  # loopback without a CA: not verified, as in Docker
        fetch(f"{name}/a:1", Client(certs=(str(tmp_path),)))


def test_ca_is_taken_up_and_a_change_to_tls_noticed_without_a_restart(
    stub: Any, reply: Any, certs: Path, tmp_path: Path
) -> None:
    """The same client all along: the error names the place, the file is put there, the next try works."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certs / "server.crt", certs / "server.key")
    page = reply(200, b"{}")

    async def scenario() -> None:
        client = Client(certs=(str(tmp_path / "certs.d"),))
        async with stub(lambda asked: page) as plain:
            reference = references.parse(f"{plain.name}/a:1")
            await client.manifest(reference)
        client.close()
        async with stub(lambda asked: page, tls=tls) as secure:
            reference = references.parse(f"{secure.name}/a:1")
            client._schemes[secure.name] = "http"  # as if it had been plain before
            with pytest.raises(Unavailable):
                await client.manifest(reference)
            await client.manifest(reference)
            client.close()
            folder = tmp_path / "certs.d" / secure.name
            folder.mkdir(parents=True)
            with pytest.raises(Unavailable, match="bad certificate"):
                await client.manifest(reference)
            shutil.copy(certs / "ca.crt", folder)
            await client.manifest(reference)
            client.close()

    asyncio.run(scenario())


def test_client_certificate_is_shown(real_registry: Callable[..., Any], certs: Path, tmp_path: Path) -> None:
    name = real_registry(certs=certs, client_ca=True).name
    folder = tmp_path / "certs.d" / name
    folder.mkdir(parents=True)
    shutil.copy(certs / "ca.crt", folder)
    with pytest.raises(Unavailable, match=r"client certificate in .*client\.cert"):
        fetch(f"{name}/a:1", Client(certs=(str(tmp_path / "certs.d"),)))
    shutil.copy(certs / "client.cert", folder)
    shutil.copy(certs / "client.key", folder)
    with pytest.raises(NotFound, match="manifest unknown"):
        fetch(f"{name}/a:1", Client(certs=(str(tmp_path / "certs.d"),)))


# registries that are not there, or are none


def test_closed_port_is_named() -> None:
    with pytest.raises(Unavailable, match=r"cannot connect to 127\.0\.0\.1:1: connection refused"):
        fetch("127.0.0.1:1/a:1")


def test_unknown_host_is_named() -> None:
    with pytest.raises(Unavailable, match=r"cannot find registry\.invalid: no such host"):
        fetch("registry.invalid/a:1")


def test_web_page_is_said_to_be_none(stub: Any, reply: Any) -> None:
    page = reply(200, b"<html>log in</html>", {"Content-Type": "text/html; charset=utf-8"})

    async def scenario() -> None:
        async with stub(lambda asked: page) as registry:
            client, reference = Client(), references.parse(f"{registry.name}/a:1")
            for work in (
                client.manifest(reference),
                client.tags(reference),
                client.blob(reference, "sha256:" + "0" * 64),
                client.check_login(registry.name, "a", "b"),
            ):
                with pytest.raises(Unavailable, match=r"web page|does not answer as a registry"):
                    await work
            client.close()

    asyncio.run(scenario())


# registries that lie


def run_with(stub: Any, handler: Any, work: Callable[[Client, Reference], Any]) -> Any:
    """Run work against a scripted registry; return what it was asked."""

    async def scenario() -> Any:
        async with stub(handler) as registry:
            client = Client()
            await work(client, references.parse(f"{registry.name}/a/b:1"))
            client.close()
            return registry.asked

    return asyncio.run(scenario())


def test_manifest_of_another_digest_is_refused(stub: Any, reply: Any) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="instead of the manifest sha256:0000"):
            await client.manifest(reference, digest="sha256:" + "0" * 64)

    run_with(stub, lambda asked: reply(200, b"{}"), work)


def test_endless_manifest_is_cut_off(stub: Any) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"

    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="larger than 4194304 bytes"):
            await client.manifest(reference)

    def handler(asked: Any) -> Any:
        return b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n" if asked.path == "/v2/" else head + piece * 8

    run_with(stub, handler, work)


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X%d: y\r\n" % number for number in range(20_000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"",
    ],
    ids=["nonsense", "two-lengths", "length-and-chunked", "long-header", "many-headers", "cut", "nothing"],
)
def test_damaged_answer_is_a_clear_error(stub: Any, answer: bytes) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
            await client.manifest(reference)

    probe = b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"
    run_with(stub, lambda asked: probe if asked.path == "/v2/" else answer, work)


def test_second_answer_in_one_connection_is_never_taken_for_another(stub: Any, reply: Any) -> None:
    """Bytes nobody asked for (response splitting) end the connection."""
    extra = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    async def work(client: Client, reference: Reference) -> None:
        for _ in range(2):
            try:
                assert (await client.manifest(reference)).data == b"{}"
            except Unavailable:
                pass

    run_with(stub, lambda asked: extra, work)


def test_redirect_takes_no_authorization_along(stub: Any, reply: Any, shop: Any) -> None:
    digest = shop.blob(b"data")["digest"]

    async def scenario() -> Any:
        async with stub(shop, host="127.0.0.2") as storage:

            def handler(asked: Any) -> Any:
                if "authorization" not in asked.headers:
                    return reply(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
                return reply(307, b"", {"Location": f"http://{storage.name}{asked.target}"})

            async with stub(handler) as registry:
                client, reference = Client(), references.parse(f"{registry.name}/a:1")
                _, chunks = await client.blob(reference, digest, GOOD)
                assert b"".join([chunk async for chunk in chunks]) == b"data"
                client.close()
                return storage.asked

    (asked,) = asyncio.run(scenario())
    assert "authorization" not in asked.headers


def test_redirect_loop_ends(stub: Any, reply: Any) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="redirects without end"):
            await client.manifest(reference)

    asked = run_with(stub, lambda asked: reply(302, b"", {"Location": asked.target + "x"}), work)
    assert len(asked) < 10


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://[", "gopher://x/"])
def test_senseless_redirect_is_refused(stub: Any, reply: Any, location: str) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable):
            await client.manifest(reference)

    run_with(stub, lambda asked: reply(302, b"", {"Location": location}), work)


def test_upload_elsewhere_gets_bytes_but_no_password(stub: Any, reply: Any) -> None:
    """A hostile registry names an upload address on another host, which then asks for a login."""

    async def scenario() -> Any:
        steal = reply(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
        async with stub(lambda asked: steal, host="127.0.0.2") as thief:

            def handler(asked: Any) -> Any:
                if "authorization" not in asked.headers:
                    return reply(401, b"", {"WWW-Authenticate": 'Basic realm="r"'})
                return reply(202, b"", {"Location": f"http://{thief.name}/up"})

            async with stub(handler) as registry:
                client, reference = Client(), references.parse(f"{registry.name}/a:1")
                with pytest.raises(Unauthorized, match="push access denied"):
                    await put(client, reference, b"data", GOOD)
                client.close()
                return thief.asked

    asked = asyncio.run(scenario())
    assert [one.method for one in asked] == ["PUT"]
    assert "authorization" not in asked[0].headers


def test_wrong_range_is_refused(stub: Any, reply: Any) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="another part"):
            await client.blob(reference, "sha256:" + "0" * 64, None, 10)

    run_with(stub, lambda asked: reply(206, b"x", {"Content-Range": "bytes 5-6/7"}), work)


# tags


def test_tags_are_read_page_by_page(stub: Any, reply: Any) -> None:
    def handler(asked: Any) -> Any:
        if "last=" in asked.target:
            return reply(200, b'{"tags":["c"]}')
        return reply(200, b'{"tags":["a","b"]}', {"Link": '</v2/a/b/tags/list?last=b&n=2>; rel="next"'})

    async def work(client: Client, reference: Reference) -> None:
        assert await client.tags(reference) == ["a", "b", "c"]

    run_with(stub, handler, work)


def test_endless_tags_are_refused(stub: Any, reply: Any) -> None:
    numbers = iter(range(10**9))

    def handler(asked: Any) -> Any:
        start = next(numbers) * 5000
        tags = ",".join(f'"t{start + number}"' for number in range(5000))
        return reply(200, f'{{"tags":[{tags}]}}'.encode(), {"Link": f'<{asked.target}x>; rel="next"'})

    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="does not end"):
            await client.tags(reference)

    assert len(run_with(stub, handler, work)) < 30


@pytest.mark.parametrize("tags", ['["../../x"]', "[5]", '["a b"]', '["%2e%2e"]'])
def test_invalid_tag_in_a_list_is_refused(stub: Any, reply: Any, tags: str) -> None:
    async def work(client: Client, reference: Reference) -> None:
        with pytest.raises(Unavailable, match="invalid tag"):
            await client.tags(reference)

    run_with(stub, lambda asked: reply(200, f'{{"tags":{tags}}}'.encode()), work)


# mirrors


def test_mirror_is_asked_first_and_the_registry_when_it_fails(stub: Any, reply: Any, shop: Any) -> None:
    digest = shop.index([], tag="1")["digest"]

    async def scenario() -> tuple[Any, Any]:
        async with stub(shop) as registry, stub(shop) as mirror:
            reference = references.parse(f"{registry.name}/a/b:1")
            client = Client(mirrors=(f"{registry.name}=http://{mirror.name}/",))
            assert (await client.manifest(reference, GOOD)).digest == digest
            first = len(registry.asked)
            mirror.handler = lambda asked: reply(500)
            assert (await client.manifest(reference)).digest == digest
            mirror.handler = lambda asked: reply(200, b"<html>", {"Content-Type": "text/html"})
            assert (await client.manifest(reference)).digest == digest
            client.close()
            return first, mirror.asked

    first, asked = asyncio.run(scenario())
    assert first == 0
    assert len(asked) == 3 and all("authorization" not in one.headers for one in asked)


def test_bad_mirror_is_named() -> None:
    with pytest.raises(InvalidParameter, match=r"invalid registry mirror 'mirror\.example'"):
        Client(mirrors=("mirror.example",))


# connections


def test_connection_is_kept_and_a_dead_one_replaced(stub: Any, reply: Any) -> None:
    async def scenario() -> None:
        async with stub(lambda asked: reply(200, b"{}")) as registry:
            client, reference = Client(), references.parse(f"{registry.name}/a:1")
            await client.manifest(reference)
            await client.manifest(reference)
            assert len(registry._open) == 1
            for writer in list(registry._open.values()):
                writer.transport.abort()
            await client.manifest(reference)
            client.close()

    asyncio.run(scenario())


def test_early_refusal_ends_an_upload(stub: Any) -> None:
    """An answer in the middle of a body is read, not taken for a broken connection."""

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT"):
                await reader.read(1000)
                body = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
                writer.write(b"HTTP/1.1 403 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                await asyncio.sleep(0.2)
            elif head.startswith(b"POST"):
                writer.write(
                    b"HTTP/1.1 202 X\r\nLocation: /up\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            else:
                writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = Client()
        with pytest.raises(HavreError, match="quota exceeded"):
            await put(client, references.parse(f"{name}/a:1"), b"x" * 50_000_000)
        client.close()
        server.close()

    asyncio.run(scenario())


def test_silent_server_runs_into_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowloris: one header byte now and then does not prolong the wait."""
    monkeypatch.setattr("havre.registry.link.HEAD_S", 0.3)

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if b"/v2/ " in await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not writer.transport.is_closing() and not reader.at_eof():
                writer.write(b"y")
                await asyncio.sleep(0.02)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client()
        with pytest.raises(Unavailable, match="no answer within"):
            await client.manifest(references.parse(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/a:1"))
        client.close()
        server.close()

    asyncio.run(scenario())


def test_dripping_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("havre.registry.link.STALL_S", 0.3)

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/v2/ " in head:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                writer.close()
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not writer.transport.is_closing() and not reader.at_eof():
                writer.write(b"y")
                await asyncio.sleep(0.02)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = Client()
        with pytest.raises(Unavailable, match="cut off: nothing more came"):
            await client.manifest(references.parse(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/a:1"))
        client.close()
        server.close()

    asyncio.run(scenario())
