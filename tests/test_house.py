"""The house's own rules: who may import whom, how long a module may be, and what is public."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import echo_actors
from echo_actors import errors, events

PACKAGE = Path(echo_actors.__file__).parent
ROOMS = (
    *("commands", "echo_core", "portal", "engine", "control", "backup", "actors", "claude", "admission", "state"),
    *("personality", "export", "statistics", "safety", "rendering", "audit", "telemetry", "events", "settings"),
    *("errors", "history", "models", "regular_file", "shape", "simulator"),
)
"""From top to bottom; a room imports only rooms below it."""

ANYWHERE = {"_version"}
"""What every room may import: a constant."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_personality" not in path.parts)
LONGEST = 300


def module_name(path: Path) -> str:
    """The dotted name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room that a module of the package is in; "" for the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(path: Path) -> Iterator[str]:
    """The names of all modules that a module imports, inside of functions too."""
    package = module_name(path).split(".") if path.stem == "__init__" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, *([node.module] if node.module else [])])
            if node.module in {None, "echo_actors"}:
                yield from (".".join([*(base or ["echo_actors"]), alias.name]) for alias in node.names)


def own_rooms(path: Path) -> set[str]:
    """The rooms of this package that a module imports."""
    return {room_of(name) for name in imports(path) if name.split(".")[0] == "echo_actors"} - {""} - ANYWHERE


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    """Data flows one way; the package itself and the testing kits may look anywhere."""
    room = room_of(module_name(path))
    if room in {"", "testing", "__main__"}:
        return
    assert room in ROOMS or room in ANYWHERE, f"{room} is no room of the plan"
    if room in ROOMS:
        below = set(ROOMS[ROOMS.index(room) :])
        assert own_rooms(path) <= below


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_the_testing_kits_import_the_testing_kits(path: Path) -> None:
    """What runs in production needs none of them."""
    if room_of(module_name(path)) != "testing":
        assert "testing" not in own_rooms(path)


def test_the_simulator_stands_alone() -> None:
    """It imitates other programs and must not share their misunderstandings."""
    for path in (PACKAGE / "simulator").rglob("*.py"):
        assert own_rooms(path) <= {"simulator"}, path


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_imports_the_official_sdk(path: Path) -> None:
    """Its wheel carries the CLI; the engine speaks to the CLI itself."""
    assert not {name for name in imports(path) if name.split(".")[0] == "claude_agent_sdk"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_can_be_held_in_mind(path: Path) -> None:
    """One concept each, and not longer than that takes."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_every_module_says_what_it_is(path: Path) -> None:
    """In its first lines."""
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_the_public_names_are_sorted_and_are_those_imported() -> None:
    """Nothing is public by accident, nothing is forgotten."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == set(echo_actors.__all__)
    assert sorted(set(echo_actors.__all__)) == sorted(echo_actors.__all__)
    assert echo_actors.__all__ == sorted(echo_actors.__all__, key=_ruff_order)


@pytest.mark.parametrize(("module", "base"), [(errors, errors.EchoActorsError), (events, events.Event)])
def test_every_error_and_event_is_public(module: object, base: type) -> None:
    """A user can name what can come."""
    defined = {name for name, each in vars(module).items() if isinstance(each, type) and issubclass(each, base)}
    assert defined - set(echo_actors.__all__) == set()


def test_public_names_can_be_imported() -> None:
    """Every one of them is there."""
    assert all(hasattr(echo_actors, name) for name in echo_actors.__all__)


def _ruff_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as the linter sorts such a list."""
    if name.isupper():
        return 0, name
    return (1, name) if name[0].isupper() else (2, name)
