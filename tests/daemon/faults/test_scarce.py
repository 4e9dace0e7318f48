"""What the host gives runs out: space, descriptors, processes. Every answer says so, and all works again without a restart."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.slow]
WAIT_S = 20
PIDS = Path("/sys/fs/cgroup/pids")
SIZE = "48m"


@pytest.fixture
def small(make_daemon: Any, make_bed: Any, tmp_path: Path) -> Iterator[Any]:
    """A bed whose data root is a small tmpfs, with containers to do things to."""
    data = tmp_path / "data"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(data)]).returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        yield from make_bed(make_daemon, tmp_path, faulty=False)
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)


def fill(bed: Any, left: int = 0) -> Path:
    """Leave so many bytes on the data root's disk, at most."""
    filler = bed.root / "data/filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(fd, bytes(65536)):
            pass
    except OSError:
        os.ftruncate(fd, max(0, os.fstat(fd).st_size - left))
    os.close(fd)
    return filler


def refused_clearly(answer: Any) -> bool:
    """False when it worked; a failure must say what is missing."""
    text = answer.data.lower()
    if answer.status < 400 and b"errordetail" not in text:
        return False
    assert b"internal error" not in text and b"traceback" not in text and b"error(" not in text, answer.data
    assert b"space left" in text or b"is full" in text, answer.data
    return True


def test_full_disk_refuses_what_needs_space_and_lets_go_what_frees_some(
    small: Any, make_archive: Any
) -> None:
    bed, api = small, small.api
    api.run("runs", "sh", "-c", "while :; do echo line; sleep 0.05; done")
    api.run("stops", "sleep", "100")
    for name in ("made", "goes"):
        api.create(name, "sh", "-c", "echo hello").ok()
    big = make_archive("big")
    api.ask("POST", "/images/create?fromSrc=-&repo=unused", big, "application/x-tar").ok()
    pid = api.inspect("runs")["State"]["Pid"]
    filler = fill(bed)
    asked = [
        api.ask("POST", "/images/create?fromSrc=-&repo=more", make_archive(""), "application/x-tar"),
        api.create("more", "true"),
    ]
    assert all([refused_clearly(one) for one in asked])
    for verb in ("start", "rename?name=renamed"):
        refused_clearly(api.post(f"/containers/made/{verb}"))
    refused_clearly(api.post("/networks/create", {"Name": "nn"}))
    refused_clearly(api.post("/images/busybox/tag?repo=tagged"))
    assert api.exec("runs", "echo", "hi") == (0, b"hi\r\n")
    for verb in ("pause", "unpause"):
        api.post(f"/containers/runs/{verb}").ok()
    api.post("/containers/stops/stop?t=0").ok()
    assert api.status("stops") == "exited"
    bed.again()  # it starts on a full disk, too
    assert api.inspect("runs")["State"]["Pid"] == pid
    api.delete("/containers/goes").ok()
    api.delete("/containers/stops").ok()
    api.delete("/images/unused").ok()
    api.post("/containers/prune").ok()
    api.post("/images/prune").ok()
    filler.unlink()
    api.ask("POST", "/images/create?fromSrc=-&repo=more", make_archive(""), "application/x-tar").ok()
    api.run("after", "sh", "-c", "echo works")
    api.post("/containers/after/wait").ok()
    assert b"works" in api.get("/containers/after/logs?stdout=1").data
    assert api.inspect("runs")["State"]["Pid"] == pid


def test_disk_that_fills_up_between_two_writes_leaves_a_usable_daemon(small: Any, make_archive: Any) -> None:
    """A few more pages free each time, so that another write is the first that fails."""
    bed, api = small, small.api
    api.create("made", "true").ok()
    for pages in range(0, 12, 2):
        filler = fill(bed, pages * 4096)
        api.create("xx", "sleep", "60")
        if api.status("xx") == "created":
            refused_clearly(api.post("/containers/xx/start"))
        api.delete("/containers/xx?force=1")
        assert api.status("xx") == "gone"
        filler.unlink()
        api.post("/containers/made/start").ok()
        api.post("/containers/made/wait").ok()


def test_no_descriptors_left_is_said_and_passes(own_bed: Any) -> None:
    bed, api = own_bed, own_bed.api
    api.run("runs", "sleep", "100")
    api.create("made", "sleep", "100").ok()
    before = resource.prlimit(bed.daemon.pid, resource.RLIMIT_NOFILE)
    connection = api.connect()
    connection.request("GET", "/_ping")
    connection.getresponse().read()
    folder = f"/proc/{bed.daemon.pid}/fd"
    refusals = 0
    for spare in range(8):
        used = max(int(each) for each in os.listdir(folder)) + 1
        resource.prlimit(bed.daemon.pid, resource.RLIMIT_NOFILE, (used + spare, before[1]))
        for path in ("/containers/made/start", "/containers/runs/kill?signal=0", "/containers/made/stop?t=0"):
            connection.request("POST", path)
            reply = connection.getresponse()
            data = reply.read()
            assert b"internal error" not in data and b"Traceback" not in data, data
            refusals += b"too many open files" in data
    resource.prlimit(bed.daemon.pid, resource.RLIMIT_NOFILE, before)
    assert refusals
    connection.close()
    api.post("/containers/made/start")
    assert api.status("made") == "running"
    assert api.exec("runs", "echo", "hi") == (0, b"hi\r\n")


@pytest.fixture
def pids_group() -> Iterator[Path]:
    """A control group of ours that limits processes."""
    if not (PIDS / "cgroup.procs").exists():
        pytest.skip("needs the pids controller in v1")
    group = PIDS / f"havre-test-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "pids.max").write_text("max")
    for pid in (group / "cgroup.procs").read_text().split():
        (PIDS / "cgroup.procs").write_text(pid)
    group.rmdir()


def test_no_processes_left_is_said_and_passes(own_bed: Any, pids_group: Path) -> None:
    bed, api = own_bed, own_bed.api
    api.run("runs", "sleep", "100")
    api.run("made", "sleep", "100")
    api.post("/containers/made/kill").ok()
    before = bed.census()
    before["processes"] = ["havre-monitor", "havre-zygote", "havred", "sleep"]
    children = Path(f"/proc/{bed.daemon.pid}/task/{bed.daemon.pid}/children").read_text().split()
    for pid in (str(bed.daemon.pid), *children):
        (pids_group / "cgroup.procs").write_text(pid)
    refusals = 0
    for spare in range(6):
        now = int((pids_group / "pids.current").read_text())
        (pids_group / "pids.max").write_text(str(now + spare))
        answer = api.post("/containers/made/start")
        (pids_group / "pids.max").write_text("max")
        if answer.status >= 400:
            refusals += 1
            assert b"temporarily unavailable" in answer.data, answer.data
            assert b"internal error" not in answer.data and b"Traceback" not in answer.data
            assert api.status("made") in ("created", "exited")
        api.post("/containers/made/kill")
        bed.settle(before)
    assert refusals
    api.post("/containers/made/start").ok()
    assert api.exec("made", "echo", "hi") == (0, b"hi\r\n")


# readers that do not read


def rss_kib(pid: int) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1])


def test_event_reader_that_stops_reading_costs_a_bounded_amount(own_bed: Any) -> None:
    bed, api = own_bed, own_bed.api
    key = api.create("xx", "true").ok().json["Id"]
    stalled = [api.connect() for _ in range(3)]
    for one in stalled:
        one.request("GET", "/events")
        one.getresponse()
    before = rss_kib(bed.daemon.pid)
    for number in range(3000):
        api.post(f"/containers/{key}/rename?name=c{number % 2}{'y' * 200}").ok()
    assert rss_kib(bed.daemon.pid) - before < 40 << 10
    assert api.get(f"/events?since=1&until={time.time():.0f}").ok().data
    for one in stalled:
        one.close()


def test_hundred_stalled_log_readers_cost_a_bounded_amount(own_bed: Any) -> None:
    bed, api = own_bed, own_bed.api
    script = "i=0; while [ $i -lt 100000 ]; do echo $i aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done; sleep 100"
    api.run("xx", "sh", "-c", script)
    before = rss_kib(bed.daemon.pid)
    stalled = [api.connect() for _ in range(100)]
    for one in stalled:
        one.request("GET", "/containers/xx/logs?stdout=1&follow=1")
    heads = [one.getresponse() for one in stalled]
    last = api.get("/containers/xx/logs?stdout=1&tail=1").ok().data  # others are served
    assert b"aaaa" in last and all(head.status == 200 for head in heads)
    assert rss_kib(bed.daemon.pid) - before < 200 << 10
    for one in stalled:
        one.close()


def test_two_hundred_lives_leave_memory_and_descriptors_as_they_were(own_bed: Any) -> None:
    bed, api = own_bed, own_bed.api
    lives = 2000 if os.environ.get("HAVRE_EVERY_STEP") else 200

    def live(count: int) -> None:
        for _ in range(count):
            api.create("xx", "true").ok()
            api.delete("/containers/xx").ok()

    live(lives)
    folder = f"/proc/{bed.daemon.pid}/fd"
    before, descriptors = rss_kib(bed.daemon.pid), len(os.listdir(folder))
    live(lives)
    assert rss_kib(bed.daemon.pid) - before < 2048
    assert len(os.listdir(folder)) <= descriptors + 2
