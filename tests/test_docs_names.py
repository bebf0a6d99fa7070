"""The documentation names nothing that is not there: no command, no module, no setting, no call, no field."""

from __future__ import annotations

import enum
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from pages import CLONE, PAGES, relative

import echo_actors
from docs.made import pages
from docs.made.commands import names
from echo_actors import ChannelOptions, Engine, Policy, Settings, echo_core
from echo_actors.audit.vocabulary import COMMON, EVENTS
from echo_actors.commands.app import application
from echo_actors.engine.measures import DEFINITIONS as OF_STATUS
from echo_actors.portal.blocking_engine import BlockingEngine
from echo_actors.settings.words import variable
from echo_actors.telemetry.counts import DEFINITIONS as COUNTED
from echo_actors.telemetry.prometheus import prometheus_name

TEXTS = [*PAGES, *(CLONE / name for name in ("CONTRIBUTING.md", "examples/README.md", "examples/echo-actors.service"))]
"""All that tells people what to type."""

BY_HAND = [page for page in PAGES if page.name not in pages()]
"""Those that are not made of the code."""

VARIABLES = {"ECHO_ACTORS_SETTINGS_FILE"}
"""Those that are no setting's."""

OF_OTHERS = {"budget_exceeded", "error_max_budget_usd", "json_each", "on_text"}
"""Words with an underscore that are no name of the package's: values of ``error``, SQLite's, Echo-Core's."""


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_commands_that_there_are(path: Path) -> None:
    """With all their words."""
    known = set(names(application()))
    groups = {path[:-1] for path in known if len(path) > 1} - {("audit",)}
    text = path.read_text(encoding="utf-8")
    named = [tuple(found.split()) for found in re.findall(r"echo-actors((?: (?:[a-z]+(?:-[a-z]+)*)\b)+)", code(text))]
    for words in named:
        assert words[:1] in known or words[:1] in groups, words
        if words[:1] in groups and len(words) > 1:
            assert words[:2] in known, words


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_modules_that_there_are(path: Path) -> None:
    """Those to be run by Python's ``-m``."""
    for module in re.findall(r"python3? -m ([\w.]+)", path.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_settings_that_there_are(path: Path) -> None:
    """By their variables, and where it says that it names one."""
    text = path.read_text(encoding="utf-8")
    fields = {field.name for cls in (Settings, ChannelOptions, Policy) for field in attrs.fields(cls)}
    variables = {variable(name) for name in fields} | VARIABLES
    assert set(re.findall(r"\bECHO_ACTORS_[A-Z][A-Z_]*[A-Z]\b", text)) <= variables
    assert set(settings_named(text)) <= fields


def settings_named(text: str) -> Iterator[str]:
    """The names in ``the setting `a```, and in ``the settings `a`, `b` and `c```."""
    for found in re.findall(r"\bsettings?((?:(?:,| and|,? or)?\s+(?:the\s)?`[a-z_]+`)+)", text):
        yield from re.findall(r"`([a-z_]+)`", found)


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_calls_that_there_are(path: Path) -> None:
    """Those of an engine, wherever it runs."""
    for call in re.findall(r"\bengine\.([a-z]\w*)\(", code(path.read_text(encoding="utf-8"))):
        assert hasattr(Engine, call) or hasattr(BlockingEngine, call), call


def code(text: str) -> str:
    """What of a text is code: blocks, and what is between backticks."""
    found = re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL)
    return "\n".join("".join(each) for each in found)


@pytest.mark.parametrize("page", BY_HAND, ids=relative)
def test_a_page_names_only_what_there_is(page: Path) -> None:
    """Settings, options, fields, arguments, values, metrics: every word with an underscore."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - set(known()) <= OF_OTHERS


def known() -> Iterator[str]:
    """The names in the package that people meet."""
    yield from (field.name for cls in (Settings, ChannelOptions, Policy) for field in attrs.fields(cls))
    yield from (name for kind in EVENTS.values() for name in kind.fields)
    yield from COMMON
    yield from (prometheus_name(definition) for definition in (*OF_STATUS, *COUNTED))
    yield from (name for name in dir(echo_core) if not name.startswith("_"))
    for thing in (getattr(echo_actors, name) for name in echo_actors.__all__):
        yield from parts(thing)


def parts(thing: object) -> Iterator[str]:
    """The fields, members, methods and arguments of something public."""
    if isinstance(thing, type):
        yield from (each for name in dir(thing) for each in (name, *arguments(getattr(thing, name))))
        yield from getattr(thing, "__annotations__", ())
        if issubclass(thing, enum.Enum):
            yield from (str(member.value) for member in thing)
    yield getattr(thing, "__name__", "")
    yield from arguments(thing)


def arguments(thing: object) -> Iterator[str]:
    """The names of a function's arguments."""
    if inspect.isfunction(thing):
        yield from inspect.signature(thing).parameters
