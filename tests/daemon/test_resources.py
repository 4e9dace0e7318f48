"""What the control group's files and /proc really say inside a container, for every limit of run: by the stock CLI, ours and docker-py."""

from pathlib import Path

import pytest

from havre.runtime.cgroup.layout import host_layout

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
MB = 1 << 20


def disk() -> tuple[str, str]:
    """(path, major:minor) of a whole disk that the kernel can throttle."""
    for entry in sorted(Path("/sys/block").iterdir()):
        path = Path("/dev") / entry.name
        if path.exists() and not entry.name.startswith(("loop", "ram", "zram")):
            return str(path), (entry / "dev").read_text().strip()
    pytest.skip("needs a block device")


LIMITS = {  # flags -> file on v1 and what it says, file on v2 and what it says; None: the kernel has no such file there
    "--memory=48m": (("memory/memory.limit_in_bytes", 48 * MB), ("memory.max", 48 * MB)),
    "--memory=48m --memory-swap=64m": (
        ("memory/memory.memsw.limit_in_bytes", 64 * MB),
        ("memory.swap.max", 16 * MB),
    ),
    "--memory-reservation=40m": (("memory/memory.soft_limit_in_bytes", 40 * MB), ("memory.low", 40 * MB)),
    "--memory-swappiness=7": (("memory/memory.swappiness", 7), None),
    "--memory=48m --oom-kill-disable": (("memory/memory.oom_control", "oom_kill_disable 1"), None),
    "--cpu-shares=512": (("cpu/cpu.shares", 512), ("cpu.weight", 20)),
    "--cpus=0.5": (("cpu/cpu.cfs_quota_us", 50000), ("cpu.max", "50000 100000")),
    "--cpu-period=50000 --cpu-quota=25000": (("cpu/cpu.cfs_period_us", 50000), ("cpu.max", "25000 50000")),
    "--cpuset-cpus=0": (("cpuset/cpuset.cpus", 0), ("cpuset.cpus", 0)),
    "--cpuset-mems=0": (("cpuset/cpuset.mems", 0), ("cpuset.mems", 0)),
    "--pids-limit=77": (("pids/pids.max", 77), ("pids.max", 77)),
    "--device-read-bps=DISK:1mb": (
        ("blkio/blkio.throttle.read_bps_device", "NUMBER 1048576"),
        ("io.max", "rbps=1048576"),
    ),
    "--device-write-bps=DISK:2mb": (
        ("blkio/blkio.throttle.write_bps_device", "NUMBER 2097152"),
        ("io.max", "wbps=2097152"),
    ),
    "--device-read-iops=DISK:30": (
        ("blkio/blkio.throttle.read_iops_device", "NUMBER 30"),
        ("io.max", "riops=30"),
    ),
    "--device-write-iops=DISK:40": (
        ("blkio/blkio.throttle.write_iops_device", "NUMBER 40"),
        ("io.max", "wiops=40"),
    ),
}


@pytest.mark.parametrize("flags", LIMITS)
def test_a_limit_is_in_the_kernels_file(cli, flags: str) -> None:
    layout, places = host_layout(), LIMITS[flags]
    if (place := places[1 if layout.unified else 0]) is None:
        pytest.skip("the kernel has no such file on v2")
    file, said = place
    controller = file.partition("/")[0]
    if not layout.unified and controller not in layout.v1:
        pytest.skip(f"needs the {controller} controller")
    path, number = disk() if "DISK" in flags else ("", "")
    words = flags.replace("DISK", path).split()
    done = cli("run", "--rm", "--network", "none", *words, "busybox", "cat", f"/sys/fs/cgroup/{file}")
    assert done.returncode == 0, done.stderr
    assert str(said).replace("NUMBER", number) in done.stdout, done.stdout


PROC = {  # flags -> script, what it prints
    "--ulimit nofile=111:222 --ulimit core=0": ("ulimit -n; ulimit -Hn; ulimit -c", "111 222 0"),
    "--shm-size=3m": ("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "3072"),
    "--tmpfs=/t:size=2m,mode=700,uid=33,exec": (
        "grep ' /t ' /proc/mounts | cut -d' ' -f4; stat -c %a:%u /t",
        "rw,nosuid,nodev,relatime,size=2048k,mode=700,uid=33 700:33",
    ),
    "--oom-score-adj=250": ("cat /proc/1/oom_score_adj", "250"),
    "--group-add=www --group-add=999": ("id -G", "0 33 999"),
    "--user=www": ("id -u; id -g; id -G", "33 33 33 44"),
    "--user=33:0": ("id -u; id -g", "33 0"),
    "--hostname=box --domainname=example.org": (
        "hostname; cat /proc/sys/kernel/domainname /etc/hostname",
        "box example.org box",
    ),
    "--read-only --tmpfs=/tmp": ("touch /tmp/x && echo t; touch /x 2>/dev/null || echo r", "t r"),
    "--cap-drop=ALL --cap-add=cap_net_raw": ("grep CapEff /proc/self/status | cut -f2", "0000000000002000"),
    "--cap-add=ALL --cap-drop=SYS_ADMIN": ("grep CapBnd /proc/self/status | cut -f2 | cut -c11", "d"),
    "--workdir=/not/there": ("pwd", "/not/there"),
    "--env=A=1 --env=PATH=/bin": ("echo $A $PATH", "1 /bin"),
    "--init": ("cat /proc/1/comm", "docker-init"),
    "--sysctl=net.ipv4.ip_forward=1": ("cat /proc/sys/net/ipv4/ip_forward", "1"),
    "--sysctl=kernel.shm_rmid_forced=1": ("cat /proc/sys/kernel/shm_rmid_forced", "1"),
    "--device=/dev/full:/dev/mine:r": (
        "stat -c %t:%T /dev/mine; echo x 2>/dev/null > /dev/mine || echo shut",
        "1:7 shut",
    ),
}


@pytest.mark.parametrize("flags", PROC)
def test_a_flag_is_what_proc_says(cli, flags: str) -> None:
    script, said = PROC[flags]
    done = cli("run", "--rm", "--network", "none", *flags.split(), "busybox", "sh", "-c", script)
    assert done.stdout.split() == said.split(), done.stderr


def test_files_of_the_command_line(cli, tmp_path) -> None:
    (tmp_path / "env").write_text("# no\nA=1 2\n\nHERE_NOT_SET\n")
    (tmp_path / "labels").write_text("one=1\ntwo\n")
    cid = tmp_path / "cid"
    words = [
        "--env-file",
        str(tmp_path / "env"),
        "--label-file",
        str(tmp_path / "labels"),
        "--cidfile",
        str(cid),
    ]
    done = cli("create", *words, "--annotation", "note=kept", "busybox", "true")
    made = done.stdout.strip()
    try:
        assert cid.read_text() == made
        shape = '{{.Config.Labels.one}}|{{index .Config.Labels "two"}}|{{index .HostConfig.Annotations "note"}}|{{json .Config.Env}}'
        shown = cli("inspect", "-f", shape, made).stdout
        assert shown.startswith('1||kept|["A=1 2"')
        again = cli("create", "--cidfile", str(cid), "busybox", "true")
        assert again.returncode in (1, 125) and "container ID file found" in again.stderr
    finally:
        cli("rm", "-f", made)


@pytest.mark.parametrize("policy", ["never", "missing", "always", "often"])
def test_pull_policies(cli, policy: str) -> None:
    there = cli("run", "--rm", "--pull", policy, "busybox", "echo", "ran")
    missing = cli("run", "--rm", "--pull", policy, "localhost:1/not-there", "true")
    assert (there.stdout == "ran\n") == (policy in ("never", "missing"))
    assert missing.returncode == 125
    if policy == "never":
        assert "No such image" in missing.stderr
    if policy == "often":
        assert "invalid pull option: 'often'" in missing.stderr


def test_privileged_sees_devices_and_may_write(cli) -> None:
    script = "ls /dev | wc -l; grep -c ' /sys .*rw' /proc/mounts; grep Seccomp: /proc/self/status | cut -f2; ls /proc/keys | wc -l"
    devices, writable, filtered, _ = cli(
        "run", "--rm", "--privileged", "busybox", "sh", "-c", script
    ).stdout.split()
    assert int(devices) > 20 and (writable, filtered) == ("1", "0")


def test_docker_py_reaches_the_same_fields(daemon) -> None:
    docker = pytest.importorskip("docker")
    client = docker.DockerClient(base_url=daemon.url)
    script = (
        "id -G; hostname; ulimit -n; cat /proc/sys/net/core/somaxconn /proc/1/oom_score_adj; cat /proc/1/comm; "
        "stat -c %t:%T /dev/mine; grep CapEff /proc/self/status | cut -f2; grep -c ' /t tmpfs' /proc/mounts; echo $A; "
        "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
    )
    try:
        said = client.containers.run(
            "busybox",
            ["sh", "-c", script],
            remove=True,
            network_disabled=True,
            group_add=["44"],
            hostname="py",
            ulimits=[docker.types.Ulimit(name="nofile", soft=99, hard=100)],
            sysctls={"net.core.somaxconn": "55"},
            oom_score_adj=300,
            init=True,
            devices=["/dev/full:/dev/mine:rwm"],
            cap_drop=["ALL"],
            cap_add=["NET_RAW"],
            tmpfs={"/t": "size=1m"},
            environment={"A": "b"},
            shm_size="2m",
            mem_limit="64m",
            memswap_limit="64m",
            nano_cpus=500_000_000,
            cpuset_cpus="0",
            pids_limit=50,
            ipc_mode="private",
            read_only=True,
            security_opt=["no-new-privileges"],
            storage_opt={},
            device_cgroup_rules=["c 1:3 rwm"],
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
            stop_signal="SIGINT",
            uts_mode="",
        )
    finally:
        client.close()
    assert said.decode().split() == [
        "0",
        "44",
        "py",
        "99",
        "55",
        "300",
        "docker-init",
        "1:7",
        "0000000000002000",
        "1",
        "b",
        "2048",
    ]
