"""`havre`: the CLI, or with `oci` the runtime as a command, with `daemon` the daemon, with `registry` the registry. Lean: imports only what is asked for."""

import os
import sys


def main(argv: list[str] | None = None) -> int:
    """Dispatch; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["oci"]:
        from havre.oci.__main__ import main as oci_main

        return oci_main(words[1:])
    if words[:1] == ["daemon"] or os.path.basename(sys.argv[0]) in ("havred", "dockerd"):
        from havre.daemon.__main__ import main as daemon_main

        return daemon_main(words[1:] if words[:1] == ["daemon"] else words)
    if words[:1] == ["registry"] and words[1:2] != ["image"]:
        from havre.registry.server.command import main as registry_main

        return registry_main(words[1:])
    from havre.cli.main import main as cli_main

    return cli_main(words)


def leave() -> None:
    """Run and end without the interpreter's own slow goodbye; output is flushed first."""
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(code)


if __name__ == "__main__":
    leave()
