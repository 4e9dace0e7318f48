"""Walks the tree of a template over a value."""

from havre.cli.template import nodes
from havre.cli.template.functions import FUNCTIONS, KINDS, truth
from havre.cli.template.lookup import look_up
from havre.cli.template.parse import Parser
from havre.cli.template.printf import show
from havre.cli.template.values import NIL_POINTER, CallFailed, Row, TemplateError, type_name

MAX_OUTPUT = 64 << 20
MAX_DEPTH = 100
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from havre.cli.template.nodes import Node

    Scope = dict[str, Any]
_NOTHING = object()  # no value was piped in


class _Jump(Exception):
    """break or continue on its way to its range."""

    def __init__(self, word: str) -> None:
        self.word = word


class Template:
    """A parsed template; may be rendered any number of times.

    strict: a missing key is an error (Docker's inspect); typed: what JSON leaves out or null is Go's zero value of Docker's types.
    """

    def __init__(self, text: str, *, strict: bool = True, typed: bool = False) -> None:
        parser = Parser(text)
        self._text, self._tree, self._defined = text, parser.run(), parser.defined
        self._strict, self._typed = strict, typed

    def render(self, value: "Any") -> str:
        """Return the text for one value. Raises TemplateError."""
        walk = _Walk(self, value)
        walk.run(self._tree, value)
        return "".join(walk.out)

    def fail(self, node: "Node", message: str) -> TemplateError:
        """Go's error text: place, node, message."""
        line = self._text.count("\n", 0, node.place) + 1
        column = node.place - self._text.rfind("\n", 0, node.place) - 1
        column = len(self._text[node.place - column : node.place].encode("utf-8", "replace"))
        return TemplateError(f':{line}:{column}: executing "" at <{node}>: {message}', executing=True)

    def defined(self, call: "nodes.Call") -> "list[Node]":
        if call.name not in self._defined:
            raise self.fail(call, f'template "{call.name}" not defined')
        return self._defined[call.name]

    def child(self, node: "Node", value: "Any", name: str) -> "Any":
        """Return value.name."""
        try:
            return look_up(value, name, strict=self._strict, typed=self._typed)
        except CallFailed as error:
            raise self.fail(node, str(error)) from None


class _Walk:
    """One rendering: output and variables."""

    def __init__(
        self, template: Template, root: "Any", out: "list[str] | None" = None, depth: int = 0
    ) -> None:
        self._template = template
        self._scopes: list[Scope] = [{"$": root}]
        self.out: list[str] = [] if out is None else out
        self._size = 0
        self._depth = depth

    # statements

    def run(self, tree: "list[Node]", dot: "Any") -> None:
        for node in tree:
            if isinstance(node, nodes.Text):
                self._write(node, node.text)
            elif isinstance(node, nodes.Action):
                value = self._pipe(node.pipe, dot)
                if not node.pipe.names:
                    self._write(node, show(value))
            elif isinstance(node, nodes.Branch):
                self._branch(node, dot)
            elif isinstance(node, nodes.Call):
                self._call(node, dot)
            elif isinstance(node, nodes.Jump):
                raise _Jump(node.word)

    def _write(self, node: "Node", text: str) -> None:
        self._size += len(text)
        if self._size > MAX_OUTPUT:
            raise TemplateError(":1: the output is too large", executing=True)
        self.out.append(text)

    def _call(self, node: "nodes.Call", dot: "Any") -> None:
        tree = self._template.defined(node)
        if self._depth >= MAX_DEPTH:
            raise TemplateError(f":1: exceeded maximum template depth ({MAX_DEPTH})", executing=True)
        value = self._pipe(node.pipe, dot) if node.pipe else None
        inner = _Walk(self._template, value, self.out, self._depth + 1)
        inner._size = self._size
        inner.run(tree, value)
        self._size = inner._size

    def _branch(self, node: "nodes.Branch", dot: "Any") -> None:
        self._scopes.append({})
        try:
            if node.word == "range":
                self._range(node, dot)
                return
            value = self._pipe(node.pipe, dot)
            if truth(value):
                self.run(node.body, value if node.word == "with" else dot)
            else:
                self.run(node.other, dot)
        finally:
            self._scopes.pop()

    def _range(self, node: "nodes.Branch", dot: "Any") -> None:
        pipe = node.pipe
        items = self._items(node, self._evaluate(pipe, dot))
        if not items:
            self.run(node.other, dot)
            return
        for key, value in items:
            self._scopes.append({})
            try:
                for name, one in zip(
                    pipe.names, (key, value) if len(pipe.names) > 1 else (value,), strict=False
                ):
                    self._assign(name, one, pipe.declares)
                self.run(node.body, value)
            except _Jump as jump:
                if jump.word == "break":
                    return
            finally:
                self._scopes.pop()

    def _items(self, node: "nodes.Branch", value: "Any") -> "list[tuple[Any, Any]]":
        if isinstance(value, dict):
            return sorted(value.items(), key=lambda item: str(item[0]))
        if isinstance(value, (list, tuple)):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            return [(number, number) for number in range(min(value, MAX_OUTPUT))]
        if value is None or (not value and type_name(value) == "interface {}" and value is not NIL_POINTER):
            return []
        command = node.pipe.commands[0]
        raise self._template.fail(
            command.words[0] if len(command.words) == 1 else command,
            f"range can't iterate over {show(value)}",
        )

    # values

    def _assign(self, name: str, value: "Any", declares: bool) -> None:
        if not declares:
            for scope in reversed(self._scopes):
                if name in scope:
                    scope[name] = value
                    return
        self._scopes[-1][name] = value

    def _variable(self, name: str) -> "Any":
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return None

    def _pipe(self, pipe: "nodes.Pipe", dot: "Any") -> "Any":
        value = self._evaluate(pipe, dot)
        for name in pipe.names:
            self._assign(name, value, pipe.declares)
        return value

    def _evaluate(self, pipe: "nodes.Pipe", dot: "Any") -> "Any":
        value: Any = _NOTHING
        for command in pipe.commands:
            value = self._command(command, dot, value)
        return value

    def _command(self, command: "nodes.Command", dot: "Any", piped: "Any") -> "Any":
        first = command.words[0]
        if isinstance(first, nodes.Identifier):
            return self._function(command, first, dot, piped)
        if isinstance(first, (nodes.Field, nodes.Variable, nodes.Chain)):
            return self._fields(first, dot, command.words[1:], piped)
        if len(command.words) > 1 or piped is not _NOTHING:
            raise self._template.fail(first, f"can't give argument to non-function {first}")
        if isinstance(first, nodes.Literal) and first.kind == "nil":
            raise self._template.fail(first, "nil is not a command")
        return self._word(first, dot)

    def _word(self, node: "Node", dot: "Any") -> "Any":
        if isinstance(node, nodes.Literal):
            return node.value
        if isinstance(node, nodes.Dot):
            return dot
        if isinstance(node, nodes.Pipe):
            return self._pipe(node, dot)
        if isinstance(node, nodes.Identifier):
            return self._function(nodes.Command(node.place, [node]), node, dot, _NOTHING)
        assert isinstance(node, (nodes.Field, nodes.Variable, nodes.Chain))
        return self._fields(node, dot, [], _NOTHING)

    def _fields(
        self,
        node: "nodes.Field | nodes.Variable | nodes.Chain",
        dot: "Any",
        words: "list[Node]",
        piped: "Any",
    ) -> "Any":
        """Follow a chain of names; only its last may be a method that takes arguments."""
        value = dot
        if isinstance(node, nodes.Variable):
            value = self._variable(node.name)
        elif isinstance(node, nodes.Chain):
            value = self._pipe(node.inner, dot)
        given = bool(words) or piped is not _NOTHING
        if given and not node.names:
            raise self._template.fail(node, f"can't give argument to non-function {node}")
        for name in node.names[: -1 if given else None]:
            value = self._template.child(node, value, name)
        if not given:
            return value
        return self._method(
            node, value, [self._word(word, dot) for word in words] + ([] if piped is _NOTHING else [piped])
        )

    def _method(
        self, node: "nodes.Field | nodes.Variable | nodes.Chain", value: "Any", args: "list[Any]"
    ) -> "Any":
        name = node.names[-1]
        if isinstance(value, Row) and name in value.methods:
            if len(args) != 1:
                raise self._template.fail(node, f"wrong number of args for {name}: want 1 got {len(args)}")
            return value.methods[name](args[0])
        if isinstance(value, Row) and name in value.fields:
            raise self._template.fail(node, f"wrong number of args for {name}: want 0 got {len(args)}")
        self._template.child(node, value, name)
        raise self._template.fail(node, f"{name} is not a method but has arguments")

    def _function(
        self, command: "nodes.Command", name: "nodes.Identifier", dot: "Any", piped: "Any"
    ) -> "Any":
        if name.name in ("and", "or"):
            return self._lazy(command, name, dot, piped)
        least, most, kinds, work = FUNCTIONS[name.name]
        count = len(command.words) - 1 + (piped is not _NOTHING)
        if count < least or (most is not None and count > most):
            wanted = f"{least}" if most == least else f"at least {least}"
            raise self._template.fail(name, f"wrong number of args for {name}: want {wanted} got {count}")
        args = [
            self._argument(word, dot, kinds[place : place + 1])
            for place, word in enumerate(command.words[1:])
        ]
        if piped is not _NOTHING:
            args.append(piped)
        try:
            return work(*args)
        except CallFailed as error:
            raise self._template.fail(command, f"error calling {name}: {error}") from None

    def _argument(self, word: "Node", dot: "Any", kind: str) -> "Any":
        """Evaluate one argument and check that it is what the function takes."""
        value = self._word(word, dot)
        if not kind or KINDS[kind][1](value):
            return value
        wanted = KINDS[kind][0]
        if isinstance(word, nodes.Literal) and wanted != "[]string":
            raise self._template.fail(
                word, f"expected {'integer' if wanted == 'int' else wanted}; found {word}"
            )
        found = "interface {}" if value is None else type_name(value)
        raise self._template.fail(word, f"wrong type for value; expected {wanted}; got {found}")

    def _lazy(self, command: "nodes.Command", name: "nodes.Identifier", dot: "Any", piped: "Any") -> "Any":
        """and, or: stop at the first operand that decides."""
        if len(command.words) == 1 and piped is _NOTHING:
            raise self._template.fail(name, f"wrong number of args for {name}: want at least 1 got 0")
        value: Any = None
        for word in command.words[1:]:
            value = self._word(word, dot)
            if truth(value) == (name.name == "or"):
                return value
        return value if piped is _NOTHING else piped
