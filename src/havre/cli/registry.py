"""havre registry image: the registry server as an image, so that `havre run -d -p 5000:5000 registry` works without any network."""

import sys

from havre.cli import options
from havre.cli.progress import show_progress
from havre.cli.transfer import split_tag
from havre.client.http import query
from havre.errors import HavreError

IMAGE_USAGE = "[NAME[:TAG]]"
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from havre.cli.context import Context
READ_BYTES = 1 << 20
# As registry/server/rootfs.py has it; the CLI imports nothing of the server's room.
SERVER = "import sys; from havre.registry.server import rootfs; "


def image(context: "Context", words: list[str]) -> int:
    """Import what the server's own process writes: it knows what it consists of."""
    import subprocess

    _, args = options.parse(words, {})
    options.need(args, 0, "registry image", 1)
    repository, tag = split_tag(args[0] if args else "registry")
    changes = _ask("print('\\n'.join(rootfs.CHANGES))").splitlines()
    values = {"fromSrc": "-", "repo": repository, "tag": tag or "latest", "changes": changes}
    command = [sys.executable, "-c", SERVER + "rootfs.write(sys.stdout.buffer)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        path = "/images/create" + query(values)
        answer = context.client.request(
            "POST", path, headers={"Content-Type": "application/x-tar"}, stream=_pieces(writer.stdout)
        )
        show_progress(answer.objects(), sys.stdout, quiet=False)
    if writer.returncode:
        raise HavreError("the registry's files could not be read")
    print(f"next: havre run -d -p 5000:5000 --name registry {args[0] if args else 'registry'}")
    return 0


def _ask(code: str) -> str:
    import subprocess

    return subprocess.run(
        [sys.executable, "-c", SERVER + code], stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def _pieces(file: "IO[bytes]") -> "Iterator[bytes]":
    while data := file.read(READ_BYTES):
        yield data
