"""The tree of a template: parsed once, walked for each value."""

from havre.cli.template.functions import FUNCTIONS, field, is_true, show
from havre.cli.template.lexer import TemplateError, Token, split, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Scope = dict[str, Any]

KEYWORDS = frozenset("if else end range with define template block break continue".split())
MAX_OUTPUT = 64 << 20


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Template:
    """A parsed template."""

    def __init__(self, text: str) -> None:
        self._pieces = split(text)
        self._place = 0
        self._defined: dict[str, list[Node]] = {}
        self._nodes, end = self._parse_list()
        if end:
            raise TemplateError(f"unexpected {{{{{end}}}}}")

    def render(self, value: "Any") -> str:
        """Return the text for one value. Raises TemplateError."""
        out: list[str] = []
        self.walk(self._nodes, value, {"$": value}, out)
        return "".join(out)

    def walk(self, nodes: "list[Node]", dot: "Any", scope: "Scope", out: list[str]) -> None:
        for node in nodes:
            node.write(self, dot, scope, out)

    def defined(self, name: str) -> "list[Node]":
        if name not in self._defined:
            raise TemplateError(f'template "{name}" not defined')
        return self._defined[name]

    # parsing

    def _parse_list(self) -> "tuple[list[Node], str]":
        """Parse up to {{end}} or {{else ...}}; return the nodes and that word, "" at the end of the text."""
        nodes: list[Node] = []
        while self._place < len(self._pieces):
            is_action, content = self._pieces[self._place]
            self._place += 1
            if not is_action:
                if content:
                    nodes.append(Text(content))
                continue
            word = content.split(None, 1)[0] if content.strip() else ""
            if word in ("end", "else"):
                return nodes, content.strip()
            node = self._parse_action(word, content)
            if node is not None:
                nodes.append(node)
        return nodes, ""

    def _parse_action(self, word: str, content: str) -> "Node | None":
        if word in ("if", "with", "range"):
            return self._parse_branch(word, content.strip()[len(word) :])
        if word in ("define", "block"):
            return self._parse_define(word, content)
        if word == "template":
            parser = Parser(content.strip()[len(word) :])
            name = parser.literal()
            return Call(name, parser.pipeline() if parser.more() else None)
        if word in ("break", "continue"):
            return Jump(word)
        return Action(Parser(content).pipeline())

    def _parse_define(self, word: str, content: str) -> "Node | None":
        parser = Parser(content.strip()[len(word) :])
        name = parser.literal()
        pipeline = parser.pipeline() if word == "block" else None
        self._defined[name], end = self._parse_list()
        if end != "end":
            raise TemplateError(f"unexpected EOF in {word}")
        return Call(name, pipeline) if word == "block" else None

    def _parse_branch(self, word: str, rest: str) -> "Branch":
        parser = Parser(rest)
        pipeline = parser.pipeline()
        body, end = self._parse_list()
        other: list[Node] = []
        if end.startswith("else"):
            chained = end[4:].strip()
            if chained:
                kind = chained.split(None, 1)[0]
                if kind not in ("if", "with"):
                    raise TemplateError(f"unexpected {chained!r} in else")
                return Branch(word, pipeline, body, [self._parse_branch(kind, chained[len(kind) :])])
            other, end = self._parse_list()
        if end != "end":
            raise TemplateError("unexpected EOF")
        return Branch(word, pipeline, body, other)


class Node:
    """Something that writes."""

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        raise NotImplementedError


class Text(Node):
    def __init__(self, text: str) -> None:
        self._text = text

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        out.append(self._text)


class Action(Node):
    """{{pipeline}}; an assignment writes nothing."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        value = self._pipeline.value(dot, scope)
        if not self._pipeline.names:
            out.append(show(value))
            if sum(map(len, out[-100:])) > MAX_OUTPUT:
                raise TemplateError("the output is too large")


class Jump(Node):
    def __init__(self, word: str) -> None:
        self._word = word

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        raise _Break if self._word == "break" else _Continue


class Call(Node):
    """{{template "name" pipeline}}."""

    def __init__(self, name: str, pipeline: "Pipeline | None") -> None:
        self._name, self._pipeline = name, pipeline

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        value = self._pipeline.value(dot, scope) if self._pipeline else None
        depth = scope.get(" depth", 0) + 1
        if depth > 100:
            raise TemplateError(f"exceeded maximum template depth in {self._name!r}")
        template.walk(template.defined(self._name), value, {"$": value, " depth": depth}, out)


class Branch(Node):
    """if, with and range, with their else."""

    def __init__(self, word: str, pipeline: "Pipeline", body: list[Node], other: list[Node]) -> None:
        self._word, self._pipeline, self._body, self._other = word, pipeline, body, other

    def write(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        inner = dict(scope)
        if self._word == "range":
            self._range(template, dot, inner, out)
            return
        value = self._pipeline.value(dot, inner)
        if is_true(value):
            template.walk(self._body, value if self._word == "with" else dot, inner, out)
        else:
            template.walk(self._other, dot, inner, out)

    def _range(self, template: Template, dot: "Any", scope: "Scope", out: list[str]) -> None:
        value = self._pipeline.evaluate(dot, scope)
        if isinstance(value, dict):
            items = sorted(value.items(), key=lambda item: str(item[0]))
        elif isinstance(value, int) and not isinstance(value, bool):
            items = [(number, number) for number in range(value)]
        elif value is None or isinstance(value, (list, tuple)):
            items = list(enumerate(value or ()))
        else:
            raise TemplateError(f"range can't iterate over {show(value)}")
        if not items:
            template.walk(self._other, dot, scope, out)
        names = self._pipeline.names
        for key, one in items:
            if len(names) == 1:
                scope[names[0]] = one
            elif names:
                scope[names[0]], scope[names[1]] = key, one
            try:
                template.walk(self._body, one, scope, out)
            except _Continue:
                continue
            except _Break:
                return


class Pipeline:
    """Commands joined by |, perhaps assigned to variables."""

    def __init__(self, names: list[str], commands: "list[list[Any]]") -> None:
        self.names, self._commands = names, commands

    def value(self, dot: "Any", scope: "Scope") -> "Any":
        """Evaluate, and assign when it is an assignment."""
        found = self.evaluate(dot, scope)
        if self.names:
            scope[self.names[0]] = found
        return found

    def evaluate(self, dot: "Any", scope: "Scope") -> "Any":
        found: list[Any] = []
        for command in self._commands:
            found = [_run(command, dot, scope, found)]
        return found[0]


def _run(command: "list[Any]", dot: "Any", scope: "Scope", piped: "list[Any]") -> "Any":
    kind, text = command[0][0], command[0][1]
    if kind == "word" and text not in ("true", "false", "nil"):
        if text not in FUNCTIONS:
            raise TemplateError(f'function "{text}" not defined')
        if text in ("and", "or"):
            return _lazy(text, command[1:], dot, scope, piped)
        args = [_operand(one, dot, scope) for one in command[1:]] + piped
        try:
            return FUNCTIONS[text](*args)
        except TemplateError:
            raise
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise TemplateError(f"error calling {text}: {error}") from None
    base = _operand(command[0], dot, scope)
    rest = [_operand(one, dot, scope) for one in command[1:]] + piped
    if not rest:
        return base
    if text == ".Label" and isinstance(
        dot, dict
    ):  # docker's formatters have this one method with an argument
        return (dot.get("_labels") or {}).get(rest[0], "")
    raise TemplateError(f"can't give argument to non-function {text}")


def _lazy(word: str, operands: "list[Any]", dot: "Any", scope: "Scope", piped: "list[Any]") -> "Any":
    """and, or stop at the first operand that decides."""
    found: Any = None
    for one in operands:
        found = _operand(one, dot, scope)
        if is_true(found) == (word == "or"):
            return found
    return piped[0] if piped else found


def _operand(node: "Any", dot: "Any", scope: "Scope") -> "Any":
    kind, text, *rest = node
    if kind in ("string", "number"):
        return text
    if kind == "pipeline":
        found = text.evaluate(dot, scope)
        return field(found, rest[0]) if rest else found
    if kind == "field":
        if text == ".Label" and isinstance(dot, dict) and "_labels" in dot:
            return dot["_labels"]
        return field(dot, text)
    if kind == "variable":
        name, mark, path = text.partition(".")
        if name not in scope:
            raise TemplateError(f'undefined variable "{name}"')
        return field(scope[name], mark + path)
    if text in ("true", "false", "nil"):
        return {"true": True, "false": False, "nil": None}[text]
    if text in FUNCTIONS:
        return FUNCTIONS[text]()
    raise TemplateError(f'function "{text}" not defined')


class Parser:
    """Tokens of one action to a pipeline."""

    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._place = 0

    def more(self) -> bool:
        self._skip()
        return self._place < len(self._tokens)

    def _skip(self) -> None:
        while self._place < len(self._tokens) and self._tokens[self._place][0] == "space":
            self._place += 1

    def _peek(self) -> Token:
        self._skip()
        return self._tokens[self._place] if self._place < len(self._tokens) else ("end", "")

    def _next(self) -> Token:
        token = self._peek()
        self._place += 1
        return token

    def literal(self) -> str:
        kind, text = self._next()
        if kind != "string":
            raise TemplateError("a name in quotes is needed")
        return text

    def pipeline(self) -> Pipeline:
        names = self._names()
        commands = [self._command()]
        while self._peek()[0] == "|":
            self._next()
            commands.append(self._command())
        kind, text = self._peek()
        if kind not in ("end", ")"):
            raise TemplateError(f"unexpected {text!r} in operand")
        return Pipeline(names, commands)

    def _names(self) -> list[str]:
        """$x := or $i, $x := in front."""
        start = self._place
        names: list[str] = []
        while self._peek()[0] == "variable":
            names.append(self._next()[1])
            if self._peek()[0] in (":=", "="):
                self._next()
                return names
            if self._peek()[0] != ",":
                break
            self._next()
        self._place = start
        return []

    def _command(self) -> "list[Any]":
        operands: list[Any] = []
        while True:
            if self._peek()[0] in ("end", "|", ")"):
                break
            operands.append(self._operand_node())
        if not operands:
            raise TemplateError("missing value for command")
        return operands

    def _operand_node(self) -> "Any":
        kind, text = self._next()
        if kind == "(":
            inner = self.pipeline()
            if self._next()[0] != ")":
                raise TemplateError("unclosed left paren")
            following = self._tokens[self._place] if self._place < len(self._tokens) else ("end", "")
            if following[0] == "field":
                self._place += 1
                return ("pipeline", inner, following[1])
            return ("pipeline", inner)
        if kind == "number":
            return ("number", _number(text))
        if kind in ("string", "field", "variable", "word"):
            if kind == "word" and text in KEYWORDS:
                raise TemplateError(f"unexpected <{text}> in command")
            return (kind, text)
        raise TemplateError(f"unexpected {text!r} in command")


def _number(text: str) -> "int | float":
    try:
        return int(text, 0)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise TemplateError(f"bad number syntax: {text!r}") from None
