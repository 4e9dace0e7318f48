"""A container becomes an image: by the stock CLI and by ours."""

import json

import pytest

pytestmark = [pytest.mark.daemon, pytest.mark.compat]
CHANGE = "echo new > /new; rm /bin/ls; mkdir /d; echo x > /d/x; rm -r /var; mkdir /var; chown 33:33 /d; cat > /v/hidden < /new"


@pytest.fixture(params=["docker", "havre"])
def run(request, daemon_of_its_own):
    cli = daemon_of_its_own.docker if request.param == "docker" else daemon_of_its_own.havre
    yield cli
    if names := cli("ps", "-aq").stdout.split():
        cli("rm", "-f", "-v", *names)
    if names := cli("images", "-q", "--filter", "reference=made*").stdout.split():
        cli("rmi", "-f", *names)


def test_the_image_has_what_the_container_changed_and_none_of_its_mounts(run) -> None:
    run("run", "--name", "one", "-e", "A=1", "-v", "/v", "busybox", "sh", "-c", CHANGE)
    made = run(
        "commit",
        "-a",
        "ann",
        "-m",
        "said",
        "-c",
        'CMD ["cat", "/new"]',
        "-c",
        "ENV B=2",
        "-c",
        "EXPOSE 80",
        "one",
        "made:1",
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("sha256:")
    assert run("run", "--rm", "made:1").stdout == "new\n"
    shown = run(
        "run",
        "--rm",
        "made:1",
        "sh",
        "-c",
        "stat -c '%u %a' /d; cat /d/x; test -e /bin/ls || echo gone; echo $A$B; find /var /v -type f",
    )
    assert shown.stdout == "33 755\nx\ngone\n12\n"
    config = json.loads(run("image", "inspect", "made:1").stdout)[0]
    assert (config["Config"]["Cmd"], config["Config"]["ExposedPorts"], config["Author"]) == (
        ["cat", "/new"],
        {"80/tcp": {}},
        "ann",
    )
    assert len(config["RootFS"]["Layers"]) == 2
    history = run(
        "history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1"
    ).stdout.splitlines()
    assert history[0] == f"sh -c {CHANGE}|said"


def test_a_running_container_is_frozen_meanwhile_and_goes_on(run) -> None:
    run("run", "-d", "--name", "one", "busybox", "sleep", "100")
    for flags in ((), ("--pause=false",)):
        assert run("commit", *flags, "one", "made:2").returncode == 0
        assert run("inspect", "--format", "{{.State.Status}}", "one").stdout == "running\n"
    assert run("run", "--rm", "made:2", "echo", "ok").stdout == "ok\n"


def test_the_same_files_make_the_same_layer_and_layers_pile_up(run) -> None:
    run("run", "--name", "one", "busybox", "sh", "-c", "echo 1 > /1")
    for tag in ("a", "b"):
        run("commit", "one", f"made:{tag}")
    layers = [
        json.loads(run("inspect", "--format", "{{json .RootFS.Layers}}", f"made:{tag}").stdout)
        for tag in ("a", "b")
    ]
    assert layers[0] == layers[1]
    run("run", "--name", "two", "made:a", "sh", "-c", "rm /1; echo 2 > /2")
    run("commit", "two", "made:c")
    assert run("run", "--rm", "made:c", "sh", "-c", "cat /1 /2").stdout == "2\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("commit", "nobody", "made:x"), "No such container: nobody"),
        (("commit", "-c", "RUN x", "one", "made:x"), "is not a valid change command"),
        (("commit", "one", "UPPER"), "repository name"),
    ],
)
def test_what_cannot_be_committed_leaves_nothing(run, words: tuple[str, ...], said: str) -> None:
    run("create", "--name", "one", "busybox")
    done = run(*words)
    assert done.returncode != 0
    assert said in done.stderr
    assert run("images", "-q", "made").stdout == ""
