"""`havre registry serve|garbage-collect`: the words of docker-registry's own program, and --config."""

import asyncio
import os
import sys
from pathlib import Path

from havre import log
from havre.errors import HavreError, InvalidParameter
from havre.registry.server import rootfs
from havre.registry.server.collect import collect
from havre.registry.server.config import Config, load
from havre.registry.server.serve import serve
from havre.registry.server.storage import Storage

PLACES = ("/etc/havre/registry.yml", "/etc/docker/registry/config.yml")
USAGE = """
Usage:  havre registry COMMAND [--config FILE | FILE]

An image registry (distribution-spec 1.1) on a folder laid out as docker-registry's.

Commands:
  serve             Serve images (default without a config: port 5000, /var/lib/registry)
  image [NAME]      Make an image of it on the daemon, without network (default name: registry)
  garbage-collect   Remove blobs that no manifest refers to, also while serving

Options:
  -c, --config string      config.yml
      --dry-run            garbage-collect: only say what would go
  -m, --delete-untagged    garbage-collect: manifests without a tag as well
"""
FLAGS = frozenset(("--dry-run", "-d", "--delete-untagged", "-m"))


def main(words: list[str]) -> int:
    """Carry out one command; return its exit code."""
    if not words or words[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0
    try:
        if words[0] == "rootfs":  # what `havre registry image` imports
            rootfs.write(sys.stdout.buffer)
            return 0
        path, flags = _parse(words[1:])
        if flags & {"--help", "-h"}:
            print(USAGE)
            return 0
        config = _load(path)
        log.configure(config.log_level, "text")
        if words[0] == "serve":
            asyncio.run(serve(config))
        elif words[0] == "garbage-collect":
            _collect(config, flags)
        else:
            raise InvalidParameter(
                f"unknown command: havre registry {words[0]}", hint="havre registry --help"
            )
    except HavreError as error:
        print(f"havre registry: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(
            f"havre registry: {error.filename or ''}: {(error.strerror or str(error)).lower()}",
            file=sys.stderr,
        )
        return 1
    return 0


def _parse(words: list[str]) -> tuple[str, set[str]]:
    path, flags, rest = "", set(), list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-c", "--config"):
            if not rest:
                raise InvalidParameter(f"flag needs an argument: {word}")
            path = rest.pop(0)
        elif word.startswith("--config="):
            path = word.partition("=")[2]
        elif word in FLAGS or word in ("--help", "-h"):
            flags.add(word)
        elif word.startswith("-") or path:
            raise InvalidParameter(f"unknown word: {word}", hint="havre registry --help")
        else:
            path = word
    return path, flags


def _load(path: str) -> Config:
    found = path or next((one for one in PLACES if os.path.exists(one)), "")
    try:
        text = Path(found).read_text("utf-8") if found else "storage: {delete: {enabled: true}}"
    except (OSError, UnicodeError) as error:
        raise InvalidParameter(
            f"cannot read {found}: {error}", hint="havre registry serve --config FILE"
        ) from None
    return load(text, os.environ)


def _collect(config: Config, flags: set[str]) -> None:
    untagged, dry_run = bool(flags & {"-m", "--delete-untagged"}), bool(flags & {"-d", "--dry-run"})
    done = collect(Storage(config.root), untagged=untagged, dry_run=dry_run)
    would = "would be " if dry_run else ""
    print(f"{done.blobs} blobs ({done.bytes} bytes) and {done.manifests} manifests {would}removed")
