"""Completion scripts, generated from the command tables."""

from havre.cli import options
from havre.cli.commands import COMMANDS, GROUPS, flags_of
from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context


def completion(context: "Context", words: list[str]) -> int:
    _, args = options.parse(words, {})
    options.need(args, 1, "completion", 1)
    scripts = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    if args[0] not in scripts:
        raise InvalidParameter(f"no completion for {args[0]!r}", hint=", ".join(scripts))
    print(scripts[args[0]]())
    return 0


def _flags(command: str) -> list[str]:
    return [f"--{name}" for name in sorted(flags_of(command))]


def _words() -> str:
    return " ".join(sorted({*COMMANDS, *GROUPS}))


def _bash() -> str:
    cases = [f"    {name}) words='{' '.join(sorted(inner))}' ;;" for name, inner in GROUPS.items()]
    cases += [f"    {name}) words='{' '.join(_flags(name))}' ;;" for name in COMMANDS]
    return "\n".join(
        [
            "_havre() {",
            "  local words cur=${COMP_WORDS[COMP_CWORD]}",
            "  case ${COMP_WORDS[1]} in",
            *cases,
            "  esac",
            f"  [ $COMP_CWORD -eq 1 ] && words='{_words()}'",
            "  case ${COMP_WORDS[1]}$COMP_CWORD in",
            "    exec*|start*|stop*|kill*|rm*|logs*|attach*|inspect*|restart*|wait*)",
            "      [ $COMP_CWORD -gt 1 ] && words=\"$words $(havre ps -a --format '{{.Names}}' 2>/dev/null)\" ;;",
            "    run*|rmi*|push*|tag*|save*|history*)",
            "      [ $COMP_CWORD -gt 1 ] && words=\"$words $(havre images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)\" ;;",
            "  esac",
            '  COMPREPLY=($(compgen -W "$words" -- "$cur"))',
            "}",
            "complete -o default -F _havre havre",
        ]
    )


def _zsh() -> str:
    return "#compdef havre\nautoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = ["complete -c havre -f"]
    for name, (_, _, summary) in sorted(COMMANDS.items()):
        lines.append(f"complete -c havre -n __fish_use_subcommand -a {name} -d '{summary}'")
        lines += [
            f"complete -c havre -n '__fish_seen_subcommand_from {name}' -l {flag[2:]}"
            for flag in _flags(name)
        ]
    lines += [f"complete -c havre -n __fish_use_subcommand -a {name}" for name in GROUPS]
    return "\n".join(lines)
