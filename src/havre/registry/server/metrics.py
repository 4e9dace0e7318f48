"""Counters of what was asked and answered, in Prometheus' text format under docker-registry's names."""

import time
from collections import Counter
from collections.abc import Callable

from havre import log
from havre.http.server import Handler, Request

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counts by handler, method and status."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[tuple[str, str]] = Counter()
        self._buckets: Counter[tuple[str, str, float]] = Counter()
        self._running: Counter[str] = Counter()

    def around(self, handle: Handler, *, access_log: bool) -> Handler:
        """Return `handle`, counted and, if wished, logged one line a request."""

        async def counted(request: Request) -> None:
            kind, start = kind_of(request.path), self._clock()
            self._running[kind] += 1
            try:
                await handle(request)
            finally:
                self._running[kind] -= 1
                took = self._clock() - start
                self._count(kind, request, took)
                if access_log:
                    ms = round(took * 1000, 1)
                    log.info(
                        "request", method=request.method, path=request.path, status=request.status, ms=ms
                    )

        return counted

    def _count(self, kind: str, request: Request, took: float) -> None:
        method = (
            request.method.lower()
            if request.method in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE")
            else "other"
        )
        self._requests[kind, method, request.status] += 1
        self._seconds[kind, method] += took  # type: ignore[assignment]
        for edge in BUCKETS_S:
            if took <= edge:
                self._buckets[kind, method, edge] += 1

    def text(self) -> str:
        """Return all of it (prometheus.io/docs/instrumenting/exposition_formats)."""
        total = "registry_http_requests_total"
        lines = [f"# TYPE {total} counter"]
        for (kind, method, status), count in sorted(self._requests.items()):
            lines.append(f'{total}{{code="{status}",handler="{kind}",method="{method}"}} {count}')
        lines += self._durations()
        running = "registry_http_in_flight_requests"
        lines.append(f"# TYPE {running} gauge")
        lines += [f'{running}{{handler="{kind}"}} {count}' for kind, count in sorted(self._running.items())]
        return "\n".join(lines) + "\n"

    def _durations(self) -> list[str]:
        name = "registry_http_request_duration_seconds"
        lines = [f"# TYPE {name} histogram"]
        for (kind, method), spent in sorted(self._seconds.items()):
            labels = f'handler="{kind}",method="{method}"'
            count = sum(self._requests[key] for key in self._requests if key[:2] == (kind, method))
            for edge in BUCKETS_S:
                lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {self._buckets[kind, method, edge]}')
            lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {count}')
            lines.append(f"{name}_sum{{{labels}}} {spent:.6f}")
            lines.append(f"{name}_count{{{labels}}} {count}")
        return lines


def kind_of(path: str) -> str:
    """Return docker-registry's name of the handler a path leads to."""
    if path in ("/v2/", "/v2"):
        return "base"
    if path == "/v2/_catalog":
        return "catalog"
    if "/blobs/uploads" in path:
        return "blob_upload" if path.rstrip("/").endswith("/uploads") else "blob_upload_chunk"
    for word, kind in (
        ("/manifests/", "manifest"),
        ("/blobs/", "blob"),
        ("/tags/list", "tags"),
        ("/referrers/", "referrers"),
    ):
        if word in path:
            return kind
    return "other"
