"""Which calls of a class may be made over a socket, and of which types their arguments and results are."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from echo_actors.control.values import Json, Values
from echo_actors.errors import ControlError
from echo_actors.shape import Kind, kind_of, public

WITHHELD: Final = frozenset({"drain"})
"""Calls that are their own program's: to end the engine is the business of who opened it, as signals are."""


@attrs.frozen(eq=False)
class Call:
    """A call of a class, as it is made from elsewhere.

    Attributes:
        function: Of the class.
        parameters: By name, the types.
        required: Those without a default.
        returns: The type of the result, or of what a context manager's block gets.
    """

    name: str
    kind: Kind
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    required: frozenset[str]
    returns: Any

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name.

        Raises:
            TypeError: They are not those of the function.
        """
        signature = inspect.signature(self.function)
        bound = dict(signature.bind(None, *args, **kwargs).arguments)
        bound.pop(next(iter(signature.parameters)))
        rest = next((name for name, each in signature.parameters.items() if each.kind is each.VAR_KEYWORD), "")
        further: dict[str, Any] = bound.pop(rest, {})
        return bound | further

    def write(self, arguments: Mapping[str, Any], values: Values) -> Json:
        """The arguments as JSON."""
        return {name: values.write(value, self.parameters.get(name)) for name, value in arguments.items()}

    def read(self, given: Any, values: Values) -> dict[str, Any]:
        """The arguments out of JSON. What the function takes by any name, it has to check itself.

        Raises:
            ControlError: They are not those of the function.
        """
        if not isinstance(given, dict) or not self.required <= given.keys():
            raise ControlError(f"{self.name} needs the arguments {', '.join(sorted(self.required)) or '{}'}")
        read = {}
        for name, value in given.items():
            try:
                read[name] = values.read(value, self.parameters[name]) if name in self.parameters else value
            except ControlError as problem:
                raise ControlError(f"{self.name}: {name}: {problem}") from problem
        return read


def calls_of(cls: type) -> dict[str, Call]:
    """The calls of a class that may be made from elsewhere: all that are public but properties and the withheld."""
    kinds = {name: kind_of(value) for name, value in public(cls).items()}
    return {
        name: _call(name, kind, public(cls)[name])
        for name, kind in kinds.items()
        if kind is not Kind.READ and name not in WITHHELD
    }


def facts_of(value: Any) -> dict[str, Any]:
    """What is known of an entered context manager beside its events: its public fields, if it has any."""
    fields = attrs.fields(type(value)) if attrs.has(type(value)) else ()
    return {each.name: getattr(value, each.name) for each in fields if not each.name.startswith("_")}


def _call(name: str, kind: Kind, function: Any) -> Call:
    plain = inspect.unwrap(function)
    hints = typing.get_type_hints(plain)
    returns = hints.pop("return", None)
    parameters: dict[str, Any] = {}
    required = set()
    for each in list(inspect.signature(plain).parameters.values())[1:]:
        if each.kind is each.VAR_KEYWORD:
            # Unpack[...] of a TypedDict.
            parameters |= typing.get_type_hints(typing.get_args(hints[each.name])[0])
            continue
        parameters[each.name] = hints[each.name]
        if each.default is each.empty:
            required.add(each.name)
    if kind is Kind.ENTERED and typing.get_args(returns):
        returns = typing.get_args(returns)[0]
    return Call(name, kind, function, parameters, frozenset(required), returns)
