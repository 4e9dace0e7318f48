"""In which order containers start when the daemon does: who is joined or depended on comes first, the older before the younger. Pure."""

from collections.abc import Iterable, Mapping

from havre.engine.container import ContainerRecord

PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
DEPENDS_ON = "com.docker.compose.depends_on"  # "db:service_healthy:false,cache:service_started:true"


def order(records: Iterable[ContainerRecord]) -> list[tuple[str, frozenset[str]]]:
    """Return (id, ids among these that come before it); a circle is cut at its oldest member."""
    known = {one.id: one for one in sorted(records, key=lambda one: one.created_nanos)}
    names = {one.name: one.id for one in known.values()}
    services: dict[tuple[str, str], set[str]] = {}
    for one in known.values():
        labels = one.config.labels or {}
        services.setdefault((labels.get(PROJECT, ""), labels.get(SERVICE, "")), set()).add(one.id)
    needs = {key: _needs(one, known, names, services) for key, one in known.items()}
    found: dict[str, frozenset[str]] = {}
    for key in known:
        _place(key, needs, found, set())
    return list(found.items())


def _place(
    key: str, needs: Mapping[str, set[str]], found: dict[str, frozenset[str]], above: set[str]
) -> None:
    if key in found or key in above:
        return
    for other in sorted(needs[key], key=list(needs).index):
        _place(other, needs, found, above | {key})
    found[key] = frozenset(needs[key] & found.keys())


def _needs(
    record: ContainerRecord,
    known: Mapping[str, ContainerRecord],
    names: Mapping[str, str],
    services: Mapping[tuple[str, str], set[str]],
) -> set[str]:
    host, labels = record.host_config, record.config.labels or {}
    joined = [
        mode.partition(":")[2]
        for mode in (host.network_mode, host.pid_mode, host.ipc_mode)
        if mode and mode.startswith("container:")
    ]
    linked = [text.partition(":")[0].removeprefix("/") for text in host.links or []]
    given = [text.partition(":")[0] for text in host.volumes_from or []]
    found = {ref if ref in known else names.get(ref, "") for ref in (*joined, *linked, *given)}
    project = labels.get(PROJECT, "")
    for word in labels.get(DEPENDS_ON, "").split(","):
        if project and word:
            found |= services.get((project, word.partition(":")[0]), set())
    return (found & known.keys()) - {record.id}
