"""The bench's main line: start the engines, alternate, print medians and ratios."""

import argparse
import json
import os
import shutil
import statistics
import sys

from bench import images, lines
from bench.engines import start_all, workspace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the repetitions")
    parser.add_argument("--only", default="", help="only lines whose name contains this")
    parser.add_argument("--json", default="", help="write the medians to this file")
    given = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("docker") is None:
        print("bench: needs root and the stock docker CLI", file=sys.stderr)
        return 1
    base = workspace()
    engines = []
    registries = []
    try:
        engines = start_all(base)
        for engine in engines:
            engine.docker("import", "-c", 'CMD ["sh"]', "-", "busybox", input=images.busybox_tar())
            engine.docker("run", "-d", "--name", "bench-target", "busybox", "sleep", "100000")
        wanted = [line for line in lines.LINES if given.only in line[0]]
        if any("300 MB" in line[0] for line in wanted):
            images.large_archive(base / "large.tar")
        if any("pull" in line[0] for line in wanted):
            registries = [lines.start_registry(engine) for engine in engines]
            wanted = [line for line in wanted if "pull" not in line[0] or all(registries)]
        results = measure(engines, wanted, 3 if given.quick else 1)
        if not given.only:
            results += memory(engines)
        report(results, [engine.name for engine in engines])
        if given.json:
            with open(given.json, "w", encoding="utf-8") as file:
                json.dump([{"line": name, **values} for name, values, _, _ in results], file, indent=1)
    finally:
        for registry in registries:
            if registry is not None:
                registry.kill()
        for engine in engines:
            engine.close()
        shutil.rmtree(base, ignore_errors=True)
    return 0


def measure(engines, wanted, divisor) -> list:
    """Return (line, {engine: median}, unit, goal): the engines take turns within each line."""
    results = []
    for name, function, repetitions, goal in wanted:
        seen = {engine.name: [] for engine in engines}
        for number in range(max(2, repetitions // divisor) + 1):
            for engine in engines if number % 2 else engines[::-1]:
                value = function(engine)
                if number:  # the first is a rehearsal
                    seen[engine.name].append(value)
        medians = {key: statistics.median(values) for key, values in seen.items()}
        results.append((name, medians, "ms", goal))
        print(f"  {name}: {medians}", file=sys.stderr)
    return results


def memory(engines) -> list:
    idle = {engine.name: lines.idle_kb(engine) for engine in engines}
    many = {engine.name: lines.with_100(engine) for engine in engines}
    return [
        ("idle memory of the daemon", idle, "kB", None),
        ("ps, 100 containers", {name: pair[0] for name, pair in many.items()}, "ms", 1.0),
        ("private memory of a monitor", {name: pair[1] for name, pair in many.items()}, "kB", None),
    ]


def report(results, names) -> None:
    width = max(len(name) for name, *_ in results)
    print(f"{'':{width}}  " + "".join(f"{name:>14}" for name in names) + "   ratio   goal")
    for name, medians, unit, goal in results:
        cells = "".join(f"{medians[engine]:>11.1f} {unit}" for engine in names)
        ratio = f"{medians[names[0]] / medians[names[1]]:7.2f}" if len(names) > 1 else ""
        print(f"{name:{width}}  {cells} {ratio}   {f'{goal:.2f}' if goal else ''}")


if __name__ == "__main__":
    sys.exit(main())
