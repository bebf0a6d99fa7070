"""Settings as they may be shown: without what is, or may be, a secret."""

from __future__ import annotations

import re
from typing import Any, Final

HIDDEN: Final = "***"

_SECRET_TABLES: Final = frozenset({"environment", "env", "headers"})
"""Tables in which each value may be a key: variables, and headers of requests."""

_TELLING: Final = re.compile(
    r"token|secret|passw|passphrase|credential|apikey|privatekey|(?:^|[_-])(?:keys?|auth\w*|cookie|dsn|pass|pw)(?:[_-]|$)",
    re.IGNORECASE,
)
"""Names whose values are secrets."""

_FORMS: Final = re.compile(
    r"sk-[\w-]{16,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}"
    r"|AIza[\w-]{35}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*|(?<=://)[^\s/:@]*:[^\s/@]+(?=@)|(?<=bearer )[\w.~+/=-]{8,}"
    r"|(?<=[?&]key=)[^\s&]+|(?:(?<=key=)|(?<=token=)|(?<=secret=)|(?<=password=))[^\s&]+",
    re.IGNORECASE,
)
"""What is a secret by its form alone, wherever it is in a text."""


def masked(name: str, value: Any) -> Any:
    """A setting's value, or one within it, with ``***`` in place of what may be a secret.

    Args:
        name: What it is called.
        value: As JSON has it.
    """
    match value:
        case dict() if name.lower() in _SECRET_TABLES:
            return dict.fromkeys(value, HIDDEN)
        case dict():
            return {key: masked(str(key), each) for key, each in value.items()}
        case list():
            return [masked(name, each) for each in value]
        case str() if value and _TELLING.search(name):
            return HIDDEN
        case str():
            return _FORMS.sub(HIDDEN, value)
        case _:
            return value
