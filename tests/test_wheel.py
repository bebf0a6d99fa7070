"""The wheel: what is in it, and that it works where there is no clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from pages import CLONE, programs
from reader import Reader, towards

from echo_actors._version import __version__
from echo_actors.simulator.model import ModelServer

PERSONA = sorted(path.name for path in (CLONE / "personality").glob("*.md"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the clone without the network."""
    directory = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(CLONE))
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the wheel was installed into."""
    target = tmp_path_factory.mktemp("installed")
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def test_the_wheel_has_every_module_and_the_marker_for_type_checkers(wheel: Path) -> None:
    """The simulator and the scripted CLI too, as sources, because they run as programs."""
    in_clone = {path.relative_to(CLONE).as_posix() for path in (CLONE / "echo_actors").rglob("*.py")}
    in_wheel = set(names(wheel))
    assert in_clone <= in_wheel
    assert {
        "_echo_actors_command.py",
        "echo_actors/py.typed",
        "echo_actors/simulator/cli.py",
        "echo_actors/testing/store_kit.py",
    } <= in_wheel


def test_the_wheel_has_the_default_persona(wheel: Path) -> None:
    """Each of its files, with the content that it has in the clone."""
    with zipfile.ZipFile(wheel) as archive:
        for name in PERSONA:
            assert archive.read(f"echo_actors/_personality/{name}") == (CLONE / "personality" / name).read_bytes()
    assert PERSONA


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    """No tests, no benchmarks, no state, nothing that happens to lie in the clone."""
    allowed = (
        ".py",
        "/py.typed",
        "/blocking_engine.pyi",
        "/remote_engine.pyi",
        *(f"/_personality/{name}" for name in PERSONA),
    )
    metadata = f"echo_actors-{__version__}.dist-info/"
    others = [name for name in names(wheel) if not name.startswith(metadata)]
    strange = [name for name in others if not name.startswith("echo_actors/") or not name.endswith(allowed)]
    assert strange == ["_echo_actors_command.py"]


def test_the_wheel_carries_the_licence_and_the_command(wheel: Path) -> None:
    """What an installer and a lawyer look for."""
    metadata = f"echo_actors-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        assert "echo-actors = _echo_actors_command:main" in archive.read(f"{metadata}/entry_points.txt").decode()
        assert archive.read(f"{metadata}/licenses/LICENSE") == (CLONE / "LICENSE").read_bytes()


@pytest.mark.real_cli
async def test_the_readmes_example_runs_where_there_is_no_clone(
    tmp_path: Path, installed: Path, cli: Path, model: ModelServer
) -> None:
    """With the persona out of the wheel, and the package from there too."""
    # -S leaves out site-packages with its link to the clone; its other packages come back as a plain directory.
    path = os.pathsep.join([str(installed), sysconfig.get_path("purelib")])
    reader = Reader(tmp_path, {**towards(model.url, cli), "PYTHONPATH": path})
    where = await reader.runs("-S", "-c", "import echo_actors; print(echo_actors.__file__)")
    assert Path(where.strip()) == installed / "echo_actors" / "__init__.py"
    program = tmp_path / "program.py"
    program.write_text(programs()[0], encoding="utf-8")
    printed = (await reader.runs("-S", str(program))).splitlines()
    assert printed[0] == "echo: Hello! (0.000400 USD)"
    assert printed[-1] == "TurnEnded"
    (prompt,) = (tmp_path / "state" / "prompts").iterdir()
    assert (installed / "echo_actors" / "_personality" / "SOUL.md").read_text(encoding="utf-8").strip() in (
        prompt.read_text(encoding="utf-8")
    )
    assert reader.left_running() == []


def names(wheel: Path) -> list[str]:
    """The files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def run(*arguments: str) -> None:
    """Run Python with these arguments; what it says is shown when it fails."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
