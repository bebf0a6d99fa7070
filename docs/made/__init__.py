"""Pages that are made of the code: ``python -m docs.made`` writes them, and tests compare them with what is in git."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from docs.made import calls, commands, errors, events
from echo_actors.audit.schema import reference as audit_records
from echo_actors.settings.reference import markdown as settings

DOCS = Path(__file__).resolve().parent.parent


def pages() -> Mapping[str, str]:
    """The text of each page, by the name of its file."""
    return {
        "audit-records.md": audit_records(),
        "calls.md": calls.page(),
        "commands.md": commands.page(),
        "errors.md": errors.page(),
        "events.md": events.page(),
        "settings.md": settings(),
    }
