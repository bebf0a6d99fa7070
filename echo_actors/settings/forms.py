"""The forms of settings: what each type of value is called, and how one is made of what was given."""

from __future__ import annotations

import difflib
import enum
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from echo_actors.errors import SettingsError

Make = Callable[[Any], Any]
Check = Callable[[str, Any], None]
"""Looks at a field's name and value, and raises ``SettingsError``."""


def _exactly(*kinds: type) -> Make:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError
        return value

    return check


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_exactly(str)(each) for each in _exactly(tuple, list)(value))


def _json(value: Any) -> dict[str, Any]:
    """A copy, so that nobody changes it later."""
    try:
        table: dict[str, Any] = orjson.loads(orjson.dumps(_exactly(dict)(value)))
        # orjson makes null of inf and nan, without a word.
        json.dumps(value, allow_nan=False, default=str)
    except (orjson.JSONEncodeError, ValueError) as problem:
        if not isinstance(value, dict):
            raise
        raise SettingsError(f"it cannot be JSON: {problem}.") from None
    return table


def _maybe(make: Make, value: Any) -> Any:
    return None if value is None else make(value)


def _table(make_name: Make, what: str, make: Make, value: Any) -> dict[Any, Any]:
    return {
        make_name(_exactly(str)(name)): _made(name, what, make, each) for name, each in _exactly(dict)(value).items()
    }


def _member(kind: type[enum.Enum], name: str) -> Any:
    """The member of an enumeration that a table's value is for."""
    names = [each.value for each in kind]
    if name not in names:
        raise SettingsError(f"There is no {name!r}, only {', '.join(names)}.", name, nearest(name, names))
    return kind(name)


def _record(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) else kind(**checked_names(kind, _exactly(dict)(value)))


def _made(name: str, what: str, make: Make, value: Any, *, told: bool = False) -> Any:
    """Make the value of this name; an error says where it was found, and what it was if that may be told."""
    try:
        return make(value)
    except SettingsError as problem:
        raise _inside(name, name, problem) from None
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be {what}, not {_told(value) if told else _kind_of(value)}.", name) from None


def _told(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float)) else _kind_of(value)


def _kind_of(value: Any) -> str:
    """What a value is called whose content nobody should see: errors go to logs, and it may have secrets in it."""
    if isinstance(value, (list, tuple)):
        return (
            f"a list with {', '.join(sorted({_KINDS.get(type(each), 'others') for each in value})) or 'nothing'} in it"
        )
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: Final[Mapping[type, str]] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a table",
    list: "a list",
    types.NoneType: "nothing",
}


def _inside(shown: str, name: str, problem: SettingsError) -> SettingsError:
    reason = f"{shown}: {problem.reason}"
    return SettingsError(reason, problem.name, problem.nearest, within=(name, *problem.within))


_PLAIN: Final[dict[Any, tuple[str, Make]]] = {
    str: ("text", _exactly(str)),
    bool: ("true or false", _exactly(bool)),
    int: ("a whole number", _exactly(int)),
    float: ("a number", lambda value: float(_exactly(int, float)(value))),
    Path: ("a path", lambda value: Path(_exactly(str, Path)(value))),
    tuple[str, ...]: ("a list of texts (in a variable: JSON)", _texts),
    dict[str, str]: ("a table of texts (in a variable: JSON)", partial(_table, _exactly(str), "text", _exactly(str))),
    dict[str, Any]: ("a table (in a variable: JSON)", _json),
}


def _form(kind: Any) -> tuple[str, Make]:
    """What a setting of this type is called, and what makes its value from what was given."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, types.UnionType):
        what, make = _form(_without_none(kind))
        return what, partial(_maybe, make)
    if typing.get_origin(kind) is dict:
        names, values = typing.get_args(kind)
        what, make = _form(values)
        make_name = partial(_member, names) if issubclass(names, enum.Enum) else _exactly(str)
        return f"a table of which each value is {what} (in a variable: JSON)", partial(_table, make_name, what, make)
    if issubclass(kind, enum.Enum):
        return ", ".join(each.value for each in kind) + " (one of them)", kind
    return "a table", partial(_record, kind)


def _is_collection(kind: Any) -> bool:
    plain = _without_none(kind) if isinstance(kind, types.UnionType) else kind
    return typing.get_origin(plain) in (tuple, dict)


def _without_none(kind: Any) -> Any:
    return next((each for each in typing.get_args(kind) if each is not types.NoneType), kind)


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
    what, make = _form(field.type)
    return _made(field.name, what, make, value, told=not _is_collection(field.type))


def _check(_owner: object, field: attrs.Attribute[Any], value: Any) -> None:
    """Check what the type alone does not say."""
    if value is None:
        return
    if "unit" in field.metadata:
        finite = field.metadata.get("finite", False)
        if not value > 0 or math.isnan(value) or (finite and math.isinf(value)):
            raise SettingsError(
                f"{field.name} must be a positive{' and finite' if finite else ''} number of seconds, not {value!r}.",
                field.name,
            )
    elif type(value) is int and value < (least := field.metadata.get("least", 1)):
        raise SettingsError(f"{field.name} must be at least {least}, not {value!r}.", field.name)
    check: Check | None = field.metadata.get("check")
    if check is not None:
        check(field.name, value)


def setting(default: Any, doc: str, check: Check | None = None, **metadata: Any) -> Any:
    """Make an attrs field that takes a value in the form of its type, and keeps what it means beside it.

    The class needs ``attrs.resolve_types``. A value in another form raises ``SettingsError`` when the field is set.

    Args:
        default: When nothing is given.
        doc: What it means.
        check: What its type alone does not say.
        **metadata: ``unit="s"`` for a duration, which is positive, with ``finite=True`` never endless; ``least`` for
            a whole number, 1 by default; ``shown`` for what documents say of a default that differs between machines
            or is another program's.
    """
    return attrs.field(
        default=default,
        converter=attrs.Converter(_coerce, takes_field=True),
        validator=_check,
        metadata={"doc": doc, "check": check, **metadata},
    )


def from_file(field: attrs.Attribute[Any], value: Any) -> Any:
    """Make and check the value of a setting that a file has.

    Raises:
        SettingsError: It cannot be used.
    """
    made = _coerce(value, field)
    _check(None, field, made)
    return made


def from_text(field: attrs.Attribute[Any], text: str, shown: str) -> Any:
    """Read a variable's text: JSON for lists and tables, the plain value for everything else.

    Raises:
        SettingsError: The text gives no value of the field's type.
    """
    declared: Any = field.type
    kind = _without_none(declared) if isinstance(declared, types.UnionType) else declared
    what, make = _form(declared)
    value: Any = text
    try:
        if _is_collection(kind):
            value = orjson.loads(text)
            json.loads(text, object_pairs_hook=_named_once)
        elif kind is bool:
            value = _WORDS[text.lower()]
        else:
            value = {int: int, float: float}.get(kind, str)(text)
        return make(value)
    except SettingsError as problem:
        raise _inside(shown, field.name, problem) from None
    except orjson.JSONDecodeError as problem:
        # Without its cause, which has the text.
        raise SettingsError(f"{shown} must be {what}, and is no JSON: {problem.msg}.", field.name) from None
    except (TypeError, ValueError, KeyError, RecursionError):
        found = _kind_of(value) if _is_collection(kind) else repr(text)
        raise SettingsError(f"{shown} must be {what}, not {found}.", field.name) from None


def _named_once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that says something twice: one of the two would be ignored without a word."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise SettingsError(f"{name!r} is there more than once.", name)
        seen.add(name)


def field_of(name: str, fields: Mapping[str, attrs.Attribute[Any]]) -> attrs.Attribute[Any]:
    """Give the setting of this name.

    Raises:
        SettingsError: There is none; the error has the nearest that there is.
    """
    if name not in fields:
        raise SettingsError(f"There is no setting {name}.", name, nearest(name, fields))
    return fields[name]


def checked_names(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Give the values back if each is a field of the class.

    Raises:
        SettingsError: One is not; the error has the nearest that is.
    """
    fields = attrs.fields_dict(kind)
    for name in values:
        if name not in fields:
            raise SettingsError(f"There is no {kind.__name__} {name!r}.", str(name), nearest(str(name), fields))
    return values


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like this one, in whatever case, or nothing."""
    names = {each.lower(): each for each in known}
    return next((names[each] for each in difflib.get_close_matches(name.lower(), names, n=1)), "")
