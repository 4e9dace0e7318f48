"""havre system dial-stdio: what ssh:// hosts run on the far side."""

import os

from havre.cli import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context
READ_BYTES = 65536


def dial_stdio(context: "Context", words: list[str]) -> int:
    """Carry stdin and stdout to the daemon, both ways, each until its own end."""
    import select

    _, args = options.parse(words, {})
    options.need(args, 0, "system dial-stdio", 0)
    sock = context.client.connect()
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(sock.fileno(), select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == 0:
                if data := os.read(0, READ_BYTES):
                    sock.sendall(data)
                else:
                    poll.unregister(0)
                    sock.shutdown(1)
            elif data := sock.recv(READ_BYTES):
                view = memoryview(data)
                while view:
                    view = view[os.write(1, view) :]
            else:
                return 0
