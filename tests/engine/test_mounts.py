"""-v, --mount and --tmpfs in every form, good and bad."""

from pathlib import Path

import pytest

from havre.engine import mounts
from havre.engine.mounts import parse_bind, parse_mount, parse_tmpfs, resolve
from havre.errors import InvalidParameter, NotImplementedHere
from havre.spec.engine import BindOptions, HostConfig, Mount, TmpfsOptions


def test_bind_reads_source_target_and_options() -> None:
    point = parse_bind("/a/../b:/c//d:ro,rslave")
    assert (point.source, point.destination, point.rw, point.propagation) == ("/b", "/c/d", False, "rslave")
    assert parse_bind("/a:/b").propagation == "rprivate"


@pytest.mark.parametrize(
    "text",
    ["/a", ":/b", "/a:b", "/a:/", "/a:/b:bad", "/a:/b:ro,rw", "/a:/b:shared,slave", "/a:/b:ro:x", "/a\0:/b"],
)
def test_bad_binds_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_bind(text)


def test_named_volume_is_not_there_yet_and_says_what_to_type() -> None:
    with pytest.raises(NotImplementedHere, match=r"-v \$PWD/data:/x"):
        parse_bind("data:/x")


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
