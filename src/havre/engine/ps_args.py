"""What `docker top CONTAINER ps-arguments` asks for, without a ps: the arguments become a list of columns. Pure (ps(1))."""

from dataclasses import dataclass

from havre.errors import InvalidParameter

Column = tuple[str, str, int]  # specifier, heading, width a name is cut to (0: its own)
# The columns of ps's formats, as (specifier, heading).
FULL = "user=UID pid=PID ppid=PPID c=C stime=STIME tname=TTY time=TIME args=CMD"
EXTRA_FULL = "user=UID pid=PID ppid=PPID c=C sz=SZ rss=RSS psr=PSR stime=STIME tname=TTY time=TIME args=CMD"
PLAIN = "pid=PID tname=TTY time=TIME comm=CMD"
JOBS = "pid=PID pgid=PGID sid=SID tname=TTY time=TIME comm=CMD"
FULL_JOBS = "user=UID pid=PID ppid=PPID pgid=PGID sid=SID c=C stime=STIME tname=TTY time=TIME args=CMD"
LONG = "f=F s=S uid=UID pid=PID ppid=PPID c=C opri=PRI ni=NI addr=ADDR sz=SZ wchan=WCHAN tname=TTY time=TIME comm=CMD"
FULL_LONG = (
    "f=F s=S user=UID pid=PID ppid=PPID c=C opri=PRI ni=NI addr=ADDR sz=SZ wchan=WCHAN stime=STIME tname=TTY "
    "time=TIME args=CMD"
)
BSD = "pid=PID tname=TTY stat=STAT bsdtime=TIME args=COMMAND"
BSD_USER = "user=USER pid=PID pcpu=%CPU pmem=%MEM vsz=VSZ rss=RSS tname=TTY stat=STAT bsdstart=START bsdtime=TIME args=COMMAND"
BSD_JOBS = (
    "ppid=PPID pid=PID pgid=PGID sid=SID tname=TTY tpgid=TPGID stat=STAT uid=UID bsdtime=TIME args=COMMAND"
)
BSD_LONG = (
    "f=F uid=UID pid=PID ppid=PPID priority=PRI ni=NI vsz=VSZ rss=RSS wchan=WCHAN stat=STAT tname=TTY bsdtime=TIME "
    "args=COMMAND"
)
BSD_SIGNALS = (
    "uid=UID pid=PID pending=PENDING blocked=BLOCKED ignored=IGNORED caught=CAUGHT stat=STAT tname=TTY bsdtime=TIME "
    "args=COMMAND"
)
_UNIX = {"F": EXTRA_FULL, "j": JOBS, "l": LONG, "f": FULL}
_BSD = {"u": BSD_USER, "j": BSD_JOBS, "l": BSD_LONG, "s": BSD_SIGNALS}
_SELECTING = frozenset("aAdeNTrxgw")  # a container's processes are always all shown; w is only the width
_BY_VALUE = frozenset("CGgpqstUu")  # -p 1: which processes, by a value
_PID_MISSING = "Couldn't find PID field in ps output"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The columns to show, and whether threads have rows of their own."""

    columns: tuple[Column, ...]
    threads: bool = False
    forest: bool = False


def parse(text: str, known: "dict[str, str]") -> Wanted:
    """Return what "-o pid,cmd" or "aux" asks for; `known` has the heading of every specifier. Raises InvalidParameter."""
    asked = _Asked(known)
    words = text.split()
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            asked.long(word, words)
        elif word.startswith("-"):
            asked.unix(word[1:], words)
        else:
            asked.bsd(word, words)
    return asked.result()


class _Asked:
    """The arguments read so far."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._chosen: list[Column] = []
        self._letters: set[str] = set()
        self._bsd: set[str] = set()
        self._threads = self._forest = False

    def long(self, word: str, words: list[str]) -> None:
        name, equals, value = word.partition("=")
        if name in ("--format", "--Format"):
            self._choose(value if equals else self._value(name, words))
        elif name == "--forest":
            self._forest = True
        elif name in ("--no-headers", "--no-heading", "--no-headings", "--noheader", "--noheaders"):
            raise InvalidParameter(_PID_MISSING, hint="-o pid,cmd")
        elif name in ("--pid", "--ppid", "--user", "--User", "--group", "--Group", "--sid", "--tty"):
            self._refuse(name)
        elif name not in ("--headers", "--cols", "--columns", "--width"):
            raise InvalidParameter(f"ps: error: unknown gnu long option {name}", hint="-ef, aux, -o pid,cmd")

    def unix(self, letters: str, words: list[str]) -> None:
        """-ef, -o pid,cmd, -opid."""
        if not letters:
            raise InvalidParameter("ps: error: garbage option", hint="-ef, aux, -o pid,cmd")
        for place, letter in enumerate(letters):
            if letter == "o":
                self._choose(letters[place + 1 :] or self._value("-o", words))
                return
            if letter == "u" and place == len(letters) - 1 and not (words and not words[0].startswith("-")):
                self._bsd.add("u")  # ps takes a lone -u for the u of BSD
            elif letter == "H":
                self._forest = True
            elif letter == "L":
                self._threads = True
            elif letter in "FjlfyMZ":
                self._letters.add(letter)
            elif letter in _BY_VALUE:
                self._refuse(f"-{letter}")
            elif letter not in _SELECTING:
                raise InvalidParameter(
                    f"ps: error: unsupported option -{letter}", hint="-ef, aux, -o pid,cmd"
                )

    def bsd(self, letters: str, words: list[str]) -> None:
        """aux, axo pid,user."""
        for place, letter in enumerate(letters):
            if letter == "o":
                self._choose(letters[place + 1 :] or self._value("o", words))
                return
            if letter == "f":
                self._forest = True
            elif letter == "H":
                self._threads = True
            elif letter == "h":
                raise InvalidParameter(_PID_MISSING, hint="-o pid,cmd")
            elif letter in _BSD:
                self._bsd.add(letter)
            elif letter not in _SELECTING or letter.isupper():
                raise InvalidParameter(f"ps: error: unsupported option {letter}", hint="-ef, aux, -o pid,cmd")
            else:
                self._bsd.add("x")

    def _value(self, flag: str, words: list[str]) -> str:
        if not words:
            raise InvalidParameter(f"ps: error: format specification must follow {flag}", hint="-o pid,cmd")
        return words.pop(0)

    def _refuse(self, flag: str) -> None:
        raise InvalidParameter(
            f"ps: {flag} selects processes, and top shows all of a container's", hint="-ef, aux, -o pid,cmd"
        )

    def _choose(self, text: str) -> None:
        """pid,user:20,args=COMMAND LINE: what follows an equals sign is a heading, to the end."""
        while text:
            head, equals, _ = text.partition("=")
            names = [name for name in head.split(",") if name]
            for name in names[:-1] if equals else names:
                self._chosen.append(self._column(name))
            if not equals:
                return
            specifier, _, width = self._column(names[-1] if names else "")
            heading = text.partition("=")[2]
            if heading.startswith("PID") and specifier != "pid":
                raise InvalidParameter(f'specifying "{specifier}={heading}" is not allowed')
            self._chosen.append((specifier, heading, width))
            return

    def _column(self, text: str) -> Column:
        name, colon, width = text.partition(":")
        if name not in self._known:
            raise InvalidParameter(
                f'ps: error: unknown user-defined format specifier "{name}"',
                hint="pid, ppid, user, stat, pcpu, pmem, rss, time, args",
            )
        if colon and not (width.isascii() and width.isdigit() and 0 < int(width[:9]) < 1_000_000):
            raise InvalidParameter(f"ps: error: column widths must be a number above 0, not {width!r}")
        return name, self._known[name], int(width) if colon else 0

    def result(self) -> Wanted:
        columns = tuple(self._chosen) or self._format()
        if not any(heading == "PID" for _, heading, _ in columns):
            raise InvalidParameter(_PID_MISSING, hint="add pid to the columns")
        return Wanted(columns, self._threads, self._forest)

    def _format(self) -> tuple[Column, ...]:
        letters = self._letters
        if {"f", "l"} <= letters:
            text = FULL_LONG
        elif {"f", "j"} <= letters:
            text = FULL_JOBS
        elif letters & set(_UNIX):
            text = next(format_ for letter, format_ in _UNIX.items() if letter in letters)
        elif self._bsd & set(_BSD):
            text = next(format_ for letter, format_ in _BSD.items() if letter in self._bsd)
        else:
            text = BSD if self._bsd else PLAIN
        pairs = [pair.split("=") for pair in text.split()]
        found = [(specifier, heading, 0) for specifier, heading in pairs]
        return tuple(self._with_threads(found) if self._threads else found)

    def _with_threads(self, columns: list[Column]) -> list[Column]:
        """-L shows LWP behind the pids, and NLWP behind C."""
        names = [specifier for specifier, _, _ in columns]
        place = names.index("ppid" if "ppid" in names else "pid") + 1
        columns.insert(place, ("lwp", "LWP", 0))
        if "c" in names:
            columns.insert(names.index("c") + 2, ("nlwp", "NLWP", 0))
        return columns
