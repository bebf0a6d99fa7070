"""Values as JSON and back: arguments, results, events and errors."""

from __future__ import annotations

import math
import reprlib
import types
import typing
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
from cattrs.errors import CattrsError
from cattrs.preconf.orjson import OrjsonConverter
from cattrs.strategies import configure_tagged_union

from echo_actors import errors, events
from echo_actors.errors import ControlError, EchoActorsError
from echo_actors.events import Event, UnknownFrame
from echo_actors.models import Answer
from echo_actors.state.codec import json_converter

Json = dict[str, Any]

_TEXTS: Final = {str, uuid.UUID, Path, types.NoneType}
"""What may be one of a union that is written as text."""

_LONGEST_REASON: Final = 500
"""Characters of why a value cannot be read."""


def _make_converter() -> OrjsonConverter:
    converter = json_converter(omit_if_default=False)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    # JSON has no endless number.
    converter.register_unstructure_hook(float, lambda number: number if math.isfinite(number) else str(number))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(types.NoneType, lambda value, _: _nothing(value))
    converter.register_structure_hook_func(_is_text, lambda value, _: value if value is None else _text(value))
    configure_tagged_union(Answer, converter, tag_name="type")
    return converter


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def check(value: Any, wanted: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{reprlib.repr(value)} is no {kind.__name__}")
        # An enumeration of texts is a class of texts too.
        return value if wanted is kind else wanted(value)

    return check


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float) and value not in ("inf", "-inf", "nan"):
        raise TypeError(f"{reprlib.repr(value)} is no number")
    return float(value)


def _nothing(value: Any) -> None:
    if value is not None:
        raise TypeError(f"{reprlib.repr(value)} is not null")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{reprlib.repr(value)} is no text")
    return value


def _is_text(kind: Any) -> bool:
    """Whether it is a union of text and what may be given as text."""
    members = set(typing.get_args(kind)) if isinstance(kind, types.UnionType) else set()
    return {str} < members <= _TEXTS and members != {str, types.NoneType}


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


@attrs.frozen(eq=False)
class Values:
    """Writes and reads values by their types, and takes nothing for what it is not: no number for a text."""

    _converter: OrjsonConverter = attrs.Factory(_make_converter)

    def write(self, value: Any, kind: Any = None) -> Any:
        """A value as what JSON can hold."""
        return self._converter.unstructure(value, unstructure_as=kind)

    def read(self, value: Any, kind: Any) -> Any:
        """A value of this type.

        Raises:
            ControlError: It is none.
        """
        try:
            return self._converter.structure(value, kind)
        except EchoActorsError:
            raise
        except (CattrsError, TypeError, ValueError, KeyError, AttributeError) as problem:
            # Such an error may have all of the value in its words.
            raise ControlError(f"{_name(kind)} cannot be read: {str(problem)[:_LONGEST_REASON]}") from problem

    def write_event(self, event: Any) -> Json:
        """An event, with the name of its class as its type."""
        return {"type": type(event).__name__, **self.write(event)}

    def read_event(self, fields: Json) -> Event:
        """An event; one that only a newer server knows becomes an ``UnknownFrame``."""
        kind = vars(events).get(fields.get("type", ""))
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            known = {name: fields[name] for name in attrs.fields_dict(Event) if name in fields}
            return UnknownFrame(kind=str(fields.get("type")), data=fields, **self.write(self.read(known, Event)))
        event: Event = self.read(fields, kind)
        return event

    def write_error(self, error: Exception) -> Json:
        """An error; what is none of this package's is a ``ControlError`` on the other side."""
        if not isinstance(error, EchoActorsError):
            error = ControlError(f"{type(error).__name__}: {error}")
        fields = self.write(error) if attrs.has(type(error)) else {}
        return {"type": type(error).__name__, "text": str(error), "fields": fields}

    def read_error(self, content: Json) -> EchoActorsError:
        """The error to raise."""
        kind, text = vars(errors).get(content.get("type", "")), str(content.get("text"))
        if not (isinstance(kind, type) and issubclass(kind, EchoActorsError)):
            return ControlError(f"{content.get('type')}: {text}")
        if not attrs.has(kind):
            return kind(text)
        try:
            error: EchoActorsError = self.read(content.get("fields"), kind)
        except ControlError:
            return ControlError(f"{kind.__name__}: {text}")
        return error
