"""The door: grammar, exit codes, where errors are written, and the files that describe."""

import json
import os
import subprocess

import pytest

from havre.errors import InvalidParameter
from havre.oci import bundle, describe, flags, report, schema, state
from havre.oci.context import OCI_VERSION


def test_parse_takes_runcs_and_cruns_global_flags():
    words = "--root /r --log=/l --log-format json --debug --systemd-cgroup --cgroup-manager systemd --rootless auto".split()
    options, rest = flags.parse(flags.GLOBAL, [*words, "create", "--bundle", "b", "id"])
    assert rest == ["create", "--bundle", "b", "id"]
    assert (options["root"], options["log"], options["log-format"]) == ("/r", "/l", "json")
    assert options["debug"] is True and options["systemd-cgroup"] is True and options["rootless"] == "auto"


@pytest.mark.parametrize(
    ("name", "words", "options", "rest"),
    [
        ("create", ["-b", "/b", "--pid-file=/p", "id"], {"bundle": "/b", "pid-file": "/p"}, ["id"]),
        ("create", ["id", "-bundle", "/b"], {"bundle": "/b"}, ["id"]),
        ("kill", ["--all", "id", "9"], {"all": True}, ["id", "9"]),
        ("kill", ["id", "KILL", "-a"], {"all": True}, ["id", "KILL"]),
        ("exec", ["-e", "A=1", "-e", "B=2", "id", "ls", "-l"], {"env": ["A=1", "B=2"]}, ["id", "ls", "-l"]),
        ("exec", ["-t=false", "id", "--", "ls", "--", "x"], {"tty": False}, ["id", "ls", "--", "x"]),
        ("delete", ["--force", "--", "-x"], {"force": True}, ["-x"]),
        ("ps", ["id", "-ef"], {}, ["id", "-ef"]),
    ],
)
def test_parse_reads_a_commands_words(name, words, options, rest):
    assert flags.parse(flags.COMMANDS[name], words) == (options, rest)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nope"], "not defined: --nope"),
        (["--bundle"], "needs an argument: --bundle"),
        (["--no-pivot=maybe"], "invalid boolean"),
    ],
)
def test_parse_refuses_with_the_flags_name(words, said):
    with pytest.raises(InvalidParameter, match=said):
        flags.parse(flags.COMMANDS["create"], words)


def test_help_names_every_command_and_flag():
    text = flags.usage()
    assert all(name in text for name in flags.COMMANDS)
    for name, command in flags.COMMANDS.items():
        assert all(f"--{flag}" in flags.command_usage(name) for flag in command.flags)


def test_fatal_goes_to_the_log_as_json_and_to_stderr(tmp_path, capsys):
    log = tmp_path / "log"
    report.Report(str(log), "json").fatal('a "quoted"\nline')
    line = json.loads(log.read_text())
    assert (line["level"], line["msg"]) == ("error", 'a "quoted"\nline') and line["time"].endswith("Z")
    assert capsys.readouterr().err == 'a "quoted"\nline\n'


def test_warnings_never_mix_into_the_containers_stderr(tmp_path, capsys):
    report.Report().warn("something")
    assert capsys.readouterr().err == ""
    report.Report(str(tmp_path / "log")).warn("something")
    assert "level=warning" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a b", "x\n", "é", "-" * 1025])
def test_reserve_refuses_an_id_that_could_be_a_path(tmp_path, name):
    with pytest.raises(InvalidParameter, match="invalid container ID format"):
        state.reserve(str(tmp_path / "state"), name)
    assert not (tmp_path / "state").exists()


def test_process_start_is_none_for_a_zombie_and_for_nobody():
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert state.process_start(child.pid) is None
    child.wait()
    assert state.process_start(child.pid) is None
    assert state.process_start(os.getpid()) > 0


CONFIG = {"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["x"]}}


def written(tmp_path, **changes):
    (tmp_path / "rootfs").mkdir(exist_ok=True)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return bundle.read_config(str(tmp_path), "")


def test_read_config_makes_paths_absolute_and_adds_the_default_devices(tmp_path):
    config = written(
        tmp_path, mounts=[{"destination": "x", "source": "rel", "options": ["bind"]}], unknown={"a": 1}
    )
    assert config["root"]["path"] == f"{tmp_path}/rootfs"
    assert config["mounts"][0] == {"destination": "/x", "source": f"{tmp_path}/rel", "options": ["bind"]}
    rules = config["linux"]["resources"]["devices"]
    assert {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"} in rules


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ociVersion": "2.0.0"}, "unsupported ociVersion"),
        ({"ociVersion": "1"}, "unsupported ociVersion"),
        ({"process": {"cwd": "/", "args": "sh"}}, r"\$.process.args"),
        ({"process": {"cwd": "/", "user": {"uid": "root"}}}, r"\$.process.user.uid"),
        ({"mounts": {"a": 1}}, r"\$.mounts"),
        ({"linux": {"resources": {"pids": {"limit": "many"}}}}, r"\$.linux.resources.pids"),
        ({"root": {"path": "nope"}}, "is not a directory"),
        ({"linux": {"intelRdt": {"closID": "x"}}}, "linux.intelRdt"),
        ({"process": {"cwd": "/", "selinuxLabel": "x"}}, "SELinux is not enabled"),
        ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s"}}}, "listenerPath"),
        ({"linux": {"resources": {"network": {"classID": 1}}}}, "linux.resources.network"),
    ],
)
def test_read_config_refuses_and_names_the_place(tmp_path, changes, said):
    with pytest.raises(InvalidParameter, match=said):
        written(tmp_path, **changes)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"\xff\xfe", b"null", b'{"ociVersion": NaN}', b"[" * 100_000]
)
def test_check_refuses_what_is_no_config(data):
    with pytest.raises(InvalidParameter):
        bundle.check(data, schema.Config, "config.json")


def test_features_are_valid_by_shape():
    found = describe.features()
    assert found["hooks"] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]
    assert {"ro", "rro", "rbind", "tmpcopyup", "rslave"} <= set(found["mountOptions"])
    assert {"user", "time", "cgroup"} <= set(found["linux"]["namespaces"])
    assert all(isinstance(word, str) for word in found["linux"]["seccomp"]["actions"])


def call(*words, **kwargs):
    import sys
    from pathlib import Path

    import havre

    env = {**os.environ, "PYTHONPATH": str(Path(havre.__file__).parent.parent)}
    program = [sys.executable, "-m", "havre.oci"]
    return subprocess.run([*program, *words], capture_output=True, text=True, env=env, check=False, **kwargs)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nope"], 1, "No help topic for 'nope'"),
        (["start"], 1, '\\"start\\" takes <container-id>, 0 given'),
        (["state", "a", "b"], 1, "2 given"),
        (["exec"], 255, "0 given"),
        (["--log-format", "xml", "list"], 1, "unknown log-format"),
        (["--nope", "list"], 1, "not defined: --nope"),
    ],
)
def test_main_ends_with_runcs_exit_codes(words, code, said):
    done = call(*words)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr


def test_main_answers_version_and_help():
    assert call("--version").stdout.splitlines()[1] == f"spec: {OCI_VERSION}"
    assert "Commands:" in call("--help").stdout and "--preserve-fds" in call("create", "--help").stdout


def test_spec_writes_a_config_once(tmp_path):
    assert call("spec", "-b", str(tmp_path)).returncode == 0
    assert bundle.check((tmp_path / "config.json").read_bytes(), schema.Config, "x")["process"]["args"] == [
        "sh"
    ]
    again = call("spec", "-b", str(tmp_path))
    assert again.returncode == 1 and "exists. Remove it first" in again.stderr


def test_spec_rootless_maps_the_caller(tmp_path):
    call("spec", "--rootless", cwd=tmp_path)
    linux = json.loads((tmp_path / "config.json").read_text())["linux"]
    assert {"type": "user"} in linux["namespaces"] and linux["uidMappings"][0]["hostID"] == os.geteuid()


def test_errors_are_in_the_json_log_for_conmon_and_containerd(tmp_path):
    log = tmp_path / "log.json"
    done = call("--root", str(tmp_path), "--log", str(log), "--log-format", "json", "start", "nobody")
    assert done.returncode == 1 and done.stderr == "container nobody does not exist\n"
    assert json.loads(log.read_text())["msg"] == "container nobody does not exist"
