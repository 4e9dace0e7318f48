"""Health checks, decided: which kind, how often, what a result means. Pure. Facts: moby daemon/health.go.

Beyond Docker, `Healthcheck.Test` may be ["HTTP", url] or ["TCP", port]: the daemon asks by itself, no process starts. And the label
`havre.health-on-failure` says what becomes of a container that has turned unhealthy: none, restart, stop or kill.
"""

from havre.engine.container import Health, HealthResult, State
from havre.engine.healthurl import parse_port, parse_url
from havre.errors import InvalidParameter
from havre.spec.engine import ContainerConfig, HealthConfig

ON_FAILURE_LABEL = "havre.health-on-failure"
ON_FAILURE = ("none", "restart", "stop", "kill")
KINDS = ("CMD", "CMD-SHELL", "HTTP", "TCP")
LOG_ENTRIES = 5
MILLISECOND, SECOND = 1_000_000, 1_000_000_000
INTERVAL, TIMEOUT, START_INTERVAL, RETRIES = 30 * SECOND, 30 * SECOND, 5 * SECOND, 3  # Docker's defaults
_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start_period": "StartPeriod",
    "start_interval": "StartInterval",
}


def kind(check: HealthConfig | None) -> str:
    """Return one of KINDS, or "" when nothing is to be probed."""
    test = (check.test if check else None) or ["NONE"]
    return test[0] if test[0] in KINDS else ""


def validate(config: ContainerConfig) -> list[str]:
    """Check the container's own health check and label; return warnings. Raises InvalidParameter in Docker's words."""
    wanted = (config.labels or {}).get(ON_FAILURE_LABEL, "none")
    if wanted not in ON_FAILURE:
        raise InvalidParameter(
            f"invalid value {wanted!r} of label {ON_FAILURE_LABEL}", hint=", ".join(ON_FAILURE)
        )
    check = config.healthcheck
    if check is None:
        return []
    for field, name in _DURATIONS.items():
        if (value := getattr(check, field) or 0) and value < MILLISECOND:
            raise InvalidParameter(f"{name} in Healthcheck cannot be less than 1ms")
    if (check.retries or 0) < 0:
        raise InvalidParameter("Retries in Healthcheck cannot be negative")
    return _check_test(check.test or ["NONE"])


def _check_test(test: list[str]) -> list[str]:
    word = test[0]
    if word in KINDS and (len(test) < 2 or not test[1]):
        raise InvalidParameter(f"{word} in Healthcheck needs something to run", hint='["CMD-SHELL", "true"]')
    if word in ("HTTP", "TCP"):
        if len(test) > 2:
            raise InvalidParameter(f"{word} in Healthcheck takes one word: {' '.join(test[1:])!r}")
        (parse_url if word == "HTTP" else parse_port)(test[1])
    elif word not in (*KINDS, "NONE"):
        return [f"unknown type {word!r} of health check (expected {', '.join(KINDS)}): health is not checked"]
    return []


def command(check: HealthConfig, shell: list[str] | None) -> list[str]:
    """The words of an exec probe; CMD-SHELL goes through the image's SHELL."""
    words = (check.test or [])[1:]
    return [*(shell or ["/bin/sh", "-c"]), *words] if kind(check) == "CMD-SHELL" else words


def timeout_s(check: HealthConfig) -> float:
    return (check.timeout or TIMEOUT) / SECOND


def pause_s(check: HealthConfig, state: State, now_nanos: int) -> float:
    """How long to wait before the next probe: the start interval until it is healthy or its start period is over."""
    health = state.health or Health()
    starting = now_nanos - state.started_nanos < (check.start_period or 0) and health.status == "starting"
    return ((check.start_interval or START_INTERVAL) if starting else (check.interval or INTERVAL)) / SECOND


def begin(check: HealthConfig | None, before: Health | None) -> Health | None:
    """Health of a container that has just started: the log goes on, the rest begins anew."""
    if not kind(check):
        return None
    return Health(log=before.log if before else [])


def end(health: Health | None) -> Health | None:
    """Health of a container that is down: Docker calls it unhealthy."""
    return Health("unhealthy", health.failing_streak, health.log) if health else None


def take_in(check: HealthConfig, state: State, result: HealthResult) -> Health:
    """Return the health after one more result."""
    before = state.health or Health()
    log = [*before.log, result][-LOG_ENTRIES:]
    if result.exit_code == 0:
        return Health("healthy", 0, log)
    early = result.start_nanos - state.started_nanos < (check.start_period or 0)
    if before.status == "starting" and early:
        return Health(before.status, before.failing_streak, log)
    streak = before.failing_streak + 1
    return Health("unhealthy" if streak >= (check.retries or RETRIES) else before.status, streak, log)


def on_failure(config: ContainerConfig) -> str:
    return (config.labels or {}).get(ON_FAILURE_LABEL, "none")
