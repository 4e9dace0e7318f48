"""/containers: everything that is no stream."""

from typing import Any

from havre.api import decode
from havre.api.router import Call, Route
from havre.engine import create as creating
from havre.engine import inspect as inspecting
from havre.engine import listing, pause, prune, remove, rename, resize, start, stop, update, wait
from havre.errors import InvalidParameter
from havre.spec.engine import ContainerCreate, ContainerUpdate
from havre.tasks import in_disk_thread


async def list_containers(call: Call) -> None:
    request = call.request
    size = decode.flag(request, "size")
    wanted: dict[str, Any] = {
        "all_": decode.flag(request, "all"),
        "limit": decode.number(request, "limit", 0) or 0,
        "filters": _list_filters(call),
        "size": size,
    }
    if size:
        found = await in_disk_thread(listing.list_containers, call.rooms, **wanted)
    else:
        found = listing.list_containers(call.rooms, **wanted)
    await request.json(200, found)


def _list_filters(call: Call) -> dict[str, list[str]]:
    """`since` and `before` are also parameters of their own in old clients."""
    found = decode.filters(call.request)
    for name in ("since", "before"):
        if value := decode.text(call.request, name):
            found.setdefault(name, []).append(value)
    return found


async def create(call: Call) -> None:
    request = call.request
    body = await decode.body(request, ContainerCreate)
    name, platform = decode.text(request, "name"), decode.text(request, "platform")
    made = await creating.create(call.rooms, body, name=name, platform=platform)
    await request.json(201, {"Id": made.id, "Warnings": made.warnings})


async def inspect(call: Call) -> None:
    size = decode.flag(call.request, "size")
    if size:
        found = await in_disk_thread(inspecting.inspect, call.rooms, call.name, size=True)
    else:
        found = inspecting.inspect(call.rooms, call.name)
    await call.request.json(200, found)


NO_BODY_BYTES = 7  # Docker lets "{}", "null" and white space pass


async def start_container(call: Call) -> None:
    if int(call.request.head.header("content-length") or 0) > NO_BODY_BYTES:
        raise InvalidParameter(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
            hint="HostConfig belongs into /containers/create",
        )
    await start.start(call.rooms, call.name)
    await call.request.reply(204)


async def stop_container(call: Call) -> None:
    timeout, signal = decode.number(call.request, "t"), decode.text(call.request, "signal")
    await stop.stop(call.rooms, call.name, timeout_s=timeout, signal=signal)
    await call.request.reply(204)


async def restart(call: Call) -> None:
    timeout, signal = decode.number(call.request, "t"), decode.text(call.request, "signal")
    await stop.restart(call.rooms, call.name, timeout_s=timeout, signal=signal)
    await call.request.reply(204)


async def kill(call: Call) -> None:
    await stop.kill(call.rooms, call.name, decode.text(call.request, "signal"))
    await call.request.reply(204)


async def pause_container(call: Call) -> None:
    await pause.pause(call.rooms, call.name)
    await call.request.reply(204)


async def unpause(call: Call) -> None:
    await pause.unpause(call.rooms, call.name)
    await call.request.reply(204)


async def rename_container(call: Call) -> None:
    await rename.rename(call.rooms, call.name, decode.text(call.request, "name"))
    await call.request.reply(204)


async def update_container(call: Call) -> None:
    body = await decode.body(call.request, ContainerUpdate)
    warnings = await update.update(call.rooms, call.name, body)
    await call.request.json(200, {"Warnings": warnings or None})


async def resize_container(call: Call) -> None:
    rows, cols = decode.terminal_size(call.request)
    await resize.resize(call.rooms, call.name, rows, cols)
    await call.request.reply(200)


async def remove_container(call: Call) -> None:
    if decode.flag(call.request, "link"):
        raise InvalidParameter("links are not there: nothing to remove")
    force, volumes = decode.flag(call.request, "force"), decode.flag(call.request, "v")
    await remove.remove(call.rooms, call.name, force=force, volumes=volumes)
    await call.request.reply(204)


async def wait_container(call: Call) -> None:
    """The head goes out before the result exists: stock clients start the container only after it."""
    result = wait.wait(call.rooms, call.name, decode.text(call.request, "condition"))
    stream = await call.request.stream(200, "application/json")
    found = await result
    answer: dict[str, Any] = {"StatusCode": found.status_code}
    if found.error:
        answer["Error"] = {"Message": found.error}
    await stream.json(answer)
    await stream.end()


async def prune_containers(call: Call) -> None:
    await call.request.json(200, await prune.containers(call.rooms, decode.filters(call.request)))


routes = (
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune_containers),
    Route("GET", "/containers/{name}/json", inspect),
    Route("POST", "/containers/{name}/start", start_container),
    Route("POST", "/containers/{name}/stop", stop_container),
    Route("POST", "/containers/{name}/restart", restart),
    Route("POST", "/containers/{name}/kill", kill),
    Route("POST", "/containers/{name}/pause", pause_container),
    Route("POST", "/containers/{name}/unpause", unpause),
    Route("POST", "/containers/{name}/rename", rename_container),
    Route("POST", "/containers/{name}/resize", resize_container),
    Route("POST", "/containers/{name}/update", update_container),
    Route("POST", "/containers/{name}/wait", wait_container),
    Route("DELETE", "/containers/{name}", remove_container),
)
