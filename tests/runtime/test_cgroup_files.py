"""Control groups done: on this host's real hierarchies, and on a directory that looks like cgroupfs where the host has no v2."""

import os
import signal
from pathlib import Path

import pytest

from havre.errors import KernelError
from havre.runtime.cgroup import files
from havre.runtime.cgroup.layout import Layout, host_layout
from havre.runtime.cgroup.plan import make_plan

MIB = 1 << 20
# Nothing but os and time may come with `files`: it is in every monitor.
LEAN = "import sys, os; before = set(sys.modules); import havre.runtime.cgroup.files; print(*sorted(set(sys.modules) - before))"


@pytest.fixture
def made():
    """Make groups by resources; all of them are gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    plans = []

    def make(resources, name="c"):
        plan = make_plan(host_layout(), f"/havre-test-files-{os.getpid()}/{name}", resources)
        plans.append(plan)
        files.create(plan)
        return plan

    yield make
    for plan in plans:
        files.kill(plan)
        assert files.remove(plan) == []
        for parent in reversed(plan["parents"]):
            if os.path.isdir(parent):
                os.rmdir(parent)


def value_of(plan, name):
    for folder in plan["directories"]:
        if os.path.exists(f"{folder}/{name}"):
            return Path(folder, name).read_text().strip()
    pytest.skip(f"this host has no {name}")
    return ""


def sleeper():
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    return pid


def needs_v1(controller):
    if controller not in host_layout().v1:
        pytest.skip(f"{controller} is not in a v1 hierarchy here")


@pytest.mark.kernel
def test_limits_are_in_the_kernel_on_v1(made):
    needs_v1("memory")
    plan = made(
        {
            "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "swappiness": 10},
            "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0", "burst": 1000},
            "pids": {"limit": 17},
        }
    )
    wanted = {
        "memory.limit_in_bytes": 64 * MIB,
        "memory.memsw.limit_in_bytes": 96 * MIB,
        "memory.soft_limit_in_bytes": 32 * MIB,
        "memory.swappiness": 10,
        "cpu.shares": 512,
        "cpu.cfs_quota_us": 20000,
        "cpu.cfs_period_us": 50000,
        "cpu.cfs_burst_us": 1000,
        "cpuset.cpus": 0,
        "pids.max": 17,
    }
    assert {name: int(value_of(plan, name)) for name in wanted} == wanted
    assert plan["warnings"] == []


@pytest.mark.kernel
@pytest.mark.parametrize("limit_mib", [16, 256])
def test_update_moves_memory_and_swap_both_ways(made, limit_mib):
    needs_v1("memory")
    made({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    limit = limit_mib * MIB  # more than memory and swap are now together: the kernel takes swap first
    plan = made({"memory": {"limit": limit, "swap": limit}})
    assert (
        int(value_of(plan, "memory.limit_in_bytes"))
        == int(value_of(plan, "memory.memsw.limit_in_bytes"))
        == limit
    )


@pytest.mark.kernel
def test_memory_below_what_is_possible_is_an_error_with_its_file(made):
    needs_v1("memory")
    with pytest.raises(KernelError, match=r"memory\.memsw\.limit_in_bytes"):
        made({"memory": {"limit": 64 * MIB, "swap": 32 * MIB}})


@pytest.mark.kernel
def test_weight_without_its_scheduler_is_a_warning(made):
    needs_v1("blkio")
    plan = made({"blockIO": {"weight": 300}})
    known = os.path.exists(f"{host_layout().v1['blkio']}/havre-test-files-{os.getpid()}/c/blkio.bfq.weight")
    assert plan["warnings"] == (
        [] if known else ["this kernel has no blkio.bfq.weight: the limit is discarded"]
    )


@pytest.mark.kernel
def test_hugepages_in_the_v2_tree_of_a_hybrid_host(made):
    layout = host_layout()
    if not layout.v1 or "hugetlb" not in layout.v2_controllers:
        pytest.skip("hugetlb is not in the v2 tree of a hybrid host")
    plan = made({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]})
    assert int(value_of(plan, "hugetlb.2MB.max")) == 4 * MIB


@pytest.mark.kernel
def test_devices_are_denied_by_default(made):
    rules = [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]
    plan = made({"devices": rules})
    results = []
    for path in ("/dev/null", "/dev/zero"):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                files.attach(plan, 0)
                os.close(os.open(path, os.O_RDWR))
                code = 0
            except OSError as error:
                code = error.errno
            finally:
                os._exit(code)
        results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    assert results == [0, 1]


@pytest.mark.kernel
def test_freeze_holds_and_thaw_lets_go(made):
    plan = made({})
    if not plan["freezer"]:
        pytest.skip("no freezer on this host")
    pid = sleeper()
    files.attach(plan, pid)
    files.freeze(plan["freezer"])
    os.kill(pid, signal.SIGTERM)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    files.thaw(plan["freezer"])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


@pytest.mark.kernel
def test_kill_takes_everything_and_remove_is_idempotent(made):
    plan = made({})
    pids = [sleeper() for _ in range(3)]
    for pid in pids:
        files.attach(plan, pid)
    files.kill(plan)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [-signal.SIGKILL] * 3
    assert files.remove(plan) == []
    assert not any(os.path.exists(path) for path in plan["directories"])
    assert files.remove(plan) == []


@pytest.mark.kernel
def test_remove_takes_groups_that_were_made_inside(made):
    plan = made({})
    for folder in plan["directories"]:
        os.makedirs(f"{folder}/inner/deeper")
    assert files.remove(plan) == []
    assert not any(os.path.exists(path) for path in plan["directories"])


@pytest.mark.kernel
def test_remove_names_what_is_still_in_use(made, monkeypatch):
    monkeypatch.setattr(files, "REMOVE_TRIES", 2)
    plan = made({})
    pid = sleeper()
    files.attach(plan, pid)
    assert files.remove(plan)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.kernel
def test_oom_kills_are_counted(made):
    plan = made({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    if not plan["oom"]:
        pytest.skip("no memory controller on this host")
    assert files.oom_kills(plan) == 0
    pid = os.fork()
    if pid == 0:
        files.attach(plan, 0)
        hog = bytearray(64 * MIB)
        os._exit(len(hog[::4096]) & 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert files.oom_kills(plan) == 1


# --- v2 on a directory that looks like it ----------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """A v2 mount and a container's directory in it, with files as the kernel would make them."""
    names = "memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max io.max io.weight cgroup.procs cgroup.freeze".split()
    (tmp_path / "h/c").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "h"):
        (folder / "cgroup.subtree_control").touch()
    for name in names:
        (tmp_path / "h/c" / name).touch()
    return tmp_path


def v2_plan(tree, resources):
    return make_plan(
        Layout(v2=str(tree), v2_controllers=frozenset("memory cpu pids io".split())), "/h/c", resources
    )


def test_v2_limits_and_delegation(tree):
    plan = v2_plan(
        tree, {"memory": {"limit": 100, "swap": 150}, "cpu": {"quota": 5, "period": 10}, "pids": {"limit": 3}}
    )
    files.create(plan)
    read = {
        name: (tree / "h/c" / name).read_text()
        for name in ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    }
    assert read == {"memory.max": "100", "memory.swap.max": "50", "cpu.max": "5 10", "pids.max": "3"}
    assert (tree / "h/cgroup.subtree_control").read_text() == "+cpu +io +memory +pids"
    files.attach(plan, 42)
    assert (tree / "h/c/cgroup.procs").read_text() == "42"


def test_v2_general_weight_where_bfq_is_missing(tree):
    plan = v2_plan(tree, {"blockIO": {"weight": 10}})
    files.create(plan)
    assert (tree / "h/c/io.weight").read_text() == "default 1"
    assert plan["warnings"] == []
    (tree / "h/c/io.weight").unlink()
    files.update(plan)
    assert plan["warnings"] == ["this kernel has no io.bfq.weight: the limit is discarded"]


def test_v2_missing_limit_is_a_warning_and_missing_unified_an_error(tree):
    plan = v2_plan(tree, {"cpu": {"burst": 5}})
    files.create(plan)
    assert plan["warnings"] == ["this kernel has no cpu.max.burst: the limit is discarded"]
    with pytest.raises(KernelError, match=r"memory\.high"):
        files.create(v2_plan(tree, {"unified": {"memory.high": "1"}}))


def test_limits_of_a_group_that_is_gone_are_an_error(tmp_path):
    with pytest.raises(KernelError):
        files.update(v2_plan(tmp_path, {"pids": {"limit": 1}}))


def test_v2_freeze_waits_for_the_event(tree, monkeypatch):
    monkeypatch.setattr(files, "REMOVE_PAUSE_S", 0.0001)
    events = tree / "h/c/cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    with pytest.raises(KernelError, match="freeze"):
        files.freeze(str(tree / "h/c/cgroup.freeze"))
    assert (tree / "h/c/cgroup.freeze").read_text() == "0"  # given up: nothing stays half frozen
    events.write_text("populated 1\nfrozen 1\n")
    files.freeze(str(tree / "h/c/cgroup.freeze"))
    assert (tree / "h/c/cgroup.freeze").read_text() == "1"


def test_v2_oom_kills(tree):
    (tree / "h/c/memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert files.oom_kills(v2_plan(tree, {})) == 2


def test_files_import_nothing_heavy():
    import subprocess
    import sys

    src = str(Path(files.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {src!r}); {LEAN}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) <= {
        "havre",
        "havre.errors",
        "havre.runtime",
        "havre.runtime.cgroup",
        "havre.runtime.cgroup.files",
        "time",
        "os",
    }


def test_pids_are_found_in_groups_inside_groups(tmp_path: Path) -> None:
    for name, pids in (("a", "1\n2\n"), ("a/b", "3\n"), ("a/b/c", ""), ("a/d", "4\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text(pids)
    assert sorted(files.pids(str(tmp_path / "a"))) == [1, 2, 3, 4]
    assert files.pids(str(tmp_path / "gone")) == []
