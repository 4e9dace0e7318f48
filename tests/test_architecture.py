"""The rules of docs/architecture.md that import-linter's contracts do not say: where ctypes may stand, and no cycle anywhere."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
FILES = sorted((SRC / "havre").rglob("*.py"))
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def imported(tree: ast.Module) -> set[str]:
    """The top-level packages a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_only_linux_knows_ctypes() -> None:
    users = {
        path.relative_to(SRC / "havre").parts[0]
        for path in FILES
        if "ctypes" in imported(ast.parse(path.read_text()))
    }
    assert users == {"linux"}


def test_no_module_imports_itself_by_a_detour() -> None:
    """At run time: what only type checkers see may point back."""
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("havre", exclude_type_checking_imports=True, cache_dir=None)
    edges = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    left = dict(edges)
    while leaves := [name for name, targets in left.items() if not targets & set(left) - {name}]:
        for name in leaves:
            del left[name]
    while roots := [
        name for name in left if not any(name in targets for other, targets in left.items() if other != name)
    ]:
        for name in roots:
            del left[name]
    assert sorted(left) == []


def test_every_room_says_what_it_is() -> None:
    signs = [path for path in FILES if path.name == "__init__.py"]
    assert len(signs) > 10
    assert [str(path) for path in signs if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in FILES if path.stem in BANNED_NAMES] == []


def test_the_daemon_starts_no_program() -> None:
    """Nor does any room it is made of. The CLI may (ssh, credential helpers, ldd for an image of our own registry)."""
    users = {path for path in FILES if "subprocess" in imported(ast.parse(path.read_text()))}
    rooms = {
        path.relative_to(SRC / "havre").parts[0]
        for path in users
        if path.parts[-2:] != ("server", "rootfs.py")
    }
    assert rooms <= {"cli", "client", "oci"}
