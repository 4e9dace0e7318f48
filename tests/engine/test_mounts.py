"""-v, --mount and --tmpfs in every form, good and bad."""

from pathlib import Path

import pytest

from havre.engine import mounts
from havre.engine.mounts import inherit, parse_bind, parse_mount, parse_tmpfs, resolve
from havre.errors import InvalidParameter
from havre.spec.engine import BindOptions, ContainerConfig, HostConfig, Mount, TmpfsOptions, VolumeOptions


def test_bind_reads_source_target_and_options() -> None:
    point = parse_bind("/a/../b:/c//d:ro,rslave")
    assert (point.source, point.destination, point.rw, point.propagation) == ("/b", "/c/d", False, "rslave")
    assert parse_bind("/a:/b").propagation == "rprivate"


@pytest.mark.parametrize(
    "text",
    [":/b", "/a:b", "/a:/", "/a:/b:bad", "/a:/b:ro,rw", "/a:/b:shared,slave", "/a:/b:ro:x", "/a\0:/b"],
)
def test_bad_binds_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_bind(text)


def test_a_name_is_a_volume_and_a_path_alone_an_anonymous_one() -> None:
    named = parse_bind("data:/x:ro,nocopy")
    assert (named.type, named.name, named.source, named.rw, named.copy) == (
        "volume",
        "data",
        "",
        False,
        False,
    )
    assert parse_bind("data:/x").mode == "z"
    assert (parse_bind("/x").type, parse_bind("/x").name) == ("volume", "")
    mount = parse_mount(
        Mount(type="volume", source="data", target="/x", volume_options=VolumeOptions(no_copy=True))
    )
    assert (mount.name, mount.copy) == ("data", False)


def test_a_relative_path_says_what_to_type() -> None:
    with pytest.raises(InvalidParameter, match=r"absolute path \(try: -v \$PWD/sub/data:/x\)"):
        parse_bind("./sub/data:/x")


@pytest.mark.parametrize(
    "text", ["a:/x", "-a:/x", "a b:/x", "data:/x:shared", "data:x", "data:/", f"{'a' * 256}:/x"]
)
def test_bad_volumes_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_bind(text)


def test_what_is_asked_for_hides_what_is_inherited_and_both_hide_the_images() -> None:
    donor = resolve(HostConfig(binds=["/host:/a", "data:/b"], tmpfs={"/t": ""}))
    own = HostConfig(binds=["mine:/b"])
    found = resolve(own, ContainerConfig(volumes={"/a": {}, "/c": {}}), inherit(donor, "ro", "donor"))
    assert [(one.type, one.destination, one.name or one.source, one.rw) for one in found] == [
        ("volume", "/b", "mine", True),
        ("bind", "/a", "/host", False),
        ("volume", "/c", "", True),
    ]


@pytest.mark.parametrize("path", ["relative", "/../..", "/"])
def test_an_images_volume_never_leaves_the_root(path: str) -> None:
    with pytest.raises(InvalidParameter):
        resolve(HostConfig(), ContainerConfig(volumes={path: {}}))
    assert resolve(HostConfig(), ContainerConfig(volumes={"/a/../../x": {}}))[0].destination == "/x"


def test_mount_of_bind_and_tmpfs() -> None:
    bind = parse_mount(
        Mount(
            type="bind",
            source="/s",
            target="/t",
            read_only=True,
            bind_options=BindOptions(non_recursive=True),
        )
    )
    assert (bind.rw, bind.recursive, bind.create_source) == (False, False, False)
    tmpfs = parse_mount(
        Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=4096, mode=0o700))
    )
    assert tmpfs.options == {"size": "4096", "mode": "700"}
    for bad in (
        Mount(type="bind", source="rel", target="/t"),
        Mount(type="huh", target="/t"),
        Mount(type="tmpfs", target="t"),
    ):
        with pytest.raises(InvalidParameter):
            parse_mount(bad)


def test_tmpfs_options_are_checked() -> None:
    assert parse_tmpfs("/t", "size=1m,noexec,ro").rw is False
    with pytest.raises(InvalidParameter, match="bogus"):
        parse_tmpfs("/t", "bogus")


def test_parents_come_first_and_duplicates_are_refused() -> None:
    found = resolve(HostConfig(binds=["/a:/x/y/z", "/b:/x"], tmpfs={"/x/y": ""}))
    assert [point.destination for point in found] == ["/x", "/x/y", "/x/y/z"]
    with pytest.raises(InvalidParameter, match="Duplicate mount point: /x"):
        resolve(HostConfig(binds=["/a:/x"], tmpfs={"/x": ""}))


def test_sources_are_made_for_v_and_refused_for_mount(tmp_path: Path) -> None:
    mounts.ask_sources([parse_bind(f"{tmp_path}/new:/x")])
    assert (tmp_path / "new").is_dir()
    with pytest.raises(InvalidParameter, match="bind source path does not exist"):
        mounts.ask_sources([parse_mount(Mount(type="bind", source=f"{tmp_path}/no", target="/x"))])


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (
            Mount(type="bind", source="/s", target="/t", tmpfs_options=TmpfsOptions()),
            "field TmpfsOptions must not",
        ),
        (Mount(type="bind", source="/s", target="/t", volume_options={}), "field VolumeOptions must not"),
        (Mount(type="tmpfs", target="/t", bind_options=BindOptions()), "field BindOptions must not"),
        (Mount(type="tmpfs", target="/t", image_options={}), "field ImageOptions must not"),
        (
            Mount(
                type="bind",
                source="/s",
                target="/t",
                bind_options=BindOptions(read_only_force_recursive=True),
            ),
            "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
        ),
        (
            Mount(
                type="bind",
                source="/s",
                target="/t",
                read_only=True,
                bind_options=BindOptions(read_only_force_recursive=True, non_recursive=True),
            ),
            "ReadOnlyForceRecursive && BindOptions.NonRecursive",
        ),
        (Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(options=[[]])), "invalid option array"),
        (
            Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(options=[["x"]])),
            "invalid tmpfs option",
        ),
        (Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=-1)), "invalid size or mode"),
    ],
)
def test_options_that_do_not_fit_are_refused(mount: Mount, words: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_mount(mount)
    assert words in str(caught.value)


def test_tmpfs_options_of_mount_reach_the_plan() -> None:
    options = TmpfsOptions(options=[["exec"], ["uid", "5"]])
    point = parse_mount(Mount(type="tmpfs", target="/t", tmpfs_options=options))
    assert point.options == {"mode": "1777", "exec": "", "uid": "5"}


@pytest.mark.parametrize(
    "text", ["size=zz", "size=1x", "mode=9", "mode=77777", "uid=-1", "nr_inodes=", "gid=a"]
)
def test_tmpfs_values_are_checked_before_the_kernel_does(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid value"):
        parse_tmpfs("/t", text)
    assert parse_tmpfs("/t", "size=50%,mode=1777,uid=0,nr_inodes=4k").options["size"] == "50%"
