"""`havre X` and `docker X` against one real dockerd: the same bytes and the same exit code, but for what is named here."""

import re

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat, pytest.mark.slow]
TEMPLATE = "{{.ID}} {{.Names}} {{.Image}} {{.Command}} {{.Labels}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.Ports}} {{.RunningFor}} {{.Size}} {{.State}} {{.Status}} {{.CreatedAt}} {{.Platform}}"
IMAGE_TEMPLATE = "{{.Repository}} {{.Tag}} {{.ID}} {{.Size}} {{.CreatedSince}} {{.CreatedAt}} {{.Digest}} {{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.VirtualSize}}"
EVENT_TEMPLATE = "{{.Type}} {{.Action}} {{.ID}} {{.Actor.Attributes.name}} {{.Time}} {{.TimeNano}} {{.Status}} {{.From}} {{.Scope}}"
SAME = [
    *("ps", "ps -a", "ps -aq", "ps -a --no-trunc", "ps -as", "ps -l", "ps -n 2", "ps -aq --no-trunc", "ps -q"),
    *("ps -a --format json", "ps -a --format '{{json .}}'", f"ps -a --format '{TEMPLATE}'", "ps -a --format table"),
    r"ps -a --format 'table {{.ID}}\t{{.Names}}\t{{.Label `team`}}\t{{.Labels}}\t{{.Size}}\t{{.CreatedAt}}'",
    *("ps -a --format 'table {{upper .Names}} {{.Status}}'", "ps -a --format raw", "ps -aq --format raw"),
    *("ps -aq --format '{{.Names}}'", "ps -a --format '{{.Nope}}'", "ps --format '{{.ID'", "ps --format '{{.'"),
    *("ps -a -f status=exited", "ps -a -f exited=3", "ps -f name=we", "ps -a -f label=team=x", "ps -f bogus=1"),
    *("ps -f bogus", "ps -a -f ancestor=busybox -f status=created", "ps -f health=none", "ps -f publish=8080"),
    *("ps -f expose=80", "ps -f network=bridge", "ps -f network=mine", "ps -a -f before=done", "ps -f volume=/m"),
    *("ps -a -f since=done", "ps -f is-task=false", "ps -f is-task=true", "ps -f id=abc", "ps extra", "ps --nope"),
    *("container ls -a", "container ls", "container list", "container ps -q"),
    *("images", "images -a", "images -q", "images --no-trunc", "images --digests", "images busybox", "images x"),
    *("images --format json", "images --format '{{json .}}'", f"images --format '{IMAGE_TEMPLATE}'"),
    r"images --format 'table {{.ID}}\t{{.CreatedAt}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}'",
    *("images -f reference=busy*", "images -f dangling=true", "images -f label=a", "images -f nope=1"),
    *("images --format raw", "images -q --format raw", "images -q --format '{{.Tag}}'", "images --format '{{.X}}'"),
    *("image ls", "image ls -q --no-trunc", "image inspect busybox", "image inspect nope busybox"),
    *("image inspect busybox -f '{{.Id}} {{.Config.Cmd}} {{.RepoTags}} {{.Created}}'",),
    *("inspect web", "inspect web done", "inspect web nope", "inspect nope", "inspect --type container web"),
    *("inspect --type image busybox", "inspect --type image web", "inspect --type network bridge"),
    *("inspect -s web", "inspect -s busybox", "inspect -f '{{.Name}}' web", "inspect -f '{{json .State}}' web"),
    "inspect -f '{{range $k,$v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}} {{end}}' web",
    "inspect -f '{{range .Mounts}}{{.Source}}:{{.Destination}} {{end}}' web",
    "inspect -f '{{index .Config.Labels \"team\"}} {{.Config.Labels.nope}} {{.SizeRw}} {{.State.Health}}' web",
    "inspect -f '{{.HostConfig.NanoCPUs}} {{.ID}} {{.HostConfig.DNS}} {{.HostConfig.CapAdd}}' web",
    "inspect -f '{{.HostConfig.PidsLimit}} {{.Config.Volumes}} {{.HostConfig.Sysctls}} {{.Config.Healthcheck}}' web",
    "inspect -f '{{with .State}}{{.Pid}}{{end}} {{len .Name}} {{printf \"%q %d %v\" .Name .RestartCount .Config.Cmd}}' web",
    "inspect -f '{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}' web",
    "inspect -f '{{(index (index .NetworkSettings.Ports \"81/tcp\") 0).HostPort}}' web",
    *("inspect -f '{{.Nope}}' web", "inspect -f '{{.State.Nope}}' web", "inspect -f '{{.' web", "inspect -f json web"),
    *("inspect bridge", "inspect busybox", "inspect mine", "inspect data", "container inspect web nope"),
    *("network ls", "network ls -q", "network ls --no-trunc", "network ls --format json", "network ls -f nope=1"),
    "network ls --format '{{.ID}} {{.Name}} {{.Driver}} {{.Scope}} {{.IPv4}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.CreatedAt}}'",
    r"network ls --format 'table {{.Name}}\t{{.Label `n`}}\t{{.Labels}}\t{{.CreatedAt}}\t{{.Internal}}\t{{.IPv6}}'",
    *("network ls -f driver=bridge", "network ls -f name=mi", "network ls -f label=n=1", "network ls -f type=custom"),
    *("network ls --format '{{json .}}'", "network ls --format raw", "network inspect mine", "network inspect -v mine"),
    *("network inspect mine bridge", "network inspect nope", "network inspect mine nope"),
    "network inspect -f '{{.Name}} {{json .IPAM}} {{range .IPAM.Config}}{{.Subnet}}{{end}}' mine",
    *("history busybox", "history --no-trunc busybox", "history -q busybox", "history --format json busybox"),
    "history --format '{{.ID}} {{.CreatedBy}} {{.Size}} {{.CreatedAt}} {{.CreatedSince}} {{.Comment}}' busybox",
    *("history -H=false busybox", "history nope", r"history --format 'table {{.ID}}\t{{.CreatedAt}}' busybox"),
    *("history --format '{{.Nope}}' busybox", "image history busybox"),
    *("version -f '{{json .Server}}'", "version -f '{{.Nope}}'", "version extra", "version -f '{{.Server.APIVersion}}'"),
    *("version -f '{{.Client.APIVersion}} {{.Client.Os}}/{{.Client.Arch}} {{.Client.Context}}'", "version -f '{{.X'"),
    *("info --format '{{.ServerVersion}} {{.Driver}} {{.NCPU}} {{json .Plugins}}'", "info -f '{{.Nope}}'"),
    *("info -f '{{.ClientInfo.Context}}'", "system info -f '{{.ID}}'"),
    *("logs done", "logs --tail 1 done", "logs -n 1 done", "logs --tail 0 done", "logs --since 1h done"),
    *("logs -t --since 2000-01-01 done", "logs --until 2000-01-01 done", "logs --details done", "logs -f done"),
    *("logs nope", "logs --tail x done", "logs --since nonsense done"),
    *("events --since 1 --until 1", "events --since 60m --until 0s", "events --since 60m --until 0s --format json"),
    *("events --since 60m --until 0s --format '{{json .}}'", "events --since nonsense", "events --format '{{.'"),
    f"events --since 60m --until 0s --format '{EVENT_TEMPLATE}'",
    *("events --since 60m --until 0s -f type=container -f event=start", "events --since 60m --until 0s -f container=web"),
    *("events --since 1 --until 2000000000 --format '{{.Nope}}'", "events --since 9m --until 0s -f nope=1"),
    *("system df", "system df -v", "system df --format json", "system df -v --format json", "system df -v --format '{{.X}}'"),
    *("system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'",),
    *(r"system df --format 'table {{.Type}}\t{{.Size}}'", "system df --format '{{.Nope}}'"),
    *("port web", "port web 80", "port web 80/tcp", "port web 81", "port nope", "wait done"),
    *("exec web echo hi", "exec web nosuch", "exec done echo hi", "exec nope echo hi"),
    *("start nope", "start done nope", "stop nope", "kill nope", "kill done", "rm nope", "rm web", "rm -f nope"),
    *("rmi nope", "rename web", "rename nope x", "rename web done", "tag nope a", "tag busybox BAD", "unpause web"),
    *("update --cpu-shares 512 web", "update web", "update --memory x web", "update --restart bogus web"),
    *("update --cpu-shares 2 nope web", "update --cpus 99 web", "update --blkio-weight 70000 web", "update --nope web"),
    *("update --kernel-memory 10m web", "update --pids-limit x web", "update --memory-swap -2 web"),
    *("create --health-interval 5 busybox", "create --health-interval x busybox", "create --health-retries x busybox"),
    *("pause done", "restart nope", "attach nope", "run --nope", "run busybox nosuch", "run --rm busybox echo hi"),
    *("run --rm busybox sh -c 'exit 4'", "run --name web busybox", "create --name web busybox", "pull", "pull BAD"),
    *("save nope", "run --rm -h box -e A -e B=1 busybox env"),
    *("container prune -f --filter label=zzz", "image prune -f --filter label=zzz", "network prune -f --filter label=zzz"),
]  # fmt: skip
OUR_VERSION = r"^Client|^ Version: |^ API version: |^ Go version: |^ Git commit: |^ Built: "
DIFFERENT = {  # command: (why, the lines that may differ)
    "version": ("each client names itself", OUR_VERSION),
    "info": ("each client names itself", OUR_VERSION),
    "inspect --type bogus web": ("we name the types that exist here", "^unknown type"),
    "attach done": ("we say what to type next", "^You cannot attach"),
    "run --rm -it busybox true": ("we say what to type next", "^the input device"),
    "run": ("docker mixes See and Run", "^(See|Run) 'docker"),
    "exec web": ("docker mixes See and Run", "^(See|Run) 'docker"),
    "save": ("docker mixes See and Run", "^(See|Run) 'docker"),
    "import": (
        "docker mixes See and Run; we read no URL",
        "^(See|Run) 'docker|^Usage|requires at least 1",
    ),
    "nope": ("we name the nearest command", "^docker: unknown command|^Run 'docker|^$"),
    "pull a:b:c": ("we name what is wrong", "invalid reference format"),
}


@pytest.fixture(scope="module")
def real(real_docker):
    for command in (
        "import -c 'CMD [\"sh\"]' -c 'LABEL a=b c=d' -c 'ENV X=1' -c 'EXPOSE 80/tcp' - busybox",
        "network create --label n=1 --subnet 10.77.0.0/24 mine",
        "run -d --name web -p 8080:80 -l team=x -v data:/m busybox sleep 1000",
        "run --name done busybox sh -c 'echo out; echo err >&2; exit 3'",
        "create --name new -it busybox",
        "run -d --name held --network mine busybox sleep 1000",
        "pause held",
    ):
        code, _, err = real_docker.docker(
            command, real_docker.rootfs if command.startswith("import") else b""
        )
        assert code in (0, 3), err
    return real_docker


def steady(real, command: str) -> tuple[tuple[int, str, str], tuple[int, str, str]]:
    """Return docker's answer and ours, taken while docker's own did not change: "5 seconds ago" does."""
    fresh = command.split(maxsplit=1)[0] in (
        "run",
        "create",
        "start",
    )  # such a command changes what it would say again
    for _ in range(20):
        before, ours = real.docker(command), real.havre(command)
        if fresh or real.docker(command) == before:
            return before, ours
    pytest.fail(f"docker {command} never says the same twice")


@pytest.mark.parametrize("command", SAME)
def test_havre_says_what_docker_says(real, command: str) -> None:
    theirs, ours = steady(real, command)
    assert ours == theirs


@pytest.mark.parametrize("command", DIFFERENT)
def test_havre_differs_only_where_it_is_meant_to(real, command: str) -> None:
    (code, *theirs), (our_code, *ours) = steady(real, command)
    lines = re.compile(DIFFERENT[command][1])
    assert our_code == code
    for their_text, our_text in zip(theirs, ours, strict=True):
        kept = [
            [line for line in text.splitlines() if not lines.search(line)] for text in (their_text, our_text)
        ]
        assert kept[1] == kept[0]


def test_json_of_info_and_version_has_dockers_keys(real) -> None:
    import json

    for command, without in (("info --format json", {"CDISpecDirs"}), ("version --format json", set())):
        theirs, ours = (json.loads(one(command)[1]) for one in (real.docker, real.havre))
        assert set(theirs) - set(ours) <= without
    assert {"Version", "DefaultAPIVersion", "Os", "Arch", "Context"} <= set(ours["Client"])
