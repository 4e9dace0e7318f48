"""The budget of all logs: what counts, when it is said, and who is named."""

from havre.engine import logbudget


def make(root, container, files):
    for name, size in files.items():
        path = root / container / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)


def test_measure_counts_logs_and_nothing_else(tmp_path):
    make(tmp_path, "a", {"a-json.log": 10, "a-json.log.1": 20, "a-json.log.2.gz": 5, "hosts": 1000})
    make(tmp_path, "b", {"local-logs/container.log": 7, "local-logs/container.log.1.gz": 3})
    make(tmp_path, "c", {"hostname": 1000})
    (tmp_path / "c" / "c-json.log").symlink_to("hostname")
    assert logbudget.measure(tmp_path) == {"a": 35, "b": 10, "c": 0}
    assert logbudget.measure(tmp_path / "missing") == {}


def test_judge_names_the_largest_when_the_budget_is_crossed():
    sizes, names = {"a": 4_000_000_000, "b": 1_000_000_000, "gone": 2_000_000}, {"a": "web", "b": "db"}
    assert logbudget.judge(sizes, names, 0) is None
    assert logbudget.judge(sizes, names, 5_002_000_000) is None
    over = logbudget.judge(sizes, names, 5_000_000_000)
    assert over is not None and over.largest == (("web", 4_000_000_000), ("db", 1_000_000_000))
    assert str(over) == "WARNING: logs take 5GB, more than the log-budget of 5GB (largest: web 4GB, db 1GB)"
