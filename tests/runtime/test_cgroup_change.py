"""Limits change all together or not at all; the files of a control group are stood in for by plain ones."""

from pathlib import Path

import pytest

from havre.errors import KernelError
from havre.runtime.cgroup import change, files
from havre.runtime.cgroup.layout import Layout
from havre.runtime.cgroup.plan import CgroupPlan, make_plan


def plan_of(root: Path, *writes: tuple[str, str]) -> CgroupPlan:
    plan = make_plan(Layout({"cpu": str(root)}), "/x", {})
    plan["writes"] = [(str(root / name), value, True) for name, value in writes]
    return plan


@pytest.fixture
def picky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A group whose file `pids.max` takes no 13, and whose io.max keeps a line for each device."""
    real = files.write

    def write(path: str, value: str) -> None:
        if path.endswith("pids.max") and value == "13":
            raise KernelError("write", path, 16)
        if path.endswith("io.max"):
            lines = [
                line
                for line in Path(path).read_text().splitlines()
                if line.partition(" ")[0] != value.partition(" ")[0]
            ]
            Path(path).write_text("\n".join([*lines, value]))
            return
        Path(path).write_text("")
        real(path, value)

    monkeypatch.setattr(files, "write", write)
    for name, text in (("cpu.shares", "1024\n"), ("pids.max", "max\n"), ("io.max", "8:0 rbps=1 wbps=max\n")):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_all_limits_are_written(picky: Path) -> None:
    change.change(plan_of(picky, ("cpu.shares", "2"), ("pids.max", "12"), ("io.max", "8:0 rbps=5")))
    assert (picky / "cpu.shares").read_text() == "2"
    assert (picky / "pids.max").read_text() == "12"
    assert (picky / "io.max").read_text() == "8:0 rbps=5"


def test_one_refusal_brings_everything_back(picky: Path) -> None:
    writes = (("cpu.shares", "2"), ("io.max", "8:0 rbps=5"), ("io.max", "8:16 rbps=5"), ("pids.max", "13"))
    with pytest.raises(KernelError):
        change.change(plan_of(picky, *writes))
    assert (picky / "cpu.shares").read_text() == "1024"
    assert (picky / "pids.max").read_text() == "max"
    assert (picky / "io.max").read_text().splitlines() == [
        "8:16 rbps=max wbps=max riops=max wiops=max",
        "8:0 rbps=1 wbps=max",
    ]
