"""A monitor's loop around a log, steered line by line over stdin: the log's process is forked from here, as from a monitor."""

import json
import os
import sys
import time

from havre.logs import journald, link
from havre.logs.open import open_log
from havre.runtime.loop import IN, Loop

LINGER_S = 2.0  # as the monitor's LOG_LINGER_S, for the impatient


def main() -> None:
    """argv: the plan, the grace in seconds, where journald listens. Commands: [write, stream, text, nanos], [lines, first, last, bytes in front], [state], [close]."""
    plan, link.GRACE_S, journald.SOCKET = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    loop = Loop()
    try:
        log = open_log(plan)
    except Exception as error:
        say({"error": str(error)})
        return
    log.join(loop, lambda: None)
    say({"open": True})
    commands = Commands(loop, log)
    while not commands.closed:
        loop.turn(-1)
    until = time.monotonic() + LINGER_S
    while not (log.flushed and log.settled) and time.monotonic() < until:
        loop.turn(0.1)
    say({"flushed": True})


class Commands:
    def __init__(self, loop, log):
        self.log, self.closed, self._rest = log, False, b""
        loop.watch(0, IN, self._read)

    def _read(self, events):
        data = os.read(0, 1 << 20)
        self._rest += data
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            self._do(*json.loads(line))
        if not data:
            self._do("close")

    def _do(self, verb, *rest):
        if verb == "write":
            stream, text, nanos = rest
            self.log.write(stream.encode(), text.encode("latin-1"), nanos)
        elif verb == "lines":
            first, last, pad = rest
            for number in range(first, last):
                self.log.write(b"stdout", b"x" * pad + b"line %d\n" % number, 1_795_521_600_123_456_789)
        elif verb == "state":
            say({"full": self.log.full, "dropped": getattr(self.log, "dropped", 0)})
        elif not self.closed:
            self.log.close()
            self.closed = True


def say(what):
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
