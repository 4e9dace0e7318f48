"""Completion scripts: each shell asks `havre __complete` (completing.py) and shows what it answers."""

from havre.cli import options
from havre.errors import InvalidParameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.context import Context

BASH = r"""_NAME() {
    local cur words=("${COMP_WORDS[@]:1:COMP_CWORD}") cword line
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: -w words -i cword -c cur
        words=("${words[@]:1:cword}")
    else
        cur=${COMP_WORDS[COMP_CWORD]}
    fi
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("${line%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" __complete "${words[@]}" 2>/dev/null)
    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
    if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$cur"; fi
}
complete -o default -F _NAME NAME"""

ZSH = r"""#compdef NAME
_NAME() {
    local -a found
    local line
    if lines=$("${words[1]}" __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null); then
        for line in ${(f)lines}; do
            found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
        done
        _describe NAME found
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_NAME" ]; then
    _NAME "$@"
else
    compdef _NAME NAME
fi"""

FISH = r"""function __NAME_complete
    set -l words (commandline -opc)
    set -l found (command $words[1] __complete $words[2..-1] (commandline -ct) 2>/dev/null)
    if test $status -eq 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c NAME -f -a '(__NAME_complete)'"""


def completion(context: "Context", words: list[str]) -> int:
    """Print the script of a shell, for the name this program was called by."""
    _, args = options.parse(words, {})
    options.need(args, 1, "completion", 1)
    scripts = {"bash": BASH, "zsh": ZSH, "fish": FISH}
    if args[0] not in scripts:
        raise InvalidParameter(f"no completion for {args[0]!r}", hint=", ".join(scripts))
    print(scripts[args[0]].replace("NAME", options.program()))
    return 0
