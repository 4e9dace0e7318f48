"""Run this program from a read-only mount of its own interpreter, so that no container can ever write to the host's python.

Whatever leads a process inside a container to /proc/PID/exe of ours (CVE-2019-5736 and its kin), the link carries the mount it was
executed from, and that one refuses writing. Costs one more exec of the interpreter; shares all its pages. Lean.
"""

import os
import sys

from havre.errors import KernelError
from havre.linux import syscalls

MARK = "HAVRE_SELF_READ_ONLY"  # in the environment across the exec: never a second time


def protect(name: bytes) -> bool:
    """Execute the same command line again from a read-only mount, or return whether that has been done. Single-threaded only.

    `name` is what ps shows: execve by descriptor would show a number. False: this host does not let us (no CAP_SYS_ADMIN).
    """
    tried = os.environ.pop(MARK, "")
    if is_protected():
        syscalls.set_name(name)
        return True
    if tried:
        return False
    try:
        tree = syscalls.open_tree("/proc/self/exe", syscalls.OPEN_TREE_CLONE)
        syscalls.mount_setattr(tree, "/proc/self/exe", add=syscalls.MOUNT_ATTR_RDONLY)
        os.execve(tree, sys.orig_argv, {**os.environ, MARK: "1"})
    except (KernelError, OSError):
        return False


def is_protected() -> bool:
    """Whether the file behind /proc/self/exe is on a read-only mount."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)
