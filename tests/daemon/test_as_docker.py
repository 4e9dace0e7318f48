"""The stock docker CLI does the same things to havred and to a real dockerd: ps filters, inspect, events must tell the same."""

import json
import subprocess
import time

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat, pytest.mark.slow]
MADE = [
    "tag busybox base:1",
    "network create n1",
    "run -d --name a1 -p 8100:80 -p 9000-9003:9000-9003/udp -l team=x -l env=prod -v /etc:/mnt base:1 sleep 1000",
    "run --name a2 -l team=y --expose 7000-7002 busybox sh -c 'exit 3'",
    "create --name a3 --network n1 -l team busybox sh",
    "run -d --name b-1 --network n1 -v /usr:/mnt/u:ro busybox sleep 1000",
    "pause b-1",
    "create --name b2 --network none -p 5:5 busybox sh",
    "run -d --name c.d --network host busybox sleep 1000",
    "run --name full -e B=1 --memory 64m --cpus 1.5 --restart on-failure:3 --cap-add NET_ADMIN --add-host h:1.2.3.4"
    " --dns 1.1.1.1 --security-opt no-new-privileges -w /tmp -u 33 --entrypoint sh --hostname hh --stop-timeout 5"
    " --tmpfs /t --device /dev/null --ulimit nofile=100:200 --stop-signal INT busybox -c true",
    "create --name calm --privileged --pids-limit 5 --read-only busybox sh",
]
FILTERS = """name=a|name=^a1$|name=/a1|name=A|name=[|name=c.d|name=a1 name=b2|name=nope|id=zzz|label=team|label=team=x|label=team=
label=team=x label=env=prod|label=team=x label=team=y|label=nope|exited=3|exited=0|exited=3 exited=0|exited=x|status=running
status=created|status=exited status=paused|status=dead|status=removing|status=restarting|status=nope|ancestor=busybox|ancestor=base:1
ancestor=busybox:latest|ancestor=nope|ancestor=base|before=b2|since=a2|before=nope|since=a1 before=b2|volume=/mnt|volume=/etc|volume=/mn
network=n1|network=none|network=host|network=bridge|network=nope|publish=8100|publish=80|publish=8100/tcp|publish=8100/udp
publish=9000-9001/udp|publish=9002/udp|publish=5|publish=x|publish=10-5|expose=7000|expose=80|expose=9000/udp|expose=80 publish=9001/udp
health=none|health=nope|isolation=default|isolation=hyperv|is-task=true|is-task=false|is-task=nope|name=a label=team=x|bogus=1"""
FILTERS = FILTERS.replace("\n", "|").split("|")
# inspect: what may differ, and why
PLACES = {"ResolvConfPath", "HostnamePath", "HostsPath", "LogPath", "SandboxKey"}  # paths of the daemon's own
OURS = {
    "Id",
    "Created",
    "Image",
    "SandboxID",
    "NetworkID",
    "EndpointID",
    "Pid",
    "StartedAt",
    "FinishedAt",
    "Hostname",
}
OLD = {"KernelMemory", "KernelMemoryTCP"}  # fields that Docker has dropped since 20.10
NEW = {"DNSNames", "GwPriority"}  # and those it has got since
SEEN_OTHERWISE = {
    "Runtime": "ours is havre",
    "GraphDriver": "nothing of a container is mounted on the host",
    "NetworkMode": "default is called bridge since Docker 26",
    "SecurityOpt": "label=disable of a privileged container is SELinux's",
    "Aliases": "the short id is not among them since Docker 25",
    "MaskedPaths": "Docker's list has grown since 20.10",
    "Ports": "no IPv6 binding without an IPv6 address",
    "MacAddress": "made of the address",
    "IPAddress": "which one is free",
}


@pytest.fixture(scope="module")
def both(real_docker, daemon_of_its_own):
    """(theirs, ours): functions that run a docker command line, after MADE has been done to both."""
    import shlex

    def ours(command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = daemon_of_its_own.docker(*shlex.split(command), stdin=stdin)
        return done.returncode, done.stdout, done.stderr

    code, _, err = real_docker.docker("import -c 'CMD [\"sh\"]' - busybox", real_docker.rootfs)
    assert code == 0, err
    for one in (real_docker.docker, ours):
        for command in MADE:
            code, _, err = one(command)
            assert code in (0, 3), (command, err)
    return real_docker.docker, ours


@pytest.mark.parametrize("words", FILTERS)
@pytest.mark.parametrize("every", ["-a", ""])
def test_ps_filters_choose_the_same(both, words: str, every: str) -> None:
    flags = " ".join(f"-f {word}" for word in words.split())
    (code, theirs, _), (our_code, ours, _) = (
        one(f"ps {every} {flags} --format '{{{{.Names}}}}'") for one in both
    )
    assert (our_code, ours) == (code, theirs)


def differences(theirs, ours, path: str = "") -> list[str]:
    """Every key that one side lacks and every value that differs, but for the named ones."""
    name = path.rpartition(".")[2]
    if name in PLACES | OURS | SEEN_OTHERWISE.keys():
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = [f"{path}.{key} is missing" for key in theirs.keys() - ours.keys() - OLD]
        found += [f"{path}.{key} is too much" for key in ours.keys() - theirs.keys() - NEW]
        for key in theirs.keys() & ours.keys():
            found += differences(theirs[key], ours[key], f"{path}.{key}")
        return found
    return [] if theirs == ours else [f"{path}: {theirs!r} is {ours!r}"]


@pytest.mark.parametrize("name", ["a1", "a2", "a3", "b-1", "b2", "c.d", "full", "calm"])
def test_inspect_has_the_same_keys_and_values(both, name: str) -> None:
    theirs, ours = (json.loads(one(f"inspect {name}")[1])[0] for one in both)
    assert differences(theirs, ours) == []


def test_list_has_the_same_keys_and_values(both) -> None:
    found = []
    for one in both:
        lines = one(
            "ps -a --no-trunc --format '{{.Names}} {{.Image}} {{.Command}} {{.Labels}} {{.Mounts}} {{.Networks}} {{.State}}'"
        )
        found.append(lines[1])
    assert found[1] == found[0]


VERBS = """create --name z1 -l q=r busybox sleep 100|start z1|exec z1 true|exec z1 echo a b|pause z1|unpause z1|rename z1 z2|kill -s USR1 z2
restart -t 0 z2|stop -t 0 z2|start z2|kill z2|wait z2|rm z2|run --rm --name z3 busybox echo hi|run --name z4 busybox nosuch|rm z4
run -d --name z5 busybox sleep 100|top z5|rm -f z5|network create n9|run --rm --name z6 --network n9 busybox true|network rm n9
run --rm --name z7 --network none busybox true|run --rm --name z8 --network host busybox true|tag busybox t:1|rmi t:1
save busybox -o /dev/null|container prune -f --filter label=zzz|image prune -f --filter label=zzz|network prune -f --filter label=zzz"""


def told(docker, since: float) -> list[str]:
    """The events since then, without ids; those of one moment (a container's end) in a fixed order."""
    _, text, err = docker(f"events --since {since:.9f} --until {time.time():.9f} --format json")
    assert not err
    found = []
    for event in map(json.loads, text.splitlines()):
        attributes = {**event["Actor"]["Attributes"]}
        for name in ("execID", "container", "execDuration"):
            attributes.pop(name, None)
        if event["Type"] == "image":  # 20.10 calls an image by its id, the containerd store by its name
            attributes.pop("name", None)
        if attributes.get("signal") == "10":
            continue  # z2 ends by it or not
        found.append(
            f"{event['Type']} {event['Action']} {json.dumps(attributes, sort_keys=True)} {event.get('from', '')}"
        )
    return found


def test_events_are_the_same_in_the_same_order(both) -> None:
    found = []
    for one in both:
        since = time.time()
        for command in VERBS.replace("\n", "|").split("|"):
            one(command)
        time.sleep(0.2)  # the last one's own end
        found.append(told(one, since))
    assert "\n".join(found[1]) == "\n".join(found[0])


def test_disk_usage_is_true_to_du(daemon_of_its_own, tmp_path) -> None:
    """Two images share their base; a container has a big file, a file with a hole and one with two names."""
    daemon = daemon_of_its_own
    script = "head -c 3000000 /dev/zero >/big; dd if=/dev/zero of=/hole bs=1 count=1 seek=50000000 2>/dev/null; ln /big /same"
    assert daemon.docker("run", "--name", "filled", "busybox", "sh", "-c", script).returncode == 0
    found = json.loads(
        subprocess.run(
            ["curl", "-sS", "--unix-socket", daemon.socket, "http://x/system/df"],
            capture_output=True,
            check=True,
        ).stdout
    )
    image = daemon.root / "data" / "image"
    layers, blobs, upper = (_du(path) for path in (image / "layers", image / "blobs", image / "snapshots"))
    assert abs(found["LayersSize"] - layers - blobs) < 200_000
    written = {one["Names"][0]: one.get("SizeRw", 0) for one in found["Containers"]}
    assert 3_000_000 <= written["/filled"] < 3_100_000
    assert abs(sum(written.values()) - upper) < 300_000
    names = {one["RepoTags"][0]: one for one in found["Images"] if one["RepoTags"]}
    assert all(one["SharedSize"] <= one["Size"] for one in names.values())
    only = subprocess.run(
        ["curl", "-sS", "--unix-socket", daemon.socket, "http://x/system/df?type=container"],
        capture_output=True,
        check=True,
    ).stdout
    assert set(json.loads(only)) == {"Containers"}


def _du(path) -> int:
    return int(
        subprocess.run(["du", "-s", "-B1", path], capture_output=True, text=True, check=True).stdout.split()[
            0
        ]
    )


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("application/json-seq", "application/json-seq"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/html, application/jsonl;q=0.5", "application/jsonl"),
        ("*/*", "application/json"),
    ],
)
def test_events_come_in_the_form_the_client_names(daemon, accept: str, answered: str) -> None:
    words = ["curl", "-sS", "-i", "--unix-socket", daemon.socket, "-H", f"Accept: {accept}"]
    daemon.docker("run", "--rm", "busybox", "true")
    done = subprocess.run(
        [*words, f"http://x/events?since=1&until={int(time.time()) + 1}"], capture_output=True, timeout=20
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    assert f"content-type: {answered}\r" in head.decode().lower() + "\r"
    lines = [line for line in body.split(b"\n") if line]
    assert lines
    for line in lines:
        assert line.startswith(b"\x1e") == (answered == "application/json-seq")
        assert json.loads(line.lstrip(b"\x1e"))["Type"]
