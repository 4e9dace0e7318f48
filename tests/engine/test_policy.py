"""Restart policies, decided."""

from havre.engine.container import State
from havre.engine.policy import next_pause_s, wants_restart, wants_start_at_boot
from havre.spec.engine import RestartPolicy


def test_pause_doubles_to_a_minute_and_forgets_after_a_long_run() -> None:
    pause, seen = 0.0, []
    for _ in range(12):
        pause = next_pause_s(pause, 1)
        seen.append(pause)
    assert seen[:3] == [0.1, 0.2, 0.4]
    assert seen[-1] == 60.0
    assert next_pause_s(60.0, 11) == 0.1


def test_on_failure_counts_and_user_stops_win() -> None:
    policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
    assert wants_restart(policy, State(exit_code=1, restart_count=1))
    assert not wants_restart(policy, State(exit_code=1, restart_count=2))
    assert not wants_restart(policy, State(exit_code=0))
    assert not wants_restart(RestartPolicy(name="always"), State(exit_code=1, stopped_by_user=True))
    assert not wants_restart(None, State(exit_code=1))


def test_boot_starts_always_even_when_stopped_but_never_what_was_only_created() -> None:
    stopped = State(status="exited", stopped_by_user=True)
    assert wants_start_at_boot(RestartPolicy(name="always"), stopped)
    assert not wants_start_at_boot(RestartPolicy(name="unless-stopped"), stopped)
    assert not wants_start_at_boot(RestartPolicy(name="always"), State())
