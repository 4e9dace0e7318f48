"""The commands: where each is, and the groups (`container`, `image`, ...) that hold them. Lean: data, and one lookup."""

from havre.cli.options import HelpAsked, program
from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from havre.cli.context import Context

    Entry = tuple[str, str, str]  # module, function, summary
    Command = Callable[[Context, list[str]], int]

GLOBAL_FLAGS = {
    "config": ":str",
    "context": "c:str",
    "debug": "D:bool",
    "host": "H:list",
    "log-level": "l:str",
    "tls": ":bool",
    "tlscacert": ":str",
    "tlscert": ":str",
    "tlskey": ":str",
    "tlsverify": ":bool",
    "version": "v:bool",
}
COMMANDS = {
    "run": ("run", "run", "Create and run a new container from an image"),
    "exec": ("exec", "execute", "Execute a command in a running container"),
    "ps": ("ps", "ps", "List containers"),
    "pull": ("transfer", "pull", "Download an image from a registry"),
    "push": ("transfer", "push", "Upload an image to a registry"),
    "images": ("images", "images", "List images"),
    "login": ("login", "login", "Authenticate to a registry"),
    "logout": ("login", "logout", "Log out from a registry"),
    "version": ("version", "version", "Show the version information"),
    "info": ("info", "info", "Display system-wide information"),
    "attach": ("attach", "attach", "Attach local standard streams to a running container"),
    "commit": ("commit", "commit", "Make a new image of a container's changes"),
    "create": ("run", "create", "Create a new container"),
    "diff": ("diff", "diff", "Inspect changes to files or directories on a container's filesystem"),
    "events": ("events", "events", "Get real time events from the server"),
    "export": ("export", "export", "Export a container's filesystem as a tar archive"),
    "history": ("images", "history", "Show the history of an image"),
    "import": ("transfer", "import_", "Make an image from a root filesystem archive"),
    "inspect": ("inspect", "inspect", "Return low-level information on objects"),
    "kill": ("containers", "kill", "Kill one or more running containers"),
    "load": ("transfer", "load", "Load images from an archive"),
    "logs": ("logs", "logs", "Fetch the logs of a container"),
    "pause": ("containers", "pause", "Pause all processes within one or more containers"),
    "port": ("containers", "port", "List the published ports of a container"),
    "rename": ("containers", "rename", "Rename a container"),
    "restart": ("containers", "restart", "Restart one or more containers"),
    "rm": ("containers", "rm", "Remove one or more containers"),
    "rmi": ("images", "rmi", "Remove one or more images"),
    "save": ("transfer", "save", "Save one or more images to an archive"),
    "start": ("containers", "start", "Start one or more stopped containers"),
    "stats": ("stats", "stats", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("containers", "stop", "Stop one or more running containers"),
    "tag": ("images", "tag", "Give an image one more name"),
    "top": ("top", "top", "Display the running processes of a container"),
    "update": ("update", "update", "Update configuration of one or more containers"),
    "unpause": ("containers", "unpause", "Unpause all processes within one or more containers"),
    "wait": ("containers", "wait", "Block until containers stop, then print their exit codes"),
}
INNER = {
    "__complete": ("completing", "complete", "What a word may become"),
    "completion": ("completion", "completion", "Print the completion script of bash, zsh or fish"),
    "container inspect": ("inspect", "container_inspect", "Display detailed information on containers"),
    "container prune": ("prune", "containers", "Remove all stopped containers"),
    **{
        f"context {verb}": ("contexts", "import_" if verb == "import" else verb, summary)
        for verb, summary in (
            ("create", "Create a context"),
            ("export", "Export a context to a tar archive"),
            ("import", "Import a context from a tar or zip file"),
            ("inspect", "Display detailed information on contexts"),
            ("ls", "List contexts"),
            ("rm", "Remove one or more contexts"),
            ("show", "Print the name of the current context"),
            ("update", "Update a context"),
            ("use", "Set the current context"),
        )
    },
    "image inspect": ("inspect", "image_inspect", "Display detailed information on images"),
    "image prune": ("prune", "images", "Remove unused images"),
    "network create": ("network", "create", "Create a network"),
    "network inspect": ("network", "inspect", "Display detailed information on networks"),
    "network ls": ("network", "ls", "List networks"),
    "network prune": ("network", "prune", "Remove all unused networks"),
    "network rm": ("network", "rm", "Remove one or more networks"),
    "registry image": ("registry", "image", "Make an image of the registry on the daemon, without network"),
    "system df": ("df", "disk_usage", "Show disk usage"),
    "system dial-stdio": ("dial", "dial_stdio", "Carry stdin and stdout to the daemon"),
    "system prune": ("prune", "system", "Remove unused data"),
    "volume create": ("volume", "create", "Create a volume"),
    "volume inspect": ("volume", "inspect", "Display detailed information on one or more volumes"),
    "volume ls": ("volume", "ls", "List volumes"),
    "volume prune": ("volume", "prune", "Remove unused local volumes"),
    "volume rm": ("volume", "rm", "Remove one or more volumes"),
}
_CONTAINER = (
    "attach commit create diff exec export kill logs pause port rename restart rm run start stats stop top unpause update "
    "wait"
)
GROUPS = {
    "container": {
        **{name: name for name in _CONTAINER.split()},
        **{"ls": "ps", "list": "ps", "ps": "ps", "remove": "rm"},
        **{"inspect": "container inspect", "prune": "container prune"},
    },
    "context": {
        **{verb: f"context {verb}" for verb in "create export import inspect ls rm show update use".split()},
        **{"list": "context ls", "remove": "context rm"},
    },
    "image": {
        **{name: name for name in "history import load pull push save tag".split()},
        **{"ls": "images", "list": "images", "rm": "rmi", "remove": "rmi"},
        **{"inspect": "image inspect", "prune": "image prune"},
    },
    "network": {
        **{name: f"network {name}" for name in "create inspect ls prune rm".split()},
        **{"list": "network ls", "remove": "network rm"},
    },
    "registry": {"image": "registry image"},
    "system": {
        **{"info": "info", "events": "events"},
        **{"df": "system df", "dial-stdio": "system dial-stdio", "prune": "system prune"},
    },
    "volume": {
        **{name: f"volume {name}" for name in "create inspect ls prune rm".split()},
        **{"list": "volume ls", "remove": "volume rm"},
    },
}
GROUP_SUMMARIES = {
    "container": "Manage containers",
    "context": "Manage contexts",
    "image": "Manage images",
    "network": "Manage networks",
    "registry": "Serve images, or make an image of that: havre registry --help",
    "system": "Manage the whole engine",
    "volume": "Manage volumes",
}


def find(words: list[str]) -> "tuple[str, Entry, list[str]]":
    """Return (command, its entry, the words behind it). Raises HelpAsked for a bare group, InvalidParameter with a near name."""
    name = words[0]
    if name in GROUPS:
        if len(words) < 2 or words[1] in ("--help", "-h"):
            raise GroupAsked(name)
        inner = GROUPS[name].get(words[1])
        if inner is None:
            raise _unknown(f"{name} {words[1]}", [f"{name} {one}" for one in GROUPS[name]])
        return inner, entry_of(inner), words[2:]
    if name in COMMANDS or name in INNER:
        return name, entry_of(name), words[1:]
    raise _unknown(name, [*COMMANDS, *GROUPS])


class GroupAsked(HelpAsked):
    """A group without a command: its help is wanted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def entry_of(command: str) -> "Entry":
    return COMMANDS.get(command) or INNER[command]


def function_of(entry: "Entry") -> "Command":
    """Import the command's module and return its function."""
    found: Command = getattr(__import__(f"havre.cli.{entry[0]}", fromlist=[entry[1]]), entry[1])
    return found


def flags_of(command: str) -> dict[str, str]:
    """The flags of a command: NAME_FLAGS of its module."""
    module, function, _ = entry_of(command)
    found: dict[str, str] = getattr(
        __import__(f"havre.cli.{module}", fromlist=[function]), _constant(function, "FLAGS"), {}
    )
    return found


def shape_of(command: str) -> str:
    """What follows the command's name in its usage: NAME_USAGE of its module."""
    module, function, _ = entry_of(command)
    found: str = getattr(
        __import__(f"havre.cli.{module}", fromlist=[function]), _constant(function, "USAGE"), "[OPTIONS]"
    )
    return found


def _constant(function: str, what: str) -> str:
    return f"{function.upper().rstrip('_')}_{what}"


class UnknownCommand(InvalidParameter):
    """A word that is no command; the nearest one is the hint."""


def _unknown(name: str, known: list[str]) -> UnknownCommand:
    import difflib

    near = difflib.get_close_matches(name, known, 1)
    return UnknownCommand(
        f"unknown command: {program()} {name}", hint=f"{program()} {near[0] if near else '--help'}"
    )
