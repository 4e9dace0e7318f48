"""havred's first lines: fork the zygote while this process is still small, then become the daemon.

Bare until the zygote is forked: fork costs 1.2 ms from a lean process and 5 ms from a full one (docs/design.md).
"""

import sys


def main(argv: list[str] | None = None) -> int:
    """Run the daemon until it is told to stop; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if any(word.partition("=")[0] in ("--help", "-h", "--version", "-v", "--validate") for word in words):
        from havre.daemon.flags import only_talk

        return only_talk(words)
    if "--teardown" in words:
        from havre.daemon.teardown import run as teardown

        return teardown([word for word in words if word != "--teardown"])
    from havre.daemon.zygote import launch

    zygote = launch()
    from havre.daemon.main import run

    return run(words, zygote)


if __name__ == "__main__":
    sys.exit(main())
