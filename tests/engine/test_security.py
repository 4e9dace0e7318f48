"""--security-opt and Docker's JSON form of seccomp profiles."""

import json

import pytest

from havre.engine import security
from havre.errors import InvalidParameter
from havre.spec.engine import HostConfig

BASE = {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"]}


def names(rule: dict[str, object], *held: str) -> list[str]:
    profile = {**BASE, "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", **rule}]}
    found = security.parse_profile(json.dumps(profile), list(held))
    return [name for each in found["syscalls"] for name in each["names"]]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "_machine", lambda: ("amd64", (5, 10)))


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ({"includes": {"caps": ["CAP_BPF"]}}, False),
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_BPF"]}}, False),
        ({"excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"excludes": {"caps": ["CAP_BPF"]}}, True),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"excludes": {"arches": ["s390x"]}}, True),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "5.10"}}, True),
        ({"includes": {"minKernel": "5.11"}}, False),
        ({"excludes": {"minKernel": "4.8"}}, False),
        ({"excludes": {"minKernel": "6.1"}}, True),
        ({"includes": {}, "excludes": None}, True),
    ],
)
def test_rules_apply_by_capability_architecture_and_kernel(rule: dict[str, object], kept: bool) -> None:
    assert names(rule, "CAP_CHOWN") == (["getpid"] if kept else [])


def test_the_older_single_name_is_read() -> None:
    profile = {**BASE, "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "args": []}]}
    found = security.parse_profile(json.dumps(profile), [])
    assert found["syscalls"] == [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": []}]


def test_architecture_map_gives_this_machines_own() -> None:
    entry = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}
    other = {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "archMap": [other, entry], "defaultErrnoRet": 38}
    found = security.parse_profile(json.dumps(profile), [])
    assert found["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert found["defaultErrnoRet"] == 38


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Decoding seccomp profile failed"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "Decoding seccomp profile failed"),
        ('{"syscalls": 5}', "Decoding seccomp profile failed"),
        ('{"syscalls": [5]}', "Decoding seccomp profile failed"),
        ('{"syscalls": [{"names": [5]}]}', "Decoding seccomp profile failed"),
        ('{"archMap": [{}]}', "Decoding seccomp profile failed"),
        ('{"archMap": [{}], "architectures": ["x"]}', "use either 'architectures' or 'archMap'"),
        ('{"syscalls": [{"name": "a", "names": ["b"]}]}', "use either 'name' or 'names'"),
        ('{"listenerPath": "/x"}', "listener"),
    ],
)
def test_a_bad_profile_is_named(text: str, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        security.parse_profile(text, [])
    assert words in str(caught.value)


def test_check_compiles_the_profile_before_anything_is_made() -> None:
    bad = {**BASE, "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_BOGUS"}]}
    with pytest.raises(InvalidParameter, match="SCMP_ACT_BOGUS"):
        security.check(HostConfig(security_opt=[f"seccomp={json.dumps(bad)}"]))
    security.check(HostConfig(security_opt=["seccomp=unconfined"]))


def test_options_are_read_in_both_spellings() -> None:
    host = HostConfig(
        security_opt=["no-new-privileges:true", "writable-cgroups=1", "systempaths=unconfined", "apparmor:p"]
    )
    found = security.read(host, no_new_privileges=False)
    assert (found.no_new_privileges, found.writable_cgroups, found.system_paths) == (True, True, False)
    assert found.apparmor == "p"
    bare = security.read(
        HostConfig(security_opt=["no-new-privileges", "apparmor=unconfined"]), no_new_privileges=False
    )
    assert (bare.no_new_privileges, bare.apparmor) == (True, "")
    off = security.read(HostConfig(security_opt=["no-new-privileges=false"]), no_new_privileges=True)
    assert not off.no_new_privileges


def test_the_daemons_own_profile_is_read_in_dockers_form_too() -> None:
    rule = {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}
    default = {**BASE, "syscalls": [rule]}
    plain = security.read(HostConfig(), no_new_privileges=False)
    found = security.oci_seccomp(plain, HostConfig(), [], default)
    assert found is not None and found["syscalls"] == []
    builtin = security.read(HostConfig(security_opt=["seccomp=builtin"]), no_new_privileges=False)
    assert security.oci_seccomp(builtin, HostConfig(), [], default) != found
