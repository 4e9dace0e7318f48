"""Who a process runs as: users and groups from the container's own files, capabilities, limits. Lean; runs in the child."""

import os
import stat

from havre.errors import KernelError
from havre.linux import syscalls as sys

MAX_FILE_BYTES = 1 << 20  # a hostile /etc/passwd may be a gigabyte
MAX_ID = 0xFFFFFFFE
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.runtime.plan import Process


class UnknownUser(Exception):
    """A user or group that the container's files do not have. The text is runc's, clients know it."""


def read_lines(path: str) -> list[list[str]]:
    """Return the fields of /etc/passwd or /etc/group; nothing when it is missing or no regular file."""
    try:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
        fd = sys.openat2(root, path, flags, resolve=sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS)
        os.close(root)
    except KernelError:
        os.close(root)
        return []
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return []
        data = b""
        while len(data) < MAX_FILE_BYTES and (chunk := os.read(fd, 65536)):
            data += chunk
    finally:
        os.close(fd)
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return [line.split(":") for line in lines if line and not line.startswith("#")]


def parse_id(text: str) -> int | None:
    """Return a number from 0 to MAX_ID, None for a name. Too large is an error, never a wrapped 0 (CVE-2024-40635)."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    if number > MAX_ID:
        raise UnknownUser(f"uids and gids must be in range 0-{MAX_ID}: {text}")
    return number


def look_up(user: str, group_add: list[str]) -> tuple[int, int, list[int], str]:
    """Return (uid, gid, supplementary gids, home) of "name|uid[:group|gid]" and --group-add words.

    A number is an id, never a name that looks like one (CVE-2026-30892); an unknown number is fine, an unknown name is not.
    """
    name, colon, group = user.partition(":")
    users, groups = read_lines("/etc/passwd"), read_lines("/etc/group")
    uid = parse_id(name or "0")
    entry = next(
        (one for one in users if len(one) >= 6 and (one[0] == name if uid is None else one[2] == str(uid))),
        None,
    )
    if entry is None and uid is None:
        raise UnknownUser(f"unable to find user {name}: no matching entries in passwd file")
    uid = _field(entry, 2) if uid is None else uid
    gid = _field(entry, 3) if entry else 0
    extra: list[int] = []
    if colon and group:
        gid = _group(group, groups)
    elif entry:
        extra = [_field(one, 2) for one in groups if len(one) >= 4 and entry[0] in one[3].split(",")]
    extra += [_group(word, groups) for word in group_add]
    return uid or 0, gid, extra, entry[5] if entry else "/"


def _field(entry: list[str] | None, index: int) -> int:
    number = parse_id(entry[index]) if entry else None
    if number is None:
        raise UnknownUser(f"bad number in passwd or group file: {entry}")
    return number


def _group(word: str, groups: list[list[str]]) -> int:
    number = parse_id(word)
    if number is not None:
        return number
    for entry in groups:
        if len(entry) >= 3 and entry[0] == word:
            return _field(entry, 2)
    raise UnknownUser(f"unable to find group {word}: no matching entries in group file")


def set_rlimits(process: "Process", pid: int = 0) -> list[str]:
    """Set the limits of `pid`, 0 is the caller; what the host does not let us raise is lowered to what it does, with one warning."""
    import resource

    warnings = []
    for number, name, soft, hard in process["rlimits"]:
        try:
            resource.prlimit(pid, number, (soft, hard))
        except (ValueError, OSError):
            allowed = resource.prlimit(pid, number)[1]
            most = allowed if allowed >= 0 and (hard < 0 or hard > allowed) else hard
            try:
                resource.prlimit(pid, number, (min(soft, most) if soft >= 0 else most, most))
            except (ValueError, OSError) as error:
                raise KernelError(
                    "setrlimit", f"{name}={soft}:{hard}", getattr(error, "errno", None) or 22
                ) from None
            warnings.append(
                f"ulimit {name}={soft}:{hard} was lowered to {most}: this host does not let us raise it"
            )
    return warnings


def set_scheduling(process: "Process") -> None:
    """Scheduler, I/O priority and personality; each only when the config asks for it."""
    if process["scheduler"][0] >= 0:
        sys.sched_setattr(*process["scheduler"])
    if process["io_priority"] >= 0:
        sys.ioprio_set(process["io_priority"])
    if process["personality"] >= 0:
        sys.personality(process["personality"])


def write_file(path: str, text: str) -> None:
    """Write a kernel file in one go. Raises KernelError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError("write", f"{path} {text.strip()!r}", error.errno or 0) from None


def set_oom_score(process: str, wanted: int) -> str:
    """Write /proc/PROCESS/oom_score_adj; where the host does not let us lower it, return a warning instead."""
    path = f"/proc/{process}/oom_score_adj"
    try:
        with open(path, encoding="ascii") as file:
            if int(file.read()) == wanted:
                return ""
        write_file(path, str(wanted))
    except KernelError as error:
        if error.errno not in (1, 13):
            raise
        return f"oom_score_adj {wanted} was not set: this host does not let us lower it (no CAP_SYS_RESOURCE)"
    return ""


def private_procfs() -> int:
    """A procfs nobody else can reach or replace, for writes to our own attributes (CVE-2025-52881)."""
    context = sys.fsopen("proc")
    tree = sys.fsmount(context, 0, "proc")
    os.close(context)
    return tree


def set_apparmor(procfs: int, profile: str) -> None:
    """The AppArmor profile that execve switches to. Raises KernelError when the host has no AppArmor."""
    for place in ("self/attr/apparmor/exec", "self/attr/exec"):
        try:
            fd = sys.openat2(procfs, place, os.O_WRONLY, resolve=sys.RESOLVE_BENEATH | sys.RESOLVE_NO_XDEV)
        except KernelError:
            continue
        try:
            os.write(fd, f"exec {profile}".encode())
        except OSError as error:
            raise KernelError("apparmor", profile, error.errno or 0) from None
        finally:
            os.close(fd)
        os.close(procfs)
        return
    raise KernelError("apparmor", f"{profile}: apparmor is not enabled on this host", 95)


def become(process: "Process", uid: int, gid: int, groups: list[int]) -> None:
    """Drop to the user and to the capabilities of the process; load the filter as late as the kernel allows."""
    caps = process["caps"]
    held = sys.capget()[1]
    _drop_bounding(caps["bounding"])
    sys.prctl(sys.PR_SET_KEEPCAPS, 1, "keepcaps")
    _set_ids(uid, gid, groups)
    sys.prctl(sys.PR_SET_KEEPCAPS, 0, "keepcaps")
    # uid 0 keeps what execve computes; everyone else has only what is permitted here and inherits nothing.
    if process["seccomp"] and not process["no_new_privileges"]:
        sys.capset(held, held, 0)  # loading a filter without no_new_privs needs CAP_SYS_ADMIN
        sys.load_seccomp(process["seccomp"], process["seccomp_flags"])
    sys.capset(caps["effective"] & held, caps["permitted"] & held, caps["inheritable"] & held)
    _set_ambient(caps["ambient"] & caps["inheritable"] & caps["permitted"] & held)
    if process["no_new_privileges"]:
        sys.prctl(sys.PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
        if process["seccomp"]:
            sys.load_seccomp(process["seccomp"], process["seccomp_flags"])


def _set_ambient(wanted: int) -> None:
    sys.prctl(sys.PR_CAP_AMBIENT, sys.PR_CAP_AMBIENT_CLEAR_ALL, "ambient")
    for number in range(64):
        if wanted >> number & 1:
            sys.raise_ambient(number)


def _drop_bounding(keep: int) -> None:
    for number in range(64):
        if keep >> number & 1:
            continue
        try:
            sys.prctl(sys.PR_CAPBSET_DROP, number, "capbset_drop")
        except KernelError as error:
            if error.errno == 22:  # past the kernel's last capability
                return
            raise


def _set_ids(uid: int, gid: int, groups: list[int]) -> None:
    try:
        os.setgroups(list(dict.fromkeys(groups)))
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise KernelError("setuid", f"{uid}:{gid}", error.errno or 0) from None
