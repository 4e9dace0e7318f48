"""`python -m bench [--quick] [--only WORD] [--peers a,b] [--json FILE]`: start the peers, measure in turns, print, clean up."""

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import content, table
from bench.lines import LINES, Line
from bench.peers import ALL, IMAGE, Peer
from bench.place import Place


def main() -> int:
    options = _options()
    lines = [line for line in LINES if not options.only or any(word in line.name for word in options.only)]
    if options.list or not lines:
        for line in LINES:
            print(f"{line.name:<17}{line.what}")
        return 0 if options.list else 2
    if os.geteuid() != 0:
        print("bench: must run as root", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Place() as place:
            return _measure(place, lines, options)
    except KeyboardInterrupt:
        print("bench: stopped; everything is cleaned up", file=sys.stderr)
        return 130


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few calls each, a 60 MB image")
    parser.add_argument(
        "--only", action="append", metavar="WORD", help="only lines with WORD in their name; may be repeated"
    )
    parser.add_argument("--peers", default="", help="comma-separated; default: all that are installed")
    parser.add_argument("--json", metavar="FILE", help="write every value there too")
    parser.add_argument("--list", action="store_true", help="show the lines")
    return parser.parse_args()


def _measure(place: Place, lines: Sequence[Line], options: argparse.Namespace) -> int:
    peers = _start(place, [one for one in options.peers.split(",") if one])
    if not peers:
        print("bench: no peer could start", file=sys.stderr)
        return 1
    if any(line.name == "pull" for line in lines):
        _serve(place, peers, quick=options.quick)
    names = [peer.name for peer in peers]
    print(table.head(names), flush=True)
    found: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        found[line.name] = _line(line, peers, line.quick if options.quick else line.count)
        print(table.row(line, names, found[line.name]), flush=True)
    if options.json:
        about = {
            "kernel": platform.release(),
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "peers": names,
            "quick": options.quick,
        }
        Path(options.json).write_text(table.document(lines, found, about) + "\n", encoding="utf-8")
    return 0


def _start(place: Place, wanted: Sequence[str]) -> list[Peer]:
    archive = content.archive(content.rootfs(place.root / "rootfs"), place.root / "busybox.tar", IMAGE)
    peers: list[Peer] = []
    for kind in ALL:
        if wanted and kind.name not in wanted:
            continue
        if missing := kind.missing():
            print(f"bench: no {kind.name}: {missing} is not installed", file=sys.stderr)
            continue
        try:
            peer = kind(place)
            peer.start(archive)
        except (RuntimeError, OSError) as error:
            print(f"bench: no {kind.name}: {error}", file=sys.stderr)
            continue
        peers.append(peer)
    return peers


def _serve(place: Place, peers: Sequence[Peer], *, quick: bool) -> None:
    """The big image, at 127.0.0.1 of every peer's namespace."""
    storage = place.root / "registry"
    print("bench: making the big image", file=sys.stderr)
    content.fill_registry(place, storage, megabytes=60 if quick else 300, files=3000 if quick else 15_000)
    for peer in peers:
        content.start_registry(place, peer.enter, storage, peer.name)


def _line(line: Line, peers: Sequence[Peer], count: int) -> dict[str, list[float]]:
    """Measure one line: peers take turns, each round begins with another one. Who fails is left out, and said."""
    values: dict[str, list[float]] = {peer.name: [] for peer in peers}
    with contextlib.ExitStack() as stack:
        able = []
        for peer in peers:
            try:
                if line.setting:
                    stack.enter_context(line.setting(peer))
                able.append(peer)
            except RuntimeError as error:
                print(f"bench: {line.name}: {error}", file=sys.stderr)
        time.sleep(0.5)  # let what came before come to rest: dying namespaces, dirty pages
        for number in range(-1 if count > 1 else 0, count):  # the first round warms up
            start = number % len(able) if able else 0
            for peer in able[start:] + able[:start]:
                if (value := _once(line, peer)) is None:
                    able = [one for one in able if one is not peer]
                elif number >= 0:
                    values[peer.name].append(value)
    return values


def _once(line: Line, peer: Peer) -> float | None:
    try:
        return line.once(peer)
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench: {line.name}: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
