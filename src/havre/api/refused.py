"""What a Docker engine has and this one has not yet: answered in words, with the right status."""

from havre.api.router import Call, Route
from havre.errors import NotFound, NotImplementedHere, Unavailable


async def not_a_manager(call: Call) -> None:
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
        "and try again."
    )


async def not_there_yet(call: Call) -> None:
    raise NotImplementedHere(
        f"{call.request.method} {call.request.path} is not there yet in this version of Havre"
    )


async def no_such_volume(call: Call) -> None:
    raise NotFound(f"get {call.name}: no such volume")


_SWARM = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
_NOT_YET = (
    ("POST", "/build"),
    ("POST", "/build/prune"),
    ("POST", "/session"),
    ("POST", "/grpc"),
    ("POST", "/commit"),
    ("POST", "/containers/{name}/update"),
    ("GET", "/containers/{name}/changes"),
    ("GET", "/containers/{name}/export"),
    ("GET", "/containers/{name}/archive"),
    ("PUT", "/containers/{name}/archive"),
    ("GET", "/containers/{name}/stats"),
    ("GET", "/containers/{name}/top"),
    ("POST", "/networks/{name}/connect"),
    ("POST", "/networks/{name}/disconnect"),
    ("POST", "/volumes/create"),
    ("POST", "/volumes/prune"),
    ("GET", "/plugins"),
)
routes = (
    *(Route(method, path, not_there_yet) for method, path in _NOT_YET),
    Route("GET", "/volumes/{name}", no_such_volume),
    Route("DELETE", "/volumes/{name}", no_such_volume),
    *(Route(method, f"/{name}", not_a_manager) for name in _SWARM for method in ("GET", "POST")),
    *(
        Route(method, f"/{name}/{{rest:any}}", not_a_manager)
        for name in _SWARM
        for method in ("GET", "POST", "DELETE")
    ),
)
