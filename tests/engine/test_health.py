"""What a probe's result means, decided."""

import pytest

from havre.engine import health
from havre.engine.container import Health, HealthResult, State
from havre.errors import InvalidParameter
from havre.spec.engine import ContainerConfig, HealthConfig

SECOND = health.SECOND


def result(code: int, at_s: float = 100) -> HealthResult:
    return HealthResult(int(at_s * SECOND), int(at_s * SECOND) + 1, code, str(code))


def after(codes: list[int], check: HealthConfig, at_s: float = 100) -> Health:
    state = State(health=Health())
    for code in codes:
        state.health = health.take_in(check, state, result(code, at_s))
    assert state.health is not None
    return state.health


def test_three_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() -> None:
    check = HealthConfig(test=["CMD", "x"])
    assert after([1, 1], check).status == "starting"
    assert after([1, 1, 1], check) == Health("unhealthy", 3, [result(1)] * 3)
    assert after([0, 1, 1], check).status == "healthy"
    assert after([1, 1, 1, 1, 0], check).status == "healthy"
    assert after([1, 1, 1, 1, 0], check).failing_streak == 0


def test_log_keeps_five() -> None:
    kept = after([1, 2, 3, 4, 5, 6, 7], HealthConfig(test=["CMD", "x"])).log
    assert [one.exit_code for one in kept] == [3, 4, 5, 6, 7]


def test_start_period_forgives_until_the_first_success() -> None:
    check = HealthConfig(test=["CMD", "x"], start_period=200 * SECOND, retries=1)
    assert after([1, 1], check, at_s=100).status == "starting"
    assert after([1, 1], check, at_s=100).failing_streak == 0
    assert after([0, 1], check, at_s=100).status == "unhealthy"
    assert after([1], check, at_s=201).status == "unhealthy"


def test_pauses_are_short_while_it_starts() -> None:
    check = HealthConfig(test=["CMD", "x"], interval=30 * SECOND, start_period=20 * SECOND)
    young, old = State(health=Health()), State(health=Health())
    assert health.pause_s(check, young, 10 * SECOND) == 5
    assert health.pause_s(check, old, 21 * SECOND) == 30
    young.health = Health("healthy")
    assert health.pause_s(check, young, 10 * SECOND) == 30
    assert health.pause_s(HealthConfig(test=["CMD", "x"]), old, 0) == 30


def test_kinds_and_commands() -> None:
    assert health.kind(None) == health.kind(HealthConfig(test=["NONE"])) == health.kind(HealthConfig()) == ""
    assert health.kind(HealthConfig(test=["curl", "x"])) == ""
    shell = HealthConfig(test=["CMD-SHELL", "exit 0"])
    assert health.command(shell, None) == ["/bin/sh", "-c", "exit 0"]
    assert health.command(shell, ["/bin/bash", "-ec"]) == ["/bin/bash", "-ec", "exit 0"]
    assert health.command(HealthConfig(test=["CMD", "a", "b"]), ["/bin/bash"]) == ["a", "b"]


def test_a_start_begins_anew_and_keeps_the_log() -> None:
    check = HealthConfig(test=["CMD", "x"])
    before = Health("unhealthy", 4, [result(1)])
    assert health.begin(check, before) == Health("starting", 0, [result(1)])
    assert health.begin(None, before) is None
    assert health.end(Health("healthy", 0, [])) == Health("unhealthy", 0, [])
    assert health.end(None) is None


@pytest.mark.parametrize("label", ["panic", ""])
def test_unknown_action_is_refused(label: str) -> None:
    with pytest.raises(InvalidParameter, match="none, restart, stop, kill"):
        health.validate(ContainerConfig(labels={health.ON_FAILURE_LABEL: label}))
