"""What the types of settings do not say: which words the CLI knows, and what an amount is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from echo_actors.errors import SettingsError
from echo_actors.settings.forms import nearest

PERMISSION_MODES: Final = ("default", "acceptEdits", "auto", "bypassPermissions", "dontAsk", "manual", "plan")
EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
SOURCES: Final = ("user", "project", "local")


def one_of(name: str, value: str, valid: Iterable[str]) -> None:
    """Check that a text is one of some words."""
    if value not in (words := tuple(valid)):
        reason = f"{name} must be one of {', '.join(words)}, not {value!r}."
        raise SettingsError(reason, name, nearest(value, words))


def permission_mode(name: str, value: str) -> None:
    """Check a permission mode of the CLI."""
    one_of(name, value, PERMISSION_MODES)


def effort(name: str, value: str) -> None:
    """Check how hard a model is to think."""
    one_of(name, value, EFFORTS)


def setting_sources(name: str, value: Iterable[str]) -> None:
    """Check which of the CLI's own settings hold."""
    for each in value:
        one_of(name, each, SOURCES)


def amount(name: str, value: float) -> None:
    """Check an amount of money."""
    if not value >= 0 or math.isinf(value):
        raise SettingsError(f"{name} must be an amount of US dollars, not {value!r}.", name)


def price(name: str, value: float) -> None:
    """Check an amount of money that buys something."""
    amount(name, value)
    if not value:
        raise SettingsError(f"{name} must be more than nothing.", name)


def share(name: str, value: float) -> None:
    """Check a part of a whole."""
    if not 0 < value <= 1:
        raise SettingsError(f"{name} must be above 0 and at most 1, not {value!r}.", name)
