"""The audit log's schema: that it knows every record that the code makes, and no other."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support import asked, audit_records, opened, plain_settings, scripted_engine, scripted_settings, until

import echo_actors
from echo_actors import Settings, TurnFailed
from echo_actors.actors.turns import spent_fields
from echo_actors.audit import chain, text_fields
from echo_actors.audit.schema import problems, reference
from echo_actors.audit.vocabulary import COMMON, EVENTS
from echo_actors.models import Author, Spent
from echo_actors.testing.instant_driver import InstantDriver

PACKAGE = Path(echo_actors.__file__).parent
RECORDS = {"record", "_record", "render_own"}
"""The names of functions that write a record, in whatever object they are."""


@attrs.frozen
class Call:
    """A place in the code where a record is made; ``open``: with more fields than are written in the call."""

    where: str
    event: str
    fields: frozenset[str]
    open: bool


def calls() -> Iterator[Call]:
    """All of them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Call):
                        yield from recorded(path, function, node)


def recorded(path: Path, function: ast.AST, node: ast.Call) -> list[Call]:
    """The records that a call can make: one, or one of two, or none."""
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name not in RECORDS or len(node.args) != 1:
        return []
    events = event_names(node.args[0])
    where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
    if None in events:
        # Something else that is called so, unless it is given fields.
        assert not node.keywords, f"{where}: write the name of the event where it is recorded"
        return []
    fields, more = set[str](), False
    for keyword in node.keywords:
        if keyword.arg is not None:
            fields.add(keyword.arg)
        else:
            more = True
            fields |= spread(keyword.value, function, where)
    return [Call(where, event, frozenset(fields), more) for event in events if event is not None]


def event_names(node: ast.expr) -> list[str | None]:
    """The event, written out or as one of the chain's constants; two if it depends; None for what is neither."""
    if isinstance(node, ast.IfExp):
        return [*event_names(node.body), *event_names(node.orelse)]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    value = getattr(chain, node.id, None) if isinstance(node, ast.Name) else None
    return [value if isinstance(value, str) else None]


def spread(value: ast.expr, function: ast.AST, where: str) -> set[str]:
    """The fields that come out of a table: of what makes some, or one that is put together in the same function."""
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "spent_fields":
        return set(spent_fields(Spent()))
    if isinstance(value, ast.Call):
        assert getattr(value.func, "id", "") == "text_fields", f"{where}: what are the fields?"
        names = [
            each.value.value for each in value.keywords if each.arg == "name" and isinstance(each.value, ast.Constant)
        ]
        return set(text_fields("", content=True, name=str(names[0]) if names else "text"))
    assert isinstance(value, ast.Name), f"{where}: what are the fields?"
    found = set[str]()
    for node in ast.walk(function):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            made = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id == value.id and isinstance(made, ast.Dict | ast.Call):
                found |= keys(made) if isinstance(made, ast.Dict) else spread(made, function, where)
            elif isinstance(target, ast.Subscript) and getattr(target.value, "id", "") == value.id:
                assert isinstance(target.slice, ast.Constant), f"{where}: what is the field?"
                found.add(str(target.slice.value))
    assert found, f"{where}: what are the fields?"
    return found


def keys(table: ast.Dict) -> set[str]:
    """The keys that are written in a table."""
    assert all(isinstance(key, ast.Constant) for key in table.keys)
    return {str(key.value) for key in table.keys if isinstance(key, ast.Constant)}


CALLS = list(calls())


def test_the_records_of_the_code_are_found() -> None:
    """A reader that finds nothing would pass every other test here."""
    assert len(CALLS) > 30
    assert next(call for call in CALLS if call.event == "turn.ended" and call.open).fields >= {"cost_usd", "reply"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.event} {call.where}")
def test_a_record_that_the_code_makes_is_in_the_schema(call: Call) -> None:
    """With its fields, and with all that records of its kind always have."""
    assert call.event in EVENTS
    fields = EVENTS[call.event].fields
    assert call.fields <= set(fields)
    assert {name for name, field in fields.items() if field.always} <= call.fields


def test_every_kind_and_every_field_of_the_schema_is_made_somewhere() -> None:
    """What nobody records is not documented."""
    for event, kind in EVENTS.items():
        made = [call for call in CALLS if call.event == event]
        assert made, event
        assert set(kind.fields) == set().union(*(call.fields for call in made)), event


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_kind_is_documented_in_sentences(event: str) -> None:
    """So is every field; a name has a dot, and no field takes a name that every record has."""
    kind = EVENTS[event]
    assert "." in event
    assert all(text.endswith(".") for text in (kind.meaning, *(field.meaning for field in kind.fields.values())))
    assert COMMON.keys().isdisjoint(kind.fields)


def test_the_reference_names_everything() -> None:
    """It is printed by running the module."""
    page = reference()
    for event, kind in EVENTS.items():
        assert f"## `{event}`" in page
        assert all(f"| `{name}` |" in page for name in kind.fields)
    done = subprocess.run(
        [sys.executable, "-m", "echo_actors.audit.schema"], capture_output=True, text=True, check=True
    )
    assert done.stdout == page


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"event": "nothing.known"}, "there is no kind 'nothing.known'"),
        ({"channel": None}, "channel is None, not a text"),
        ({"other": 1}, "other is not known"),
        ({"seq": "1"}, "seq is '1'"),
        ({"cleared": 1}, "cleared is 1, not a true or false"),
    ],
)
def test_a_record_that_is_not_as_the_schema_has_it_is_told(fields: dict[str, Any], problem: str) -> None:
    """Kind, missing and unknown fields, and types."""
    good = {"seq": 1, "time": "t", "event": "operator.clear", "run": "r", "channel": "c", "cleared": True, "prev": "p"}
    assert problems(good) == []
    assert problems({**good, **fields}) == [problem]
    assert problems({name: value for name, value in good.items() if name != "cleared"}) == ["cleared is missing"]


def all_valid(settings: Settings) -> set[str]:
    """See that all records are as the schema has them; give their kinds."""
    found = audit_records(settings)
    assert [(record["event"], problems(record)) for record in found if problems(record)] == []
    return {record["event"] for record in found}


async def test_the_records_of_a_run_with_turns_tools_and_faults_are_valid(tmp_path: Path) -> None:
    """On the scripted CLI, with content: answers, failures, retries, a dead process, operators' calls, spares."""
    settings = scripted_settings(tmp_path, audit_content=True, spares=1, max_attempts=2)
    async with scripted_engine(settings, seconds=60) as engine:
        await engine.ask("a", "hello", author=Author("Ana"))
        await engine.ask("a", "use [[tool-sleep 0]]")
        for text in ("[[exit 3]]", "[[is-error 400]]", "[[is-error 529]]"):
            with pytest.raises(TurnFailed):
                await engine.ask("b", text)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.post, "c", "[[delay 900]]")
            await until(lambda: "[[delay 900]]" in asked(tmp_path))
            assert await engine.interrupt("c")
        await engine.set_model("a", "opus")
        await engine.clear("a")
        await engine.prewarm("d")
    kinds = all_valid(settings)
    assert kinds >= {
        *("engine.started", "engine.draining", "engine.closed", "cli.found", "message.accepted", "turn.started"),
        *("turn.ended", "session.changed", "process.spawned", "process.stopped", "spare.claimed", "tool.started"),
        *("operator.interrupt", "operator.set_model", "operator.clear"),
    }


async def test_the_records_of_a_restart_are_valid(tmp_path: Path) -> None:
    """The log was torn and cut, and the run before did not close."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("a", "hello")
        await engine._services.store.put_note("runs", {"runs": []})
    lines = settings.audit_file.read_bytes().splitlines(keepends=True)
    settings.audit_file.write_bytes(b"".join(lines[:-2]) + b"half a line\n")
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("a", "hello again")
    found = settings.audit_file.read_bytes().replace(b"half a line\n", b"")
    settings.audit_file.write_bytes(found)
    assert all_valid(settings) >= {"audit.torn", "audit.cut"}


async def test_the_records_of_questions_and_budgets_are_valid(tmp_path: Path) -> None:
    """A tool that somebody has to allow, and a budget that one turn uses up."""
    settings = scripted_settings(
        tmp_path, audit_content=True, permission_questions=True, permission_timeout=0.05, daily_budget_usd=0.0005
    )
    async with scripted_engine(settings) as engine:
        await engine.ask("a", "[[ask-permission]]")
        await engine.ask("a", "hello")
    assert all_valid(settings) >= {"permission.asked", "permission.answered", "budget.warning", "budget.exceeded"}
