"""Records to JSON bytes and back, with a format version in each: ``{"v": 1, ...}``.

Fields that have their default are left out, so a changed default is a new format version as much as a renamed field
is. Times are ISO 8601 in UTC. Unknown fields are tolerated and dropped: within one version, a newer program may
add a field with a default, and an older one still reads the record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from echo_actors.errors import NotStorable, StoreError
from echo_actors.models import Message, Outcome
from echo_actors.settings import ChannelOptions
from echo_actors.state.records import Note, SessionSnapshot

T = TypeVar("T")

Fields = dict[str, Any]
Upgrade = Callable[[Fields], Fields]
"""Turns the fields of one format version into those of the next."""


@attrs.frozen(eq=False)
class Format(Generic[T]):
    """How one kind of record is written.

    Attributes:
        name: What the record is called in errors.
        version: The version that is written.
        upgrades: By version, the step from it to the next; together they read every older version.
    """

    name: str
    cls: type[T]
    converter: OrjsonConverter
    version: int = 1
    upgrades: Mapping[int, Upgrade] = attrs.field(factory=dict)

    def encode(self, value: T) -> bytes:
        """Write a record in the current version.

        Raises:
            NotStorable: A text is no valid Unicode, a time has no zone, or a number has more than 64 bits.
        """
        try:
            fields = {"v": self.version, **self.converter.unstructure(value, unstructure_as=self.cls)}
            return orjson.dumps(fields, option=orjson.OPT_UTC_Z)
        except (TypeError, ValueError, OverflowError) as problem:
            raise NotStorable(f"the {self.name} cannot be stored: {problem}") from problem

    def decode(self, data: bytes) -> T:
        """Read a record of this version or an older one.

        Raises:
            StoreError: It was written by a newer version of this package, or is damaged.
        """
        try:
            fields = orjson.loads(data)
            version = fields.pop("v")
            if version != self.version:
                fields = self._upgrade(fields, version)
            return self.converter.structure(fields, self.cls)
        except (KeyError, TypeError, ValueError, AttributeError, cattrs.BaseValidationError) as problem:
            raise StoreError(f"a stored {self.name} cannot be read: {problem!r}") from problem

    def _upgrade(self, fields: Fields, version: int) -> Fields:
        if version > self.version:
            raise StoreError(
                f"a stored {self.name} has format {version} and this version of echo-actors reads up to "
                f"{self.version}; run the newer version that wrote it"
            )
        for step in range(version, self.version):
            fields = self.upgrades[step](fields)
        return fields


@attrs.frozen(eq=False)
class Codec:
    """The formats of all that a store keeps."""

    message: Format[Message]
    outcome: Format[Outcome]
    snapshot: Format[SessionSnapshot]


def make_codec() -> Codec:
    """Build the formats; done once per store, since it compiles their functions."""
    converter = json_converter(omit_if_default=True)
    return Codec(
        Format("message", Message, converter),
        Format("outcome", Outcome, converter),
        Format("snapshot", SessionSnapshot, converter, version=2, upgrades={1: _model_as_an_option}),
    )


def json_converter(*, omit_if_default: bool) -> OrjsonConverter:
    """A converter between records and what JSON can hold, with times in UTC."""
    converter = make_converter(omit_if_default=omit_if_default, detailed_validation=False)
    converter.register_unstructure_hook(datetime, _to_utc)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text).astimezone(UTC))
    # Tool inputs are JSON as the CLI sent them; walking them would cost time and change nothing.
    converter.register_unstructure_hook_func(_is_plain_json, lambda value: value)
    converter.register_structure_hook_func(_is_plain_json, lambda value, _: value)
    clocks = [field.name for field in attrs.fields(ChannelOptions) if "unit" in field.metadata]
    endless: dict[str, Any] = {name: override(unstruct_hook=_seconds) for name in clocks}
    converter.register_unstructure_hook(
        ChannelOptions,
        make_dict_unstructure_fn(ChannelOptions, converter, _cattrs_omit_if_default=omit_if_default, **endless),
    )
    return converter


def _model_as_an_option(fields: Fields) -> Fields:
    """In the first format a snapshot's model was the one that had been chosen, and there were no options."""
    return {**fields, "options": {"model": fields["model"]}}


def _seconds(value: float | None) -> float | str | None:
    """A clock's time; JSON has no number for one that never runs out, and would have null, which is no time at all."""
    return "inf" if value is not None and math.isinf(value) else value


def _is_plain_json(annotation: object) -> bool:
    return annotation == dict[str, Any]


def _to_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError(f"the time {time.isoformat()} has no zone")
    return time.astimezone(UTC)


def encode_note(value: Note) -> bytes:
    """Write a note, which is plain JSON and has no version.

    Raises:
        NotStorable: It is not plain JSON.
    """
    try:
        return orjson.dumps(value)
    except TypeError as problem:
        raise NotStorable(f"the note cannot be stored: {problem}") from problem


def decode_note(data: bytes) -> Note:
    """Read a note.

    Raises:
        StoreError: It is damaged.
    """
    try:
        note: Note = orjson.loads(data)
    except ValueError as problem:
        raise StoreError(f"a stored note cannot be read: {problem}") from problem
    return note
