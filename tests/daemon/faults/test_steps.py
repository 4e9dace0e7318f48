"""A fault in front of every step of every verb: kill -9, SIGTERM, a full disk, a broken one.

Afterwards each thing is as before or as after, and nothing is left.

A few steps of each verb run always; HAVRE_EVERY_STEP=1 takes all of them (some minutes).
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
EVERY = bool(os.environ.get("HAVRE_EVERY_STEP"))
ALWAYS = 1  # steps of each verb in an ordinary run, always the same ones
PORT = {"PortBindings": {"80/tcp": [{"HostPort": "18080"}]}}
WAIT_S = 20
REGISTRY = "127.0.0.1:5000"
LISTENS = """
import socket, time
until = time.monotonic() + 20
while socket.socket().connect_ex(("127.0.0.1", 5000)) and time.monotonic() < until: time.sleep(0.02)
"""


class Verb(NamedTuple):
    """`act` is what the kill interrupts; `seen` tells what is there of it afterwards, one of `whole`."""

    prepare: Callable[[Any], Any]
    act: Callable[[Any], Any]
    seen: Callable[[Any], Any]
    whole: tuple[Any, ...]


def nothing(bed: Any) -> None:
    pass


def status(bed: Any) -> str:
    """How it stands, when a removal that goes on in the background is over."""
    end = time.monotonic() + WAIT_S
    while (found := bed.api.status("xx")) == "removing":
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def removed(bed: Any) -> str:
    """The same for --rm, which begins when the stop has been answered."""
    end = time.monotonic() + WAIT_S
    while (found := status(bed)) == "exited":
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def created(bed: Any) -> None:
    bed.api.create("xx", "sleep", "60", **PORT).ok()


def running(bed: Any) -> None:
    created(bed)
    bed.api.post("/containers/xx/start").ok()


def once(bed: Any) -> None:
    bed.api.create("xx", "sleep", "60", AutoRemove=True, **PORT).ok()
    bed.api.post("/containers/xx/start").ok()


def start_exec(bed: Any) -> None:
    made = bed.api.post("/containers/xx/exec", {"Cmd": ["sleep", "50"]})
    if made.status == 201:
        bed.api.post(f"/exec/{made.json['Id']}/start", {"Detach": True})


def run_to_end(bed: Any) -> None:
    if bed.api.post("/containers/xx/start").status:
        bed.api.post("/containers/xx/wait")


def names(bed: Any) -> str:
    return " ".join(sorted(one["Names"][0] for one in bed.api.get("/containers/json?all=1").json))


def tags(bed: Any) -> str:
    return " ".join(sorted(tag for one in bed.api.get("/images/json").json for tag in one["RepoTags"]))


def networks(bed: Any) -> str:
    return " ".join(sorted(one["Name"] for one in bed.api.get("/networks").json if one["Name"] == "nn"))


def import_image(bed: Any) -> None:
    bed.api.ask("POST", "/images/create?fromSrc=-&repo=other", bed.small, "application/x-tar")


def load_image(bed: Any) -> None:
    bed.api.ask("POST", "/images/load", bed.saved, "application/x-tar")


def pull(bed: Any) -> None:
    if not bed.registry:
        pytest.skip("docker-registry is not installed")
    bed.api.post(f"/images/create?fromImage={REGISTRY}/other&tag=latest")


VERBS = {
    "create": Verb(
        nothing, lambda bed: bed.api.create("xx", "sleep", "60", **PORT), status, ("gone", "created")
    ),
    "start": Verb(created, lambda bed: bed.api.post("/containers/xx/start"), status, ("created", "running")),
    "create in a user namespace": Verb(
        nothing,
        lambda bed: bed.api.create("xx", "sleep", "60", UsernsMode="auto"),
        status,
        ("gone", "created"),
    ),
    "start in a user namespace": Verb(
        lambda bed: bed.api.create("xx", "sleep", "60", UsernsMode="auto").ok(),
        lambda bed: bed.api.post("/containers/xx/start"),
        status,
        ("created", "running"),
    ),
    "run to end": Verb(
        lambda bed: bed.api.create("xx", "true", **PORT).ok(),
        run_to_end,
        status,
        ("created", "exited", "running"),
    ),
    "exec": Verb(running, start_exec, status, ("running",)),
    "stop": Verb(running, lambda bed: bed.api.post("/containers/xx/stop?t=0"), status, ("running", "exited")),
    "kill": Verb(running, lambda bed: bed.api.post("/containers/xx/kill"), status, ("running", "exited")),
    "stop --rm": Verb(
        once, lambda bed: bed.api.post("/containers/xx/stop?t=0"), removed, ("running", "gone")
    ),
    "restart": Verb(
        running, lambda bed: bed.api.post("/containers/xx/restart?t=0"), status, ("running", "exited")
    ),
    "pause": Verb(running, lambda bed: bed.api.post("/containers/xx/pause"), status, ("running", "paused")),
    "rm": Verb(created, lambda bed: bed.api.delete("/containers/xx"), status, ("created", "gone")),
    "rm -f": Verb(
        running, lambda bed: bed.api.delete("/containers/xx?force=1"), status, ("running", "exited", "gone")
    ),
    "rename": Verb(
        created,
        lambda bed: bed.api.post("/containers/xx/rename?name=yy"),
        names,
        ("/witness /xx", "/witness /yy"),
    ),
    "tag": Verb(
        nothing,
        lambda bed: bed.api.post("/images/busybox/tag?repo=other"),
        tags,
        ("busybox:latest", "busybox:latest other:latest"),
    ),
    "import": Verb(nothing, import_image, tags, ("busybox:latest", "busybox:latest other:latest")),
    "load": Verb(nothing, load_image, tags, ("busybox:latest", "busybox:latest other:latest")),
    "pull": Verb(nothing, pull, tags, ("busybox:latest", f"{REGISTRY}/other:latest busybox:latest")),
    "rmi": Verb(
        import_image,
        lambda bed: bed.api.delete("/images/other"),
        tags,
        ("busybox:latest", "busybox:latest other:latest"),
    ),
    "network create": Verb(
        nothing, lambda bed: bed.api.post("/networks/create", {"Name": "nn"}), networks, ("", "nn")
    ),
    "network rm": Verb(
        lambda bed: bed.api.post("/networks/create", {"Name": "nn"}).ok(),
        lambda bed: bed.api.delete("/networks/nn"),
        networks,
        ("nn", ""),
    ),
}


def clean(bed: Any) -> None:
    """Take away what the verb made, the ordinary way."""
    for name in ("xx", "yy"):
        end = time.monotonic() + WAIT_S
        while bed.api.delete(f"/containers/{name}?force=1").status == 409:  # its --rm is at it
            assert time.monotonic() < end
            time.sleep(0.02)
    for name in ("other", f"{REGISTRY}/other"):
        if f"{name}:latest" in tags(bed).split():
            bed.api.delete(f"/images/{name}").ok()
    if networks(bed):
        bed.api.delete("/networks/nn").ok()


def steps_of(bed: Any, verb: Verb) -> list[str]:
    """What a run of the verb does when nothing happens to it."""
    verb.prepare(bed)
    bed.order("count")
    verb.act(bed)
    found = bed.order("off")
    clean(bed)
    return found


@pytest.fixture(scope="module")
def tested(bed: Any, make_archive: Any) -> Iterator[Any]:
    """The bed with a running container that nobody touches, and what the image verbs send."""
    bed.small = make_archive("small")
    bed.api.ask("POST", "/images/create?fromSrc=-&repo=other", bed.small, "application/x-tar").ok()
    bed.saved = bed.api.get("/images/other/get").ok().data
    bed.registry = start_registry(bed)
    if bed.registry:
        bed.api.post(f"/images/other/tag?repo={REGISTRY}/other").ok()
        assert b"errorDetail" not in bed.api.post(f"/images/{REGISTRY}/other/push?tag=latest").ok().data
    clean(bed)
    key = bed.api.run("witness", "ping", "127.0.0.1")
    bed.witness = bed.api.inspect(key)["State"]["Pid"]
    bed.before = bed.census()
    yield bed
    if bed.registry:
        bed.registry.kill()
        bed.registry.wait()


def start_registry(bed: Any) -> Any:
    """docker-registry in the daemon's network namespace; None where there is none."""
    if not (program := shutil.which("docker-registry")):
        return None
    folder, config = bed.root / "registry", bed.root / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(folder)}}
    http = {"addr": REGISTRY}
    config.write_text(
        json.dumps({"version": 0.1, "log": {"level": "error"}, "storage": storage, "http": http})
    )
    words = [*bed.daemon.inside(), program, "serve", str(config)]
    registry = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    subprocess.run([*bed.daemon.inside(), sys.executable, "-c", LISTENS], check=True)
    return registry


def chosen(name: str, count: int, always: int) -> list[int]:
    """All steps, or a few that are the same each time."""
    if EVERY:
        return list(range(1, count + 1))
    first = zlib.crc32(name.encode()) % count
    return sorted({1 + (first + each * count // always) % count for each in range(always)})


SOON = (
    "start",
    "run to end",
    "exec",
    "rm -f",
    "load",
    "network create",
)  # verbs that get a SIGTERM in an ordinary run
ENDS = [
    (name, fault) for name in VERBS for fault in ("kill", "term") if fault == "kill" or EVERY or name in SOON
]


@pytest.mark.parametrize(("name", "fault"), ENDS)
def test_ended_at_any_step_it_is_as_before_or_as_after(tested: Any, name: str, fault: str) -> None:
    bed, verb = tested, VERBS[name]
    bed.again()
    clean(bed)
    seen = steps_of(bed, verb)
    assert seen, "a verb without a step"
    numbers = chosen(name, len(seen), ALWAYS)
    for number in numbers:
        verb.prepare(bed)
        bed.order(fault, number)
        verb.act(bed)
        where = f"{name}, {fault} at step {number} of {len(seen)}: {seen[number - 1]}"
        assert bed.daemon._process.wait(WAIT_S) == (-signal.SIGKILL if fault == "kill" else 0), where
        bed.again()
        assert verb.seen(bed) in verb.whole, where
        assert bed.api.inspect("witness")["State"]["Pid"] == bed.witness, where
        assert bed.api.exec("witness", "echo", "here") == (0, b"here\r\n"), where
        if name == "pull":
            verb.act(bed)  # blobs that came stay for another try, which goes on there
        clean(bed)
        try:
            bed.settle(bed.before)
        except AssertionError as error:
            raise AssertionError(where) from error


ERRORS = {"full": errno.ENOSPC, "fail": errno.EIO}  # from that step on; at that step only
REMOVE = (
    "rm",
    "rm -f",
    "stop --rm",
)  # what cannot be removed is dead, and can be removed later, as in Docker
NAMED = (b"space left", b"is full", b"i/o error", b"input/output error")


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("name", VERBS)
def test_disk_that_fails_at_any_step_is_named_and_leaves_nothing_half_made(
    tested: Any, name: str, fault: str
) -> None:
    bed, verb = tested, VERBS[name]
    clean(bed)
    seen = steps_of(bed, verb)
    for number in chosen(name, len(seen), 2):
        verb.prepare(bed)
        bed.order(fault, number, ERRORS[fault])
        bed.api.answers.clear()
        verb.act(bed)
        done = bed.order("off")
        where = f"{name}, step {number} of {len(seen)}: {done[number - 1] if number <= len(done) else '-'}"
        for answer in bed.api.answers:
            assert answer.status, where
            assert b"internal error" not in answer.data and b"Traceback" not in answer.data, (
                where,
                answer.data,
            )
            if answer.status >= 500 or b"errorDetail" in answer.data:
                assert any(word in answer.data.lower() for word in NAMED), (where, answer.data)
        assert verb.seen(bed) in (*verb.whole, *(["dead"] if name in REMOVE else [])), where
        assert bed.api.exec("witness", "echo", "here") == (0, b"here\r\n"), where
        if name == "pull":
            verb.act(bed)
        clean(bed)
        try:
            bed.settle(bed.before)
        except AssertionError as error:
            raise AssertionError(where) from error
