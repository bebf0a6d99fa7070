"""What a kind of audit record is: its meaning and its fields, each with type, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

TYPES: Final[Mapping[type, str]] = {str: "text", int: "whole number", float: "number", bool: "true or false"}
"""The types that a field may have, and what they are called."""


@attrs.frozen
class Field:
    """A field of a record.

    Attributes:
        type: One of ``TYPES``; null is allowed besides if ``null`` says so.
        unit: Empty where the number counts something that the meaning names.
        always: Whether every record of its kind has it.
        null: What null means; empty where it never is.
    """

    type: type
    meaning: str
    unit: str = ""
    always: bool = attrs.field(default=True, kw_only=True)
    null: str = attrs.field(default="", kw_only=True)

    def takes(self, value: object) -> bool:
        """Whether a value of a record can be this field's."""
        if value is None:
            return bool(self.null)
        return type(value) is self.type or (self.type is float and type(value) is int)


@attrs.frozen
class Kind:
    """A kind of record.

    Attributes:
        meaning: What has happened.
        fields: By name, in the order in which they are best read.
    """

    meaning: str
    fields: Mapping[str, Field] = attrs.Factory(dict)

    def problems(self, values: Mapping[str, Any]) -> list[str]:
        """Say what is wrong with a record's own fields; nothing if nothing is."""
        missing = [f"{name} is missing" for name, field in self.fields.items() if field.always and name not in values]
        unknown = [f"{name} is not known" for name in values if name not in self.fields]
        wrong = [
            f"{name} is {value!r}, not a {TYPES[self.fields[name].type]}"
            for name, value in values.items()
            if name in self.fields and not self.fields[name].takes(value)
        ]
        return [*missing, *unknown, *wrong]


def sometimes(field: Field) -> Field:
    """The field, where not every record of the kind has it."""
    return attrs.evolve(field, always=False)


def of_text(name: str, what: str, *, always: bool = True) -> dict[str, Field]:
    """The fields that describe a text, as ``text_fields`` makes them."""
    return {
        f"{name}_chars": Field(int, f"The length of {what}.", "characters", always=always),
        f"{name}_sha256": Field(str, f"The SHA-256 of {what}, in UTF-8.", always=always),
        name: Field(str, f"{what[0].upper()}{what[1:]}, with the setting `audit_content`.", always=False),
    }
