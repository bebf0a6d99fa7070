"""Makes the stubs of ``BlockingEngine`` and ``RemoteEngine`` from ``Engine``: run it, and it writes them anew.

Type checkers and editors cannot follow calls that are made at run time. The stubs say the same to them: each call's
arguments and docstring as they stand in the engine's source, as a call that blocks, or is awaited.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, get_args, get_type_hints

import attrs

from echo_actors.control.calls import calls_of
from echo_actors.engine import Engine, remote_engine
from echo_actors.engine.remote_stream import events_of
from echo_actors.portal import blocking_engine
from echo_actors.shape import Kind, kind_of, public

STUB = Path(blocking_engine.__file__).with_suffix(".pyi")
REMOTE_STUB = Path(remote_engine.__file__).with_suffix(".pyi")

_HEAD = '''"""Made of ``Engine`` by ``tests/portal_stub.py``; change that class, and run it again."""'''


def stub() -> str:
    """The stub's text."""
    writer = _Writer({"AbstractContextManager": "contextlib", "Blocking": "echo_actors.portal.blocking"})
    calls = [writer.attribute(name, value) for name, value in public(Engine).items()]
    body = [ast.Expr(ast.Constant(blocking_engine.BlockingEngine.__doc__)), *calls]
    engine = _class("BlockingEngine", "Blocking", body)
    lines = [_HEAD, *writer.imports(), *map(_text, writer.iterators.values()), _text(engine)]
    return _formatted("\n".join(lines) + "\n")


def remote_stub() -> str:
    """The text of the stub of ``RemoteEngine``."""
    cls = remote_engine.RemoteEngine
    writer = _RemoteWriter({"AbstractAsyncContextManager": "contextlib", "Client": "echo_actors.control.client"})
    calls = [writer.attribute(name, public(Engine)[name]) for name in calls_of(Engine)]
    own = ast.parse("client: Client\ndef __init__(self, client: Client) -> None: ...").body
    hello = writer.attribute("hello", inspect.getattr_static(cls, "hello"))
    engine = ast.ClassDef(
        name=cls.__name__,
        bases=[],
        keywords=[],
        body=[ast.Expr(ast.Constant(cls.__doc__)), *own, hello, *calls],
        decorator_list=[],
    )
    return _formatted("\n".join([_HEAD, *writer.imports(), _text(engine)]) + "\n")


@attrs.define
class _Writer:
    """Writes calls, and knows what they need.

    Attributes:
        names: By each name that is used, the module it comes from; "" for a module itself.
        iterators: Classes for what can be iterated, by the engine's own name for it.
    """

    names: dict[str, str]
    iterators: dict[str, ast.ClassDef] = attrs.Factory(dict)

    manager: ClassVar[str] = "AbstractContextManager"
    made: ClassVar[type[ast.FunctionDef | ast.AsyncFunctionDef]] = ast.FunctionDef

    def attribute(self, name: str, value: Any) -> ast.stmt:
        """An attribute of a class as it is when it blocks."""
        kind = kind_of(value)
        function = inspect.unwrap(value.fget if kind is Kind.READ else value)
        node = _definition(function)
        returns = node.returns
        if kind is Kind.ENTERED:
            node.returns = None
        self._need(node, function)
        if kind is Kind.ENTERED:
            returns = ast.parse(f"{self.manager}[{self._entered(function)}]", mode="eval").body
        decorators: list[ast.expr] = [ast.Name("property")] if kind is Kind.READ else []
        docstring = ast.get_docstring(node, clean=False)
        assert docstring is not None, name
        make = ast.FunctionDef if kind in {Kind.READ, Kind.ENTERED} else self.made
        return make(
            name=name,
            args=node.args,
            body=[ast.Expr(ast.Constant(docstring))],
            decorator_list=decorators,
            returns=returns,
            lineno=0,
        )

    def imports(self) -> Iterator[str]:
        """The lines that import what is used."""
        for name, module in sorted(self.names.items(), key=lambda item: (item[1], item[0])):
            yield f"from {module} import {name}" if module else f"import {name}"

    def _entered(self, function: Callable[..., Any]) -> str:
        """What a manager's block is given."""
        given = get_type_hints(function)["return"]
        cls: type = get_args(given)[0] if get_args(given) else given
        if not hasattr(cls, "__anext__"):
            self.names[cls.__name__] = cls.__module__
            return cls.__name__
        name = f"_{cls.__name__}"
        if name not in self.iterators:
            self.iterators[name] = self._iterator(name, cls)
        return name

    def _iterator(self, name: str, cls: Any) -> ast.ClassDef:
        item = get_type_hints(cls.__anext__)["return"]
        self.names |= {"BlockingEvents": "echo_actors.portal.iteration", item.__name__: item.__module__}
        fields = attrs.fields(cls) if attrs.has(cls) else ()
        body: list[ast.stmt] = []
        for field in fields:
            if not field.name.startswith("_"):
                annotation = ast.parse(field.type, mode="eval").body
                self._need(annotation, cls.__init__, vars(sys.modules[cls.__module__]))
                read = ast.parse(f"@property\ndef {field.name}(self): ...").body[0]
                assert isinstance(read, ast.FunctionDef)
                read.returns = annotation
                body.append(read)
        body += [self.attribute(key, value) for key, value in public(cls).items() if isinstance(value, property)]
        return _class(name, f"BlockingEvents[{item.__name__}]", body or [ast.Expr(ast.Constant(...))])

    def _need(self, node: ast.AST, function: Callable[..., Any], names: dict[str, Any] | None = None) -> None:
        """Note where the names come from that annotations and defaults use."""
        known = function.__globals__ if names is None else names
        parts = [node.args, *filter(None, [node.returns])] if isinstance(node, _FUNCTION) else [node]
        for each in (each for part in parts for each in ast.walk(part)):
            if isinstance(each, ast.Name) and not hasattr(builtins, each.id):
                self.names[each.id] = _home(each.id, known[each.id])


@attrs.define
class _RemoteWriter(_Writer):
    """Writes calls that are awaited, all of them."""

    manager: ClassVar[str] = "AbstractAsyncContextManager"
    made: ClassVar[type[ast.FunctionDef | ast.AsyncFunctionDef]] = ast.AsyncFunctionDef

    def _entered(self, function: Callable[..., Any]) -> str:
        cls = events_of(calls_of(Engine)[function.__name__])
        self.names[cls.__name__] = cls.__module__
        return cls.__name__


_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def _definition(function: Callable[..., Any]) -> ast.FunctionDef | ast.AsyncFunctionDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(node, _FUNCTION)
    # As deep in the stub's class as in the engine's.
    docstring = ast.get_docstring(node, clean=True) or ""
    node.body = [ast.Expr(ast.Constant(textwrap.indent(docstring, " " * 4).lstrip() + _last_line(docstring)))]
    return node


def _last_line(docstring: str) -> str:
    return "\n    " if "\n" in docstring else ""


def _home(name: str, value: object) -> str:
    """The module that a name is imported from."""
    if isinstance(value, ModuleType):
        return ""
    module = getattr(value, "__module__", None)
    if module in sys.modules and vars(sys.modules[module]).get(name) is value:
        return str(module)
    assigned = [
        key
        for key, each in sys.modules.items()
        if key.startswith("echo_actors") and vars(each).get(name) is value and _assigns(each, name)
    ]
    assert assigned, f"nobody knows where {name} comes from"
    return assigned[0]


def _assigns(module: ModuleType, name: str) -> bool:
    statements = ast.parse(inspect.getsource(module)).body
    targets = [each.targets[0] for each in statements if isinstance(each, ast.Assign)]
    targets += [each.target for each in statements if isinstance(each, ast.AnnAssign)]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _class(name: str, base: str, body: list[ast.stmt]) -> ast.ClassDef:
    return ast.ClassDef(
        name=name, bases=[ast.parse(base, mode="eval").body], keywords=[], body=body, decorator_list=[]
    )


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _formatted(text: str) -> str:
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(STUB), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
    REMOTE_STUB.write_text(remote_stub(), encoding="utf-8")
