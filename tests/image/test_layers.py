"""Layers are whole or not there; chains, depth, sweeping and collecting. Snapshots: prepare, remove, after a crash."""

import hashlib
import io
import os
import shutil
import stat

import pytest

from havre.errors import Conflict, InvalidParameter, NotFound
from havre.image.content import DigestMismatch
from havre.image.layers import MAX_DEPTH, chain_id, chain_ids
from havre.image.tar.bad import BadTar


def test_chain_ids_follow_the_spec():
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert chain_ids([]) == [] and chain_ids([a]) == [a]
    assert chain_ids([a, b, a]) == [a, chain_id(a, b), chain_id(chain_id(a, b), a)]
    assert chain_id(a, b) == "sha256:" + hashlib.sha256(f"{a} {b}".encode()).hexdigest()
    with pytest.raises(InvalidParameter, match="at most 127 can be stacked"):
        chain_ids([a] * (MAX_DEPTH + 1))


def test_unpack_makes_short_numbered_layers(images, tar):
    base, digest = images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "")
    top, _ = images.layers.unpack(io.BytesIO(tar.layer_of({"b": b"22"})), base)
    assert digest == base == tar.digest_of(tar.layer_of({"a": b"1"}))
    stack = images.layers.stack(top)
    assert [os.listdir(one) for one in stack] == [["b"], ["a"]]
    assert stack[0].endswith("/layers/2/diff") and images.layers.size(top) == 3
    assert stat.S_IMODE(os.stat(stack[0]).st_mode) == 0o755


def test_wrong_diff_id_leaves_nothing(images, tar):
    with pytest.raises(DigestMismatch, match="not sha256:00"):
        images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "", "sha256:" + "0" * 64)
    assert os.listdir(images.root / "layers") == []


def test_hostile_layer_leaves_nothing(images, tar):
    archive = tar.archive(tar.member(b"ok", b"1"), tar.folder(b"d"), tar.member(b"d/../../x", b"bad"))
    with pytest.raises(BadTar):
        images.layers.unpack(archive, "")
    assert os.listdir(images.root / "layers") == []
    assert not (images.root / "layers" / "x").exists()


def test_unknown_parent_is_refused(images, tar):
    with pytest.raises(NotFound, match="no such layer"):
        images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "sha256:" + "1" * 64)


def test_127_layers_can_be_stacked_and_no_more(images, tar):
    chain = ""
    for number in range(MAX_DEPTH):
        chain, _ = images.layers.unpack(io.BytesIO(tar.layer_of({f"f{number}": b""})), chain)
    assert len(images.layers.stack(chain)) == MAX_DEPTH
    with pytest.raises(InvalidParameter, match="at most 127"):
        images.layers.unpack(io.BytesIO(tar.layer_of({"x": b""})), chain)
    overlay = images.snapshots.prepare(chain, "deep")
    assert len(":".join(overlay["lower"])) < 128 * (len(str(images.root)) + 16)


def test_opaque_root_hides_every_layer_below(images, tar, reopen):
    base, _ = images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "")
    top, _ = images.layers.unpack(tar.archive(tar.member(b".wh..wh..opq"), tar.member(b"b", b"2")), base)
    assert [os.listdir(one) for one in images.layers.stack(top)] == [["b"]]
    assert len(reopen().layers.stack(top)) == 1


def test_start_sweeps_what_has_no_record(images, tar, reopen):
    chain, _ = images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "")
    half = images.root / "layers" / "77" / "diff"
    half.mkdir(parents=True)
    (half / "x").write_text("half")
    again = reopen()
    assert os.listdir(images.root / "layers") == ["1"] and again.layers.has(chain)


def test_layer_whose_directory_is_gone_is_unpacked_again(images, tar, reopen):
    chain, _ = images.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "")
    shutil.rmtree(images.root / "layers" / "1")
    again = reopen()
    assert not again.layers.has(chain)
    assert again.layers.unpack(io.BytesIO(tar.layer_of({"a": b"1"})), "")[0] == chain


# snapshots


@pytest.fixture
def chain(images, tar):
    archive = tar.archive(tar.folder(b"./", 0o1711, extra={108: b"0000005\0"}), tar.member(b"a", b"1"))
    return images.layers.unpack(archive, "")[0]


def test_prepare_gives_a_fresh_upper_over_the_layers(images, chain):
    overlay = images.snapshots.prepare(chain, "k")
    assert overlay["lower"] == images.layers.stack(chain)
    assert os.listdir(overlay["upper"]) == [] and os.path.isdir(overlay["work"])
    status = os.stat(overlay["upper"])
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o1711, 5)
    assert os.stat(overlay["upper"]).st_dev == os.stat(overlay["work"]).st_dev


def test_prepare_refuses_a_taken_key_and_a_missing_layer(images, chain):
    images.snapshots.prepare(chain, "k")
    with pytest.raises(Conflict, match="already there"):
        images.snapshots.prepare(chain, "k")
    with pytest.raises(NotFound, match="no such layer"):
        images.snapshots.prepare("sha256:" + "0" * 64, "other")
    assert images.snapshots.keys() == ["k"] and os.listdir(images.root / "snapshots") == ["1"]


def test_prepare_without_layers_has_an_empty_lower(images):
    overlay = images.snapshots.prepare("", "k")
    assert os.listdir(overlay["lower"][0]) == [] and stat.S_IMODE(os.stat(overlay["upper"]).st_mode) == 0o755


def test_remove_is_idempotent_and_forgets_the_files(images, chain):
    upper = images.snapshots.prepare(chain, "k")["upper"]
    images.snapshots.remove("k")
    assert not os.path.exists(upper) and images.snapshots.keys() == []
    images.snapshots.remove("k")
    images.snapshots.remove("never there")
    with pytest.raises(NotFound, match="no such snapshot"):
        images.snapshots.get("k")


def test_snapshots_survive_a_restart(images, chain, reopen):
    overlay = images.snapshots.prepare(chain, "k")
    (images.root / "snapshots" / "9").mkdir()
    again = reopen()
    assert again.snapshots.get("k") == overlay
    assert os.listdir(images.root / "snapshots") == ["1"]
    assert again.snapshots.prepare(chain, "l")["upper"].endswith("/snapshots/2/upper")


def test_remove_broken_off_after_its_first_step_can_go_on(images, chain, reopen):
    images.snapshots.prepare(chain, "k")
    os.rename(images.root / "snapshots" / "1", images.root / "trash" / "1-x")  # then kill -9
    again = reopen()
    again.snapshots.remove("k")
    assert again.snapshots.keys() == [] and reopen().snapshots.keys() == []


def test_usage_counts_hard_links_once(images, chain):
    upper = images.snapshots.prepare(chain, "k")["upper"]
    with open(f"{upper}/f", "wb") as file:
        file.write(bytes(1000))
    os.link(f"{upper}/f", f"{upper}/g")
    assert images.snapshots.usage("k") == 1000 and images.snapshots.usage("nobody") == 0
