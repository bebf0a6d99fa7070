"""The audit log's schema: checks records, and becomes a page by ``python -m echo_actors.audit.schema``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from echo_actors.audit.kinds import TYPES, Field
from echo_actors.audit.vocabulary import COMMON, EVENTS


def problems(record: Mapping[str, Any]) -> list[str]:
    """Say what in a record is not as the schema has it; nothing if all is."""
    kind = EVENTS.get(record.get("event", ""))
    if kind is None:
        return [f"there is no kind {record.get('event')!r}"]
    missing = [f"{name} is missing" for name in COMMON if name not in record]
    wrong = [f"{name} is {record[name]!r}" for name, field in COMMON.items() if not field.takes(record.get(name))]
    return [*missing, *wrong, *kind.problems({name: record[name] for name in record if name not in COMMON})]


def reference() -> str:
    """The schema as a page of Markdown: a table of what every record has, and one for each kind."""
    return "\n".join(_reference())


def _reference() -> Iterator[str]:
    yield "# The records of the audit log\n"
    yield "<!-- Made of the code by: python -m echo_actors.audit.schema -->\n"
    yield "Each is a line of JSON with flat fields. A secret in a text is replaced by `[secret NAME]`.\n"
    yield "## In every record\n"
    yield from _table(COMMON)
    for name, kind in sorted(EVENTS.items()):
        yield f"## `{name}`\n"
        yield f"{kind.meaning}\n"
        if kind.fields:
            yield from _table(kind.fields)


def _table(fields: Mapping[str, Field]) -> Iterator[str]:
    yield "| field | type | unit | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        null = f" null: {field.null}." if field.null else ""
        absent = "" if field.always else " Not always there."
        yield f"| `{name}` | {TYPES[field.type]} | {field.unit} | {field.meaning}{null}{absent} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(reference())
