"""Restart policies, decided. Pure. Facts: moby daemon/internal/restartmanager."""

from havre.engine.container import State
from havre.spec.engine import RestartPolicy

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 60.0
LONG_RUN_S = 10.0  # a run this long forgets the earlier failures


def next_pause_s(last_s: float, ran_s: float) -> float:
    """Return how long to wait before the next start: 100 ms, doubled each time, at most a minute."""
    if ran_s >= LONG_RUN_S or last_s == 0:
        return FIRST_PAUSE_S
    return min(last_s * 2, LONGEST_PAUSE_S)


def wants_restart(policy: RestartPolicy | None, state: State) -> bool:
    """Say whether an ended container is to be started again while the daemon runs."""
    name = (policy.name if policy else None) or "no"
    if state.stopped_by_user or name == "no":
        return False
    if name == "on-failure":
        most = (policy.maximum_retry_count if policy else None) or 0
        return state.exit_code != 0 and (most == 0 or state.restart_count < most)
    return True


def wants_start_at_boot(policy: RestartPolicy | None, state: State) -> bool:
    """Say whether a container that is down is to be started when the daemon starts."""
    name = (policy.name if policy else None) or "no"
    if name == "always":
        return state.status != "created"
    if name == "unless-stopped":
        return state.status != "created" and not state.stopped_by_user
    return state.status != "created" and wants_restart(
        policy, state
    )  # on-failure: it failed while no daemon was there
