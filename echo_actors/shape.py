"""What calls a class has, and of which kind each is: the one definition for all who carry an engine's calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

ANY_THREAD = "for_any_thread"
"""The attribute of a call that reads only, and so may be made in any thread, also while the loop is stuck."""


class Kind(Enum):
    """How something is used."""

    AWAITED = "a coroutine function"
    ENTERED = "a function that gives an async context manager"
    DIRECT = "a function that does not wait"
    READ = "a property"
    ANYWHERE = "a function that any thread may call"


def for_any_thread(call: F) -> F:
    """Mark a call as one that any thread may make."""
    setattr(call, ANY_THREAD, True)
    return call


def public(cls: type) -> dict[str, Any]:
    """The public attributes of a class, with those of its bases."""
    return {name: inspect.getattr_static(cls, name) for name in dir(cls) if not name.startswith("_")}


def kind_of(value: Any) -> Kind:
    """The kind of a class's attribute.

    Raises:
        TypeError: It is of no kind that can be carried elsewhere.
    """
    if isinstance(value, property):
        return Kind.READ
    if inspect.iscoroutinefunction(value):
        return Kind.AWAITED
    if not inspect.isfunction(value) or inspect.isasyncgenfunction(value):
        raise TypeError(f"cannot carry {value!r} to another place")
    if hasattr(value, ANY_THREAD):
        return Kind.ANYWHERE
    return Kind.ENTERED if inspect.isasyncgenfunction(inspect.unwrap(value)) or _gives_manager(value) else Kind.DIRECT


def carried(original: type, ways: Mapping[Kind, Callable[[Any], Any]]) -> Callable[[type[T]], type[T]]:
    """Give a class every public attribute of another one, each made in the way of its kind."""

    def decorate(cls: type[T]) -> type[T]:
        for name, value in public(original).items():
            setattr(cls, name, ways[kind_of(value)](value))
        return cls

    return decorate


def _gives_manager(function: Callable[..., Any]) -> bool:
    return hasattr(get_type_hints(function).get("return"), "__aenter__")
