"""havre commit."""

from havre.cli import options
from havre.cli.transfer import split_tag
from havre.client.http import query

COMMIT_USAGE = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"
COMMIT_FLAGS = {
    "author": "a:str",
    "change": "c:list",
    "message": "m:str",
    "no-pause": ":bool",
    "pause": "p:str",
}
TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def commit(context: "Context", words: list[str]) -> int:
    """Make an image of a container and print its id."""
    words = ["--pause=true" if word in ("-p", "--pause") else word for word in words]
    given, args = options.parse(words, COMMIT_FLAGS)
    options.need(args, 1, "commit", 2)
    repository, tag = split_tag(args[1]) if len(args) > 1 else ("", "")
    pause = options.boolean(given["pause"], True) and not given["no_pause"]
    values = {
        "container": args[0],
        "repo": repository,
        "tag": tag,
        "author": given["author"],
        "comment": given["message"],
        "changes": given["change"],
        "pause": None if pause else "0",
    }
    print(context.client.request("POST", "/commit" + query(values), {}).json()["Id"])
    return 0
