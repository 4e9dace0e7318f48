"""The one tree of errors. Parts raise; only `api`, `oci` and `cli` turn errors into replies.

    HavreError                    500  125
     ├─ InvalidParameter          400  125   the caller sent something wrong
     │   ├─ CommandNotFound       400  127   "executable file not found" in the container
     │   └─ CommandNotExecutable  400  126   "permission denied", a directory, a bad ELF
     ├─ Unauthorized              401  125
     ├─ Forbidden                 403  125
     ├─ NotFound                  404  125
     │   └─ NoSuchImage           404  125   clients pull when they see it on create
     ├─ Conflict                  409  125
     ├─ NotModified               304    0   already in the wished state
     ├─ TooLarge                  413  125
     ├─ NotImplementedHere        501  125
     ├─ Unavailable               503  125
     └─ KernelError               500  126   a syscall failed: (call, target, errno)

Text: lower case, no full stop, names the thing. `hint` says what to type next.
Hot: imported by the CLI and the zygote; imports nothing but os.
"""

import os


class HavreError(Exception):
    """Base of all errors Havre raises on purpose."""

    status = 500  # HTTP status the Engine API answers with
    exit_code = 125  # exit code of `havre` when this ends a command
    by_daemon = False  # the CLI heard it from the daemon

    def __init__(self, message: str, *, hint: str = "", context: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = context

    def __str__(self) -> str:
        """The message, `where: ` in front, ` (hint)` behind, each only if there is one."""
        where = f"{self.context}: " if self.context else ""
        hint = f" (try: {self.hint})" if self.hint else ""
        return f"{where}{self.message}{hint}"


class InvalidParameter(HavreError):
    status = 400


class CommandNotFound(InvalidParameter):
    """The executable is not in the container. Stock clients read these words to exit with 127."""

    exit_code = 127

    def __init__(self, command: str, *, context: str = "") -> None:
        where = "no such file or directory" if "/" in command else "executable file not found in $PATH"
        super().__init__(f'exec: "{command}": {where}', context=context)


class CommandNotExecutable(InvalidParameter):
    """The executable is there but may not run. Stock clients read "permission denied" to exit with 126."""

    exit_code = 126

    def __init__(self, command: str, reason: str = "permission denied", *, context: str = "") -> None:
        super().__init__(f'exec: "{command}": {reason}', context=context)


class Unauthorized(HavreError):
    status = 401


class Forbidden(HavreError):
    status = 403


class NotFound(HavreError):
    status = 404


class NoSuchImage(NotFound):
    def __init__(self, reference: str, *, hint: str = "") -> None:
        super().__init__(f"No such image: {reference}", hint=hint)  # Docker's own capital: clients read it


class Conflict(HavreError):
    status = 409


class NotModified(HavreError):
    status = 304
    exit_code = 0


class TooLarge(HavreError):
    status = 413


class NotImplementedHere(HavreError):
    status = 501


class Unavailable(HavreError):
    status = 503


_SCARCE = {
    28: "free some disk space: df -h, df -i, havre system prune",  # ENOSPC
    122: "free some disk space, or raise the quota",  # EDQUOT
    30: "dmesg | tail; mount -o remount,rw",  # EROFS
    5: "dmesg | tail",  # EIO
    24: "a higher LimitNOFILE for havred",  # EMFILE
    23: "sysctl fs.file-max",  # ENFILE
    12: "free -h",  # ENOMEM
    11: "more processes for havred: TasksMax, pids.max, ulimit -u",  # EAGAIN of fork(2)
}


def of_os(error: OSError, context: str = "") -> HavreError:
    """What an OSError that nobody expected means for a client: which file, what happened, what to do."""
    number = error.errno or 0
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
    text = f"{where}{(error.strerror or type(error).__name__).lower()}"
    kind = Unavailable if number in _SCARCE else HavreError
    return kind(text, hint=_SCARCE.get(number, ""), context=context)


class KernelError(HavreError):
    """A system call failed. `call` is its name, `target` what it was applied to, `errno` the number."""

    exit_code = 126

    def __init__(self, call: str, target: str, errno: int, *, hint: str = "") -> None:
        super().__init__(f"{call} {target}: {os.strerror(errno).lower()}", hint=hint)
        self.call = call
        self.target = target
        self.errno = errno
