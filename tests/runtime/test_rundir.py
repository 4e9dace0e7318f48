"""What a monitor leaves in its run directory, and what is done when it was killed."""

import os
import subprocess

from havre.runtime import rundir

CGROUP = {"directories": [], "oom": ""}


def test_exit_record_is_read_back_and_replaces_the_socket(tmp_path):
    (tmp_path / "sock").touch()
    rundir.write_exit(str(tmp_path), {"code": 7, "at_nanos": 1, "oom_killed": False, "error": ""})
    assert rundir.read_exit(str(tmp_path)) == {"code": 7, "at_nanos": 1, "oom_killed": False, "error": ""}
    assert os.listdir(tmp_path) == ["exit"]


def test_exit_of_a_removed_container_is_no_error(tmp_path):
    rundir.write_exit(str(tmp_path / "gone"), {"code": 0})
    assert rundir.read_exit(str(tmp_path / "gone")) is None


def test_torn_or_foreign_record_is_none(tmp_path):
    for content in (b"", b"{", b"\xe9\x07\x00\x00\x00", b"garbage"):
        (tmp_path / "exit").write_bytes(content)
        assert rundir.read_exit(str(tmp_path)) is None


def test_sweep_ends_what_a_killed_monitor_held(tmp_path):
    child = subprocess.Popen(["sleep", "1000"])
    (tmp_path / "sock").touch()
    rundir.write_state(str(tmp_path), child.pid, CGROUP)
    assert rundir.sweep(str(tmp_path))
    assert child.wait(10) == -9
    assert os.listdir(tmp_path) == []
    assert not rundir.sweep(str(tmp_path))


def test_sweep_spares_another_process_that_got_the_number(tmp_path, monkeypatch):
    child = subprocess.Popen(["sleep", "1000"])
    started = rundir.start_time(child.pid)
    with monkeypatch.context() as patch:
        patch.setattr(rundir, "start_time", lambda pid: started - 1)
        rundir.write_state(str(tmp_path), child.pid, CGROUP)
    assert rundir.sweep(str(tmp_path))
    assert child.poll() is None
    child.kill()
    child.wait()


def test_start_time_of_nobody_is_zero():
    assert rundir.start_time(2**22 + 1) == 0
    assert rundir.start_time(os.getpid()) > 0
