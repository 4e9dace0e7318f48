"""run, exec, logs, ps, inspect by the stock docker CLI and by ours."""

import json

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]


def test_hello_world_prints_when_there_is_no_network(cli) -> None:
    done = cli("run", "--rm", "--network", "none", "hello-world")
    assert done.returncode == 0, done.stderr
    assert "Hello from Havre!" in done.stdout


def test_output_streams_and_exit_code_are_the_process_own(cli) -> None:
    done = cli("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@pytest.mark.parametrize(
    ("command", "code"), [("/no/such", 127), ("nosuch", 127), ("/etc/passwd", 126), ("/bin", 126)]
)
def test_exit_code_tells_when_the_command_cannot_run(cli, command: str, code: int) -> None:
    assert cli("run", "--rm", "busybox", command).returncode == code
    assert cli("ps", "-aq").stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        ["--memory", "1k", "busybox"],
        ["--cap-add", "NOPE", "busybox"],
        ["-v", "relative:path", "busybox"],
        ["--user", "nobody-here", "busybox", "true"],
        ["--network", "nope", "busybox", "true"],
        ["--sysctl", "kernel.panic=1", "busybox", "true"],
        ["Bad/Name"],
    ],
)
def test_bad_words_end_with_125_and_leave_nothing(cli, words: list[str]) -> None:
    assert cli("run", "--rm", *words).returncode == 125
    assert cli("ps", "-aq").stdout == ""


def test_stdin_reaches_the_process_and_its_end_too(cli) -> None:
    data = b"x" * 1_000_000
    assert cli("run", "--rm", "-i", "busybox", "wc", "-c", stdin=data).stdout.strip() == "1000000"


def test_much_input_and_output_at_once_hold_up_nobody(cli) -> None:
    """More than all buffers on the way hold: a client that only writes, or only reads, would wait for ever."""
    data = b"0123456789abcde\n" * 2_000_000
    done = cli("run", "--rm", "-i", "--log-driver", "none", "busybox", "cat", stdin=data, timeout=60)
    assert done.stdout.encode() == data


def test_fast_exit_loses_no_output(cli) -> None:
    for number in range(20):
        assert cli("run", "--rm", "--network", "none", "busybox", "echo", str(number)).stdout == f"{number}\n"


def test_environment_user_directory_and_hostname(cli) -> None:
    script = "id -u; id -G; pwd; hostname; echo $A$B"
    words = ["-u", "www", "-w", "/new/dir", "--hostname", "h1", "-e", "A=1", "-e", "B=2", "--group-add", "77"]
    done = cli("run", "--rm", *words, "busybox", "sh", "-c", script)
    assert done.stdout.split("\n")[:5] == ["33", "33 44 77", "/new/dir", "h1", "12"]


def test_container_sees_only_its_own_processes_fds_and_rights(cli) -> None:
    script = (
        "ls /proc | grep -c '^[0-9]'; ls /proc/1/fd; grep -E 'CapEff|CapInh|CapAmb|Seccomp:' /proc/1/status"
    )
    lines = cli("run", "--rm", "busybox", "sh", "-c", script).stdout.split("\n")
    assert int(lines[0]) <= 4
    assert lines[1:4] == ["0", "1", "2"]
    assert "CapInh:\t0000000000000000" in lines
    assert "CapEff:\t00000000a80425fb" in lines
    assert "Seccomp:\t2" in lines


def test_limits_are_in_the_cgroup(cli) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    assert cli("run", "--rm", "--memory", "64m", "busybox", "sh", "-c", script).stdout.strip() == str(
        64 << 20
    )


def test_read_only_root_and_tmpfs(cli) -> None:
    script = "touch /x; touch /t/y && echo fine"
    done = cli("run", "--rm", "--read-only", "--tmpfs", "/t", "busybox", "sh", "-c", script)
    assert done.stdout == "fine\n"
    assert "Read-only file system" in done.stderr


def test_bind_mount_is_read_only_when_asked(cli, tmp_path) -> None:
    (tmp_path / "file").write_text("content")
    done = cli("run", "--rm", "-v", f"{tmp_path}:/m:ro", "busybox", "sh", "-c", "cat /m/file; touch /m/new")
    assert done.stdout == "content"
    assert not (tmp_path / "new").exists()


def test_detached_container_is_listed_inspected_logged_and_removed(cli) -> None:
    made = cli(
        "run", "-d", "--name", "web", "-l", "a=b", "busybox", "sh", "-c", "echo hello; sleep 100"
    ).stdout.strip()
    assert len(made) == 64
    try:
        assert cli("ps", "--format", "{{.Names}} {{.State}}").stdout == "web running\n"
        found = json.loads(cli("inspect", "web").stdout)[0]
        assert found["State"]["Running"] is True
        assert found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].startswith("172.")
        assert cli("inspect", "-f", "{{.Config.Labels.a}}", "web").stdout == "b\n"
        assert cli("exec", "web", "sh", "-c", "echo in; exit 5").returncode == 5
        assert cli("exec", "web", "nosuch").returncode == 127
        assert cli("run", "--name", "web", "busybox").returncode == 125
        assert cli("rm", "web").returncode == 1
    finally:
        assert cli("rm", "-f", "web").returncode == 0
    assert cli("ps", "-aq").stdout == ""


def test_logs_show_both_streams_and_tail(cli) -> None:
    assert cli("run", "--name", "talk", "busybox", "sh", "-c", "echo a; echo b >&2; echo c").returncode == 0
    try:
        done = cli("logs", "talk")
        assert (done.stdout, done.stderr) == ("a\nc\n", "b\n")
        last = cli("logs", "--tail", "2", "talk")
        assert len((last.stdout + last.stderr).split()) == 2
        assert cli("logs", "-f", "talk").stdout == "a\nc\n"
    finally:
        cli("rm", "talk")


def test_stop_start_wait_and_kill(cli) -> None:
    cli(
        "run",
        "-d",
        "--name",
        "loop",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done",
    )
    try:
        while not cli("logs", "loop").stdout:  # the trap is set
            assert cli("ps", "-q").stdout
        assert cli("stop", "loop").returncode == 0
        assert cli("wait", "loop").stdout == "3\n"
        assert cli("start", "loop").returncode == 0
        assert cli("pause", "loop").returncode == 0
        assert "(Paused)" in cli("ps", "--format", "{{.Status}}").stdout
        assert cli("unpause", "loop").returncode == 0
        assert cli("kill", "loop").returncode == 0
        assert cli("wait", "loop").stdout == "137\n"
    finally:
        cli("rm", "-f", "loop")


def test_save_and_load_keep_the_image(cli, tmp_path) -> None:
    archive = str(tmp_path / "i.tar")
    before = cli("images", "-q", "--no-trunc", "busybox").stdout
    assert cli("tag", "busybox", "kept:1").returncode == 0
    assert cli("save", "-o", archive, "kept:1").returncode == 0
    assert "Untagged: kept:1" in cli("rmi", "kept:1").stdout
    assert "Loaded image: kept:1" in cli("load", "-i", archive).stdout
    assert cli("images", "-q", "--no-trunc", "kept").stdout == before
    cli("rmi", "kept:1")


def test_published_port_answers(cli, daemon) -> None:
    import subprocess

    cli(
        "run",
        "-d",
        "--name",
        "srv",
        "-p",
        "18080:80",
        "busybox",
        "sh",
        "-c",
        "echo page > /tmp/index.html; httpd -f -p 80 -h /tmp",
    )
    try:
        script = "for i in 1 2 3 4 5 6 7 8 9 10; do busybox wget -qO- http://127.0.0.1:18080/ && exit 0; sleep 0.2; done; exit 1"
        done = subprocess.run(
            [*daemon.inside(), "sh", "-c", script], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.stdout == "page\n", done.stderr
        second = cli("run", "--rm", "-p", "18080:80", "busybox", "true")
        assert second.returncode == 125
        assert "18080" in second.stderr
    finally:
        cli("rm", "-f", "srv")


def test_network_of_ones_own_is_made_used_and_removed(cli) -> None:
    assert (
        len(cli("network", "create", "--subnet", "10.99.0.0/24", "--label", "a=b", "mine").stdout.strip())
        == 64
    )
    try:
        done = cli(
            "run",
            "--rm",
            "--network",
            "mine",
            "--ip",
            "10.99.0.77",
            "busybox",
            "ip",
            "-4",
            "addr",
            "show",
            "eth0",
        )
        assert "inet 10.99.0.77/24" in done.stdout, done.stderr
        assert cli("network", "ls", "--filter", "label=a=b", "--format", "{{.Name}}").stdout == "mine\n"
        assert cli("network", "create", "--subnet", "10.99.0.0/25", "other").returncode != 0
    finally:
        assert cli("network", "rm", "mine").returncode == 0
    assert cli("network", "rm", "bridge").returncode != 0
