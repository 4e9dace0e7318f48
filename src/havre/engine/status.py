"""A container's state in Docker's words. Pure."""

from havre.clock import rfc3339
from havre.engine.container import Health, State
from havre.units import human_age


def status_line(state: State, now_nanos: int) -> str:
    """Return "Up 5 seconds", "Exited (0) 3 minutes ago", "Created", ..."""
    if state.status in ("running", "paused"):
        up = f"Up {human_age((now_nanos - state.started_nanos) / 1e9)}"
        if state.status == "paused":
            return f"{up} (Paused)"
        return f"{up} ({_health_words(state.health)})" if state.health else up
    ended = f"{human_age((now_nanos - state.finished_nanos) / 1e9)} ago"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ended}"
    if state.status == "removing":
        return "Removal In Progress"
    if state.status == "dead":
        return "Dead"
    return f"Exited ({state.exit_code}) {ended}" if state.status == "exited" else "Created"


def _health_words(health: Health) -> str:
    return "health: starting" if health.status == "starting" else health.status


def health_dict(health: Health) -> dict[str, object]:
    """Return State.Health of inspect."""
    return {
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": [
            {
                "Start": rfc3339(one.start_nanos),
                "End": rfc3339(one.end_nanos),
                "ExitCode": one.exit_code,
                "Output": one.output,
            }
            for one in health.log
        ],
    }


def state_dict(state: State) -> dict[str, object]:
    """Return State of inspect; booleans beside the status, as old clients read them."""
    return {
        "Status": state.status,
        "Running": state.status in ("running", "paused", "restarting"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": rfc3339(state.started_nanos),
        "FinishedAt": rfc3339(state.finished_nanos),
        **({"Health": health_dict(state.health)} if state.health else {}),
    }
