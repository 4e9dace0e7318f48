"""What a Docker engine has and this one has not yet: answered in words, with the right status, or truly empty."""

from havre.api.router import Call, Route
from havre.errors import NotFound, NotImplementedHere, Unavailable


async def not_a_manager(call: Call) -> None:
    raise Unavailable(
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
        "and try again."
    )


async def not_part_of_a_swarm(call: Call) -> None:
    raise Unavailable("This node is not part of a swarm")


async def not_there_yet(call: Call) -> None:
    raise NotImplementedHere(
        f"{call.request.method} {call.request.path} is not there yet in this version of Havre"
    )


async def no_such_plugin(call: Call) -> None:
    raise NotFound(f'plugin "{call.name}" not found')


async def no_plugins(call: Call) -> None:
    await call.request.json(200, [])


async def no_cache_pruned(call: Call) -> None:
    """There is no build cache yet, which is the last thing `docker system prune` asks about."""
    await call.request.json(200, {"CachesDeleted": [], "SpaceReclaimed": 0})


_SWARM = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
_NOT_YET = (
    ("POST", "/build"),
    ("POST", "/build/cancel"),
    ("POST", "/session"),
    ("POST", "/grpc"),
    ("HEAD", "/containers/{name}/archive"),
    ("GET", "/containers/{name}/archive"),
    ("PUT", "/containers/{name}/archive"),
    ("GET", "/containers/{name}/checkpoints"),
    ("POST", "/containers/{name}/checkpoints"),
    ("GET", "/distribution/{name:any}/json"),
    ("POST", "/networks/{name}/connect"),
    ("POST", "/networks/{name}/disconnect"),
    ("POST", "/plugins/create"),
    ("POST", "/plugins/pull"),
    ("GET", "/plugins/privileges"),
    ("POST", "/swarm/init"),
    ("POST", "/swarm/join"),
)
routes = (
    *(Route(method, path, not_there_yet) for method, path in _NOT_YET),
    Route("POST", "/build/prune", no_cache_pruned),
    Route("GET", "/plugins", no_plugins),
    Route("GET", "/plugins/{name:any}/json", no_such_plugin),
    Route("POST", "/swarm/leave", not_part_of_a_swarm),
    *(Route(method, f"/{name}", not_a_manager) for name in _SWARM for method in ("GET", "POST")),
    *(
        Route(method, f"/{name}/{{rest:any}}", not_a_manager)
        for name in _SWARM
        for method in ("GET", "POST", "DELETE")
    ),
)
