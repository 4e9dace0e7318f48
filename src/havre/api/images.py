"""/images: list, inspect, pull, import, load, save, push, tag, remove."""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from havre import log
from havre.api import decode
from havre.api.pipes import send_output, with_body
from havre.api.router import Call, Route
from havre.engine import commit, images, prune
from havre.errors import HavreError, InvalidParameter, NotImplementedHere, of_os
from havre.http.server import Gone, Request, Stream
from havre.spec.engine import ContainerConfig
from havre.tasks import in_disk_thread

MESSAGES_KEPT = 1000  # of progress, while the client does not read; then bars are left out, words are not


async def listed(call: Call) -> None:
    found = images.listed(call.rooms, _list_filters(call), all_=decode.flag(call.request, "all"))
    if call.version >= (1, 44):
        for one in found:
            del one["VirtualSize"]
    await call.request.json(200, found)


def _list_filters(call: Call) -> dict[str, list[str]]:
    found = decode.filters(call.request)
    if old := decode.text(call.request, "filter"):  # before 1.28
        found.setdefault("reference", []).append(old)
    return found


async def inspect(call: Call) -> None:
    found = await in_disk_thread(call.rooms.images.inspect, call.name)
    if call.version >= (1, 44):
        del found["VirtualSize"]
    await call.request.json(200, found)


async def history(call: Call) -> None:
    await call.request.json(200, await in_disk_thread(call.rooms.images.history, call.name))


async def tag(call: Call) -> None:
    images.tag(call.rooms, call.name, decode.text(call.request, "repo"), decode.text(call.request, "tag"))
    await call.request.reply(201)


async def remove(call: Call) -> None:
    force = decode.flag(call.request, "force")
    await call.request.json(200, await images.remove(call.rooms, call.name, force=force))


async def prune_images(call: Call) -> None:
    await call.request.json(200, await prune.images(call.rooms, decode.filters(call.request)))


async def search(call: Call) -> None:
    raise NotImplementedHere("searching registries is not there yet", hint="havre pull NAME")


def registry_auth(request: Request) -> dict[str, str | None]:
    """X-Registry-Auth: base64url JSON, with or without padding. Raises InvalidParameter."""
    text = request.head.header("x-registry-auth")
    if not text:
        return {}
    try:
        found = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return {
            str(key).lower(): None if value is None else str(value)
            for key, value in dict(found or {}).items()
        }
    except (ValueError, TypeError):
        raise InvalidParameter("invalid X-Registry-Auth header") from None


async def create(call: Call) -> None:
    """Pull, or import with fromSrc."""
    request = call.request
    if decode.text(request, "fromSrc"):
        await import_image(call)
        return
    name = decode.text(request, "fromImage")
    if not name:
        raise InvalidParameter("fromImage or fromSrc is needed")
    auth, platform, tag_ = (
        registry_auth(request),
        decode.text(request, "platform"),
        decode.text(request, "tag"),
    )
    await request.drain()
    await _with_progress(
        request,
        lambda progress: images.pull(call.rooms, name, tag_, platform=platform, auth=auth, progress=progress),
    )


async def push(call: Call) -> None:
    auth, tag_ = registry_auth(call.request), decode.text(call.request, "tag")
    await call.request.drain()
    await _with_progress(
        call.request, lambda progress: images.push(call.rooms, call.name, tag_, auth=auth, progress=progress)
    )


async def _with_progress(request: Request, work: Callable[[images.Progress], Awaitable[Any]]) -> None:
    """Run work that reports JSON messages. An error before the first message has a status, one after it is in the stream."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def progress(message: dict[str, Any]) -> None:
        if queue.qsize() < MESSAGES_KEPT or not message.get("progressDetail"):
            queue.put_nowait(message)

    task = asyncio.ensure_future(work(progress))
    task.add_done_callback(lambda _: queue.put_nowait(None))
    stream: Stream | None = None
    try:
        while (message := await queue.get()) is not None:
            stream = stream or await request.stream(200, "application/json")
            await stream.json(message)
        await task
    except (Gone, asyncio.CancelledError):
        raise
    except Exception as error:  # a door: once a stream has begun the error can only stand in it
        if stream is None:
            raise
        await stream.json(_as_message(request, error))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    stream = stream or await request.stream(200, "application/json")
    await stream.end()


def _as_message(request: Request, error: Exception) -> dict[str, Any]:
    if not isinstance(error, HavreError):
        log.error("handler failed", method=request.method, path=request.path, error=repr(error))
        error = of_os(error) if isinstance(error, OSError) else HavreError(f"internal error: {error!r}")
    return {"errorDetail": {"code": error.status, "message": str(error)}, "error": str(error)}


async def load(call: Call) -> None:
    quiet = decode.flag(call.request, "quiet")

    async def work(progress: images.Progress) -> None:
        shown = (lambda message: progress(message) if "stream" in message else None) if quiet else progress
        await with_body(call.request, lambda file: images.load(call.rooms, file, shown))

    await _with_progress(call.request, work)


async def commit_container(call: Call) -> None:
    request = call.request
    container = decode.text(request, "container")
    if not container:
        raise InvalidParameter("no container named", hint="?container=NAME")
    body = await decode.body(request, ContainerConfig)
    made = await commit.commit(
        call.rooms,
        container,
        body,
        target=commit.target_of(decode.text(request, "repo"), decode.text(request, "tag")),
        author=decode.text(request, "author"),
        comment=decode.text(request, "comment"),
        changes=[
            line for text in request.query.get("changes", []) for line in text.splitlines() if line.strip()
        ],
        pause=decode.flag(request, "pause", True),
    )
    await request.json(201, {"Id": made})


async def import_image(call: Call) -> None:
    request = call.request
    source = decode.text(request, "fromSrc")
    if source != "-":
        raise NotImplementedHere("import from a URL is not there yet", hint="curl URL | havre import - NAME")
    repository, tag_ = decode.text(request, "repo"), decode.text(request, "tag")
    target = f"{repository}:{tag_}" if repository and tag_ else repository

    async def work(progress: images.Progress) -> None:
        made = await with_body(
            request,
            lambda file: images.import_(
                call.rooms,
                file,
                target,
                changes=request.query.get("changes", []),
                message=decode.text(request, "message"),
                platform=decode.text(request, "platform"),
            ),
        )
        progress({"status": made})

    await _with_progress(request, work)


async def save(call: Call) -> None:
    """One or several images as an archive."""
    request = call.request
    names = [call.args["name"]] if "name" in call.args else request.query.get("names", [])
    if not names:
        raise InvalidParameter("no image named", hint="?names=IMAGE")
    await in_disk_thread(call.rooms.images.check_saved, names)
    stream = await request.stream(200, "application/x-tar")
    await send_output(stream, lambda file: images.save(call.rooms, names, file))
    await stream.end()


routes = (
    Route("POST", "/commit", commit_container),
    Route("GET", "/images/json", listed),
    Route("GET", "/images/search", search),
    Route("GET", "/images/get", save),
    Route("POST", "/images/create", create),
    Route("POST", "/images/load", load),
    Route("POST", "/images/prune", prune_images),
    Route("GET", "/images/{name:any}/json", inspect),
    Route("GET", "/images/{name:any}/history", history),
    Route("GET", "/images/{name:any}/get", save),
    Route("POST", "/images/{name:any}/tag", tag),
    Route("POST", "/images/{name:any}/push", push),
    Route("DELETE", "/images/{name:any}", remove),
)
