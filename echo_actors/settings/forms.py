"""The forms of settings: what each type of value is called, and how one is made of what was given."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import attrs
import orjson

from echo_actors.errors import SettingsError
from echo_actors.models import FullPolicy, SessionConflict


def _exactly(*kinds: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError
        return value

    return check


def _path(value: Any) -> Path:
    return Path(_exactly(str, Path)(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_exactly(str)(each) for each in _exactly(tuple, list)(value))


def _table(value: Any) -> dict[str, str]:
    return {_exactly(str)(name): _exactly(str)(each) for name, each in _exactly(dict)(value).items()}


_FORMS: Final[dict[Any, tuple[str, Callable[[Any], Any]]]] = {
    str: ("text", _exactly(str)),
    bool: ("true or false", _exactly(bool)),
    int: ("a whole number", _exactly(int)),
    float: ("a number", lambda value: float(_exactly(int, float)(value))),
    Path: ("a path", _path),
    Path | None: ("a path", lambda value: None if value is None else _path(value)),
    tuple[str, ...]: ("a list of texts (in a variable: JSON)", _texts),
    dict[str, str]: ("a table of texts (in a variable: JSON)", _table),
    FullPolicy: (", ".join(FullPolicy) + " (one of them)", FullPolicy),
    SessionConflict: (", ".join(SessionConflict) + " (one of them)", SessionConflict),
}
"""What a setting of each type is called, and what makes its value from what was given."""

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _coerce(value: Any, field: attrs.Attribute[Any]) -> Any:
    what, make = _FORMS[field.type]
    try:
        return make(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{field.name} must be {what}, not {value!r}.", field.name) from None


def setting(default: Any, doc: str, **metadata: str | int) -> Any:
    """Make an attrs field that takes a value in the form of its type, and keeps what it means beside it.

    The class needs ``attrs.resolve_types``. A value in another form raises ``SettingsError`` when the field is set.
    """
    converter = attrs.Converter(_coerce, takes_field=True)
    return attrs.field(default=default, converter=converter, metadata={"doc": doc, **metadata})


def from_text(field: attrs.Attribute[Any], text: str, shown: str) -> Any:
    """Read a variable's text: JSON for lists and tables, the plain value for everything else.

    Raises:
        SettingsError: The text gives no value of the field's type.
    """
    try:
        if typing.get_origin(field.type) in (tuple, dict):
            value = orjson.loads(text)
        elif field.type is bool:
            value = _WORDS[text.lower()]
        else:
            value = {int: int, float: float}.get(cast("type", field.type), str)(text)
        return _coerce(value, field)
    except (ValueError, KeyError) as problem:
        what, _ = _FORMS[field.type]
        raise SettingsError(f"{shown} must be {what}, not {text!r}.", field.name) from problem
