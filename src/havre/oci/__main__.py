"""`havre oci ...`: where the words first arrive. Bare until the interpreter is protected, as that starts it once more."""

import sys

from havre.runtime import selfexec

ENTERING = frozenset(("create", "run", "exec"))  # commands of which a process goes into the container


def main(argv: list[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if not ENTERING.isdisjoint(words):
        selfexec.protect(b"havre-oci")
    from havre.oci.command import carry_out

    return carry_out(words)


if __name__ == "__main__":
    sys.exit(main())
