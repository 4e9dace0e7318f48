"""Every verb in every state: status and words, ours and a real dockerd's."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import RealDocker
from .wire import call, events, make, state

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
STATES = ("created", "running", "paused", "restarting", "exited")
SLEEP = ["sleep", "1000"]
# Words of Docker 28. What dockerd 20.10 (Debian 12) says otherwise but for capitals stands in OLD_WORDS.
NOT_RUNNING = (409, "container <ID> is not running")
RESTARTING = (409, "container <ID> is restarting, wait until the container is running")
PAUSED = "container <NAME> is paused, unpause the container before {}"
RM = 'cannot remove container "/<NAME>": container is {}: stop the container before removing or force remove'
RM_PAUSED = 'cannot remove container "/<NAME>": container is paused and must be unpaused first'
NO_NAME = (
    "Error when allocating new name: Invalid container name (/!), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
)
SAME_NAME = "Renaming a container with the same name as its current name"
OK = (204, "")
UNCHANGED = (304, "")
Answer = tuple[int, str | None]  # None: any answer
DOWN = {"created": NOT_RUNNING, "exited": NOT_RUNNING}
NOT_KILLED = (409, "cannot kill container: <NAME>: container <ID> is not running")
NOT_PAUSED = (500, "container <ID> is not paused")


def everywhere(answer: Answer) -> dict[str, Answer]:
    return dict.fromkeys(STATES, answer)


# verb: (method, path behind the name, body, {state: answer}, {state: state afterwards, when it changes})
TABLE: dict[str, tuple[str, str, Any, dict[str, Answer], dict[str, str]]] = {
    "start": (
        "POST",
        "/start",
        None,
        {
            **{"created": OK, "exited": OK, "running": UNCHANGED, "restarting": UNCHANGED},
            "paused": (409, "cannot start a paused container, try unpause instead"),
        },
        {"created": "running", "exited": "running"},
    ),
    "stop": (
        "POST",
        "/stop?t=0",
        None,
        {**everywhere(OK), "created": UNCHANGED, "exited": UNCHANGED},
        {"running": "exited", "paused": "exited", "restarting": "exited"},
    ),
    "restart": (
        "POST",
        "/restart?t=0",
        None,
        everywhere(OK),
        {"created": "running", "paused": "running", "exited": "running"},
    ),
    "kill": (
        "POST",
        "/kill",
        None,
        {**everywhere(OK), "created": NOT_KILLED, "exited": NOT_KILLED},
        {"running": "exited", "paused": "exited", "restarting": "exited"},
    ),
    "kill with a signal nobody knows": (
        "POST",
        "/kill?signal=NOPE",
        None,
        everywhere((400, "Invalid signal: NOPE")),
        {},
    ),
    "kill with HUP": (
        "POST",
        "/kill?signal=HUP",
        None,
        {**everywhere(OK), "created": NOT_KILLED, "exited": NOT_KILLED},
        {},
    ),
    "pause": (
        "POST",
        "/pause",
        None,
        {
            **DOWN,
            "running": OK,
            "paused": (409, "container <ID> is already paused"),
            "restarting": RESTARTING,
        },
        {"running": "paused"},
    ),
    "unpause": ("POST", "/unpause", None, {**everywhere(NOT_PAUSED), "paused": OK}, {"paused": "running"}),
    "rename": ("POST", "/rename?name=other", None, everywhere(OK), {}),
    "rename to the same": ("POST", "/rename?name=<NAME>", None, everywhere((400, SAME_NAME)), {}),
    "rename to nothing": (
        "POST",
        "/rename?name=",
        None,
        everywhere((400, "Neither old nor new names may be empty")),
        {},
    ),
    "rename to what is no name": ("POST", "/rename?name=!", None, everywhere((400, NO_NAME)), {}),
    "update": ("POST", "/update", {"CpuShares": 512}, everywhere((200, None)), {}),
    "exec": (
        "POST",
        "/exec",
        {"Cmd": ["true"]},
        {**DOWN, "running": (201, None), "paused": (409, PAUSED.format("exec")), "restarting": RESTARTING},
        {},
    ),
    "resize": (
        "POST",
        "/resize?h=1&w=1",
        None,
        {**DOWN, "running": (200, ""), "paused": (200, ""), "restarting": RESTARTING},
        {},
    ),
    "top": (
        "GET",
        "/top",
        None,
        {**DOWN, "running": (200, None), "paused": (200, None), "restarting": RESTARTING},
        {},
    ),
    "attach": (
        "POST",
        "/attach?stdout=1",
        None,
        {
            **{"created": (200, None), "running": (200, None), "exited": (200, None)},
            "paused": (409, PAUSED.format("attach")),
            "restarting": (409, "container <NAME> is restarting, wait until the container is running"),
        },
        {},
    ),
    "rm": (
        "DELETE",
        "",
        None,
        {
            **{"created": OK, "exited": OK, "paused": (409, RM_PAUSED)},
            **{"running": (409, RM.format("running")), "restarting": (409, RM.format("restarting"))},
        },
        {"created": "gone", "exited": "gone"},
    ),
    "rm -f": ("DELETE", "?force=1", None, everywhere(OK), dict.fromkeys(STATES, "gone")),
}
OLD_WORDS = {
    RM_PAUSED: "You cannot remove a paused container <ID>. "
    "Unpause and then stop the container before attempting removal or force remove",
    RM.format("running"): "You cannot remove a running container <ID>. "
    "Stop the container before attempting removal or force remove",
    RM.format("restarting"): "You cannot remove a restarting container <ID>. "
    "Stop the container before attempting removal or force remove",
}
# Where we differ on purpose, or where 20.10 has a fault that later versions do not have.
DIFFERENT = {
    ("kill with HUP", "paused"): "a signal that does not end it must not let it run",
    ("kill with HUP", "restarting"): "nor end it",
    ("rename", "restarting"): "dockerd looks for a network sandbox that is not there",
    ("resize", "restarting"): "dockerd looks for a task that is not there",
}


def bring(path: str, wanted: str) -> str:
    """Make a container named vv in a state; return its id."""
    if wanted == "restarting":
        with events(path, container=["v"]) as seen:
            made = make(path, "vv", ["false"], {"RestartPolicy": {"Name": "always"}})
            seen.until("die", 5)  # the next start is 1.6 s away
        return made
    if wanted == "created":
        body = {"Image": "busybox", "Cmd": SLEEP, "HostConfig": {"NetworkMode": "none"}, "StopTimeout": 0}
        status, answer = call(path, "POST", "/containers/create?name=vv", body)
        assert status == 201, answer
        return str(answer["Id"])
    made = make(path, "vv", SLEEP)
    verb = {"paused": "pause", "exited": "kill"}.get(wanted)
    if verb:
        assert call(path, "POST", f"/containers/vv/{verb}")[0] == 204
    assert state(path, "vv")["Status"] == wanted
    return made


def ask(path: str, verb: str, before: str) -> tuple[int, str, str]:
    """Do a verb in a state; return (status, words, state afterwards), and leave nothing."""
    made = bring(path, before)
    method, behind, body, *_ = TABLE[verb]
    try:
        status, answer = call(path, method, f"/containers/vv{behind.replace('<NAME>', 'vv')}", body)
        words = answer if isinstance(answer, str) else json.dumps(answer)
        found, shown = call(path, "GET", f"/containers/{made}/json")
        after = shown["State"]["Status"] if found == 200 else "gone"
    finally:
        call(path, "DELETE", f"/containers/{made}?force=1")
    words = (
        words.replace(made, "<ID>")
        .replace("container: vv:", "container: <NAME>:")
        .replace('"/vv"', '"/<NAME>"')
    )
    return status, re.sub(r"(?i)\b(container) vv is", r"\1 <NAME> is", words).strip(), after


CASES = [(verb, before) for verb in TABLE for before in STATES]


@pytest.mark.parametrize(("verb", "before"), CASES)
def test_verb_answers_as_docker_28(daemon, verb: str, before: str) -> None:
    status, words, after = ask(daemon.socket, verb, before)
    expected, text = TABLE[verb][3][before]
    assert (status, words if text is not None else None) == (expected, text)
    if (verb, before) != ("restart", "restarting"):  # which starts and ends again
        assert after == TABLE[verb][4].get(before, before)


@pytest.fixture(scope="module")
def dockerd(real_docker: RealDocker) -> RealDocker:
    code, _, words = real_docker.docker("import -c 'CMD [\"sh\"]' - busybox", real_docker.rootfs)
    assert code == 0, words
    return real_docker


# A dockerd needs seconds to make a container that waits for its next start, which only some verbs look at.
ASKED = [
    (verb, before)
    for verb, before in CASES
    if (verb, before) not in DIFFERENT
    and (before != "restarting" or len(set(TABLE[verb][3].values())) > 1 or verb == "rm -f")
]


@pytest.mark.compat
@pytest.mark.parametrize(("verb", "before"), ASKED)
def test_a_real_dockerd_answers_the_same(dockerd: RealDocker, verb: str, before: str) -> None:
    status, words, after = ask(dockerd.url.removeprefix("unix://"), verb, before)
    expected, text = TABLE[verb][3][before]
    assert status == expected
    if text is not None:
        assert words.lower() == OLD_WORDS.get(text, text).lower()
    if (verb, before) != ("restart", "restarting"):
        assert after == TABLE[verb][4].get(before, before)


def test_name_in_use_names_its_owner(daemon) -> None:
    owner = make(daemon.socket, "owner", SLEEP)
    made = make(daemon.socket, "vv", SLEEP)
    try:
        status, words = call(daemon.socket, "POST", "/containers/vv/rename?name=owner")
        assert status == 409
        assert words.startswith(
            f'Error when allocating new name: Conflict. The container name "/owner" is already in use by container "{owner}"'
        )
        assert call(daemon.socket, "GET", f"/containers/{made}/json")[1]["Name"] == "/vv"
    finally:
        daemon.docker("rm", "-f", "owner", "vv")


def test_container_that_cannot_be_removed_is_dead_and_can_be_tried_again(daemon) -> None:
    made = make(daemon.socket, "vv", SLEEP)
    place = daemon.root / "data" / "containers" / made / "held"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    try:
        status, words = call(daemon.socket, "DELETE", "/containers/vv?force=1")
        assert status == 500
        assert "held" in words
        assert "havre rm vv" in words
        found = state(daemon.socket, "vv")
        assert (found["Status"], found["Dead"]) == ("dead", True)
        assert "held" in found["Error"]
        assert (
            daemon.docker("ps", "-a", "--filter", "status=dead", "--format", "{{.Names}} {{.Status}}").stdout
            == "vv Dead\n"
        )
        removal = (409, "container is marked for removal and cannot be started")
        assert call(daemon.socket, "POST", "/containers/vv/start") == removal
        status, words = call(daemon.socket, "POST", "/containers/vv/restart")
        assert (status, words) == (409, f"Cannot restart container vv: {removal[1]}")
        status, words = call(daemon.socket, "POST", "/containers/vv/update", {"CpuShares": 2})
        assert (status, words) == (
            409,
            f'Cannot update container {made}: container is marked for removal and cannot be "update"',
        )
        assert call(daemon.socket, "POST", "/containers/vv/stop")[0] == 304
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert call(daemon.socket, "DELETE", "/containers/vv")[0] == 204
    assert not Path(place.parent).exists()
