"""havre top."""

from havre.cli import options, table
from havre.client.http import query, quote

TOP_USAGE = "CONTAINER [ps OPTIONS]"
CELL_WIDTH = 20  # of docker top's columns
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def top(context: "Context", words: list[str]) -> int:
    """Show the processes of a container; what follows its name is for ps."""
    _, args = options.parse(words, {}, stop_early=True)
    options.need(args, 1, "top")
    arguments = " ".join(args[1:])
    found = context.client.get(f"/containers/{quote(args[0])}/top" + query({"ps_args": arguments}))
    table.lines_of(found["Processes"] or [], found["Titles"], CELL_WIDTH)
    return 0
