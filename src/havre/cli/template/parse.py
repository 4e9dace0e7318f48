"""From tokens to the tree, with Go's words for what is wrong."""

from havre.cli.template import literals, nodes
from havre.cli.template.functions import FUNCTIONS
from havre.cli.template.lexer import Lexer, Token
from havre.cli.template.values import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from havre.cli.template.nodes import Node

_OPERANDS = frozenset(("string", "char", "number", "bool", "nil", "dot", "field", "variable", "identifier"))


class Parser:
    """Parses one text. `defined` holds the templates it defines by name."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = Lexer(text).run()
        self._place = 0
        self._variables = ["$"]
        self._ranges = 0
        self.defined: dict[str, list[Node]] = {}

    def run(self) -> "list[Node]":
        """Return the tree. Raises TemplateError."""
        found, stop = self._list()
        if stop:
            raise self._fail(f"unexpected {stop}")
        return found

    # tokens

    def _fail(self, message: str, token: "Token | None" = None) -> TemplateError:
        place = (token or self._tokens[max(0, self._place - 1)])[2]
        return TemplateError(f":{self._text.count(chr(10), 0, place) + 1}: {message}")

    def _next(self) -> Token:
        token = self._tokens[self._place]
        self._place += 1
        return token

    def _skip(self) -> Token:
        """Pass spaces; return the next token without taking it."""
        while self._tokens[self._place][0] == "space":
            self._place += 1
        return self._tokens[self._place]

    def _take(self) -> Token:
        self._skip()
        return self._next()

    def _unexpected(self, token: Token, context: str) -> TemplateError:
        kind, text, _ = token
        if kind == "end":
            shown = "EOF"
        elif kind in ("keyword", "dot", "nil"):
            shown = f"<{text}>"
        else:
            shown = f"{literals.quoted(text[:10])}..." if len(text) > 10 else literals.quoted(text)
        return self._fail(f"unexpected {shown} in {context}", token)

    # lists

    def _list(self) -> "tuple[list[Node], str]":
        """Parse up to {{end}} or {{else}}; return the nodes and "{{end}}", "{{else}}" or "" at the end of the text."""
        found: list[Node] = []
        while True:
            kind, text, place = self._next()
            if kind == "end":
                return found, ""
            if kind == "text":
                found.append(nodes.Text(place, text))
                continue
            keyword = self._skip()
            if keyword[0] == "keyword":
                self._next()
                if keyword[1] in ("end", "else"):
                    return found, f"{{{{{keyword[1]}}}}}"
                node = self._keyword(keyword)
            else:
                node = nodes.Action(place, self._pipe("command", "right"))
            if node is not None:
                found.append(node)

    def _keyword(self, token: Token) -> "Node | None":
        _, word, place = token
        if word in ("if", "with", "range"):
            return self._branch(word, place)
        if word in ("define", "block"):
            return self._define(word, place)
        if word == "template":
            place = self._skip()[2]
            name = self._name(word)
            pipe = None
            if self._skip()[0] == "right":
                self._next()
            else:
                pipe = self._pipe("template clause", "right")
            return nodes.Call(place, name, pipe)
        if not self._ranges:
            raise self._fail(f"{{{{{word}}}}} outside {{{{range}}}}", token)
        self._expect("right", f"{{{{{word}}}}}")
        return nodes.Jump(place, word)

    def _expect(self, kind: str, context: str) -> Token:
        token = self._take()
        if token[0] != kind:
            raise self._unexpected(token, context)
        return token

    def _name(self, word: str) -> str:
        token = self._take()
        if token[0] != "string":
            raise self._unexpected(token, f"{word} clause")
        return self._literal(token)

    def _define(self, word: str, place: int) -> "Node | None":
        name = self._name(word)
        pipe = self._pipe("block clause", "right") if word == "block" else None
        if word == "define":
            self._expect("right", "define clause")
        outer, self._variables = self._variables, ["$"]
        ranges, self._ranges = self._ranges, 0
        self.defined[name], stop = self._list()
        if stop != "{{end}}":
            raise self._fail(f"unexpected {stop or 'EOF'}" + (f" in {word} clause" if stop else ""))
        self._variables, self._ranges = outer, ranges
        self._expect("right", "end")
        return nodes.Call(place, name, pipe) if word == "block" else None

    def _branch(self, word: str, place: int) -> "nodes.Branch":
        known = len(self._variables)
        pipe = self._pipe(word, "right")
        self._ranges += word == "range"
        body, stop = self._list()
        self._ranges -= word == "range"
        other: list[Node] = []
        if stop == "{{else}}":
            chained = self._skip()
            if chained[0] == "keyword" and chained[1] == word and word != "range":
                self._next()
                other = [self._branch(word, chained[2])]  # it has read the one {{end}}
                del self._variables[known:]
                return nodes.Branch(place, word, pipe, body, other)
            self._expect("right", "input")
            other, stop = self._list()
            if stop == "{{else}}":
                raise self._fail("expected end; found {{else}}")
        if not stop:
            raise self._fail("unexpected EOF", self._tokens[-1])
        self._expect("right", "end")
        del self._variables[known:]
        return nodes.Branch(place, word, pipe, body, other)

    # pipelines

    def _pipe(self, context: str, close: str) -> "nodes.Pipe":
        """Parse up to and with the token `close`."""
        start = self._skip()[2]
        names, declares = self._declared(context)
        commands: list[nodes.Command] = []
        while True:
            token = self._skip()
            if token[0] == close:
                self._next()
                return self._checked(nodes.Pipe(start, names, declares, commands), context)
            if token[0] not in _OPERANDS and token[0] != "(":
                self._next()
                raise self._unexpected(token, context)
            commands.append(self._command())

    def _checked(self, pipe: "nodes.Pipe", context: str) -> "nodes.Pipe":
        if not pipe.commands:
            raise self._fail(f"missing value for {context}")
        for stage, command in enumerate(pipe.commands[1:], 2):
            if isinstance(command.words[0], (nodes.Literal, nodes.Dot)):
                raise self._fail(f"non executable command in pipeline stage {stage}")
        return pipe

    def _declared(self, context: str) -> "tuple[list[str], bool]":
        """$x := or $i, $x := in front of a pipeline."""
        names: list[str] = []
        start = self._place
        while self._skip()[0] == "variable":
            name = self._next()[1]
            following = self._skip()
            if following[0] in (":=", "="):
                self._next()
                names.append(name)
                if following[0] == ":=":
                    self._variables += names
                elif name not in self._variables:
                    raise self._fail(f'undefined variable "{name}"')
                return names, following[0] == ":="
            if following[0] == "," and context == "range" and not names:
                self._next()
                names.append(name)
                continue
            if following[0] == ",":
                raise self._fail(f"too many declarations in {context}")
            break
        self._place = start
        return [], False

    def _command(self) -> "nodes.Command":
        start = self._skip()[2]
        words: list[Node] = []
        while True:
            operand = self._operand()
            if operand is not None:
                words.append(operand)
            token = self._next()
            if token[0] == "space":
                continue
            if token[0] in ("right", ")"):
                self._place -= 1
            elif token[0] != "|":
                raise self._unexpected(token, "operand")
            break
        if not words:
            raise self._fail("empty command")
        return nodes.Command(start, words)

    def _operand(self) -> "Node | None":
        node = self._term()
        if node is None or self._tokens[self._place][0] != "field":
            return node
        place = self._tokens[self._place][2]
        names: list[str] = []
        while self._tokens[self._place][0] == "field":
            names.append(self._next()[1][1:])
        if isinstance(node, nodes.Field):
            return nodes.Field(place, node.names + names)
        if isinstance(node, nodes.Variable):
            return nodes.Variable(place, node.name, names)
        if isinstance(node, nodes.Pipe):
            return nodes.Chain(place, node, names)
        raise self._fail(f"unexpected . after term {literals.quoted(str(node))}")

    def _term(self) -> "Node | None":
        kind, text, place = token = self._skip()
        if kind not in _OPERANDS and kind != "(":
            return None
        self._next()
        if kind == "(":
            return self._pipe("parenthesized pipeline", ")")
        if kind == "identifier":
            if text not in FUNCTIONS:
                raise self._fail(f'function "{text}" not defined', token)
            return nodes.Identifier(place, text)
        if kind == "dot":
            return nodes.Dot(place)
        if kind == "field":
            return nodes.Field(place, [text[1:]])
        if kind == "variable":
            if text not in self._variables:
                raise self._fail(f'undefined variable "{text}"', token)
            return nodes.Variable(place, text, [])
        return self._constant(token)

    def _constant(self, token: Token) -> "nodes.Literal":
        kind, text, place = token
        if kind == "bool":
            return nodes.Literal(place, kind, text == "true", text)
        if kind == "nil":
            return nodes.Literal(place, kind, None, text)
        if kind == "number":
            try:
                return nodes.Literal(place, kind, literals.number(text), text)
            except (ValueError, OverflowError):
                raise self._fail(f"bad number syntax: {literals.quoted(text)}", token) from None
        value = self._literal(token)
        return nodes.Literal(
            place, "number" if kind == "char" else kind, ord(value) if kind == "char" else value, text
        )

    def _literal(self, token: Token) -> str:
        try:
            return literals.unquote(token[1])
        except ValueError:
            raise self._fail(
                "malformed character constant: " + token[1] if token[0] == "char" else "invalid syntax", token
            ) from None
