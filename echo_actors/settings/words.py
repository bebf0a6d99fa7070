"""What documents say of a setting besides its meaning: its default, its unit, its variable."""

from __future__ import annotations

from typing import Any

import attrs

from echo_actors.settings.sources import PREFIX


def default_of(field: attrs.Attribute[Any]) -> Any:
    """The default; it may be this machine's."""
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]  # attrs calls a class a function


def default_words(field: attrs.Attribute[Any]) -> str:
    """The default in words that are the same on every machine."""
    words = ""
    match default_of(field):
        case _ if "shown" in field.metadata:
            words = str(field.metadata["shown"])
        case None | "" | () | {}:
            words = "none"
        case bool() as on:
            words = "on" if on else "off"
        case tuple() as texts:
            words = ", ".join(texts)
        case int() as number:
            words = f"{number:,}"
        case float() as number:
            words = f"{number:.15g}"
        case value:
            words = f"`{value}`"
    return words


def unit(field: attrs.Attribute[Any]) -> str:
    """What a number counts, where the meaning does not say it."""
    if "unit" in field.metadata:
        return str(field.metadata["unit"])
    if field.name.endswith("_usd"):
        return "USD"
    return "bytes" if field.type is int and "bytes" in field.metadata["doc"] else ""


def variable(name: str) -> str:
    """The variable that a setting is read from."""
    return PREFIX + name.upper()
