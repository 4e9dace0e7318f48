"""What the hot paths may import: the CLI and the zygote start bare."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"asyncio", "argparse", "json", "re", "typing", "pathlib", "dataclasses", "subprocess", "socket", "ssl", "enum", "inspect",
         "logging", "msgspec", "threading", "urllib", "selectors"}  # fmt: skip
LEAN_ZYGOTE = HEAVY - {
    "enum",
    "socket",
    "selectors",
    "re",
    "typing",
}  # socket brings selectors and enum; signal brings enum


def imported(code: str) -> set[str]:
    """Modules a bare interpreter has after running `code`."""
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stderr.split())


def test_run_help_stays_lean() -> None:
    found = imported("from havre.__main__ import main\nmain(['run', '--help'])")
    assert found & HEAVY == set()


def test_ps_stays_lean() -> None:
    found = imported("import havre.cli.main, havre.cli.ps, havre.cli.context, havre.client.http")
    assert found & HEAVY == set()


def test_zygote_stays_lean() -> None:
    found = imported("import havre.daemon.zygote")
    assert found & LEAN_ZYGOTE == set()
