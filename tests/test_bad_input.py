"""What a user can get wrong: each mistake is one clear typed error, before or without any harm."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from support import audit_records, opened, plain_settings, scripted_engine, scripted_settings

from echo_actors import (
    CLINotFound,
    Engine,
    InvalidMessage,
    OutcomeKind,
    PersonalityError,
    Settings,
    SettingsError,
    StoreError,
    StoreLocked,
    open_engine,
)
from echo_actors.state.sqlite import DATABASE_NAME
from echo_actors.testing.instant_driver import InstantDriver


@asynccontextmanager
async def instant(tmp_path: Path, **overrides: Any) -> AsyncIterator[Engine]:
    """An engine with a driver in this process."""
    async with opened(plain_settings(tmp_path, **overrides), driver=InstantDriver()) as engine:
        yield engine


def write_program(path: Path, program: bytes) -> None:
    """Write a file that may be executed."""
    path.write_bytes(program)
    path.chmod(0o755)


async def fails_to_open(settings: Settings) -> None:
    """Open an engine on a CLI, which must not come to it."""
    with trio.fail_after(15):
        async with open_engine(settings):
            pytest.fail("the engine opened")


# -- messages


@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty"), (" \n", "empty"), ("x" * 10_000_000, "at most"), ("\ud800", "surrogate")]
)
async def test_a_text_that_cannot_be_taken_is_refused_and_nothing_is_stored(
    tmp_path: Path, text: str, reason: str
) -> None:
    """By every call that takes one; the channel is not even made."""
    async with instant(tmp_path) as engine:
        with pytest.raises(InvalidMessage, match=reason):
            await engine.post("c", text)
        with pytest.raises(InvalidMessage, match=reason):
            await engine.ask("c", text)
        with pytest.raises(InvalidMessage, match=reason):
            async with engine.stream("c", text):
                pytest.fail("the stream opened")
        assert engine.status().live_channels == 0
        assert engine.status().subscribers == 0


@pytest.mark.parametrize(
    "channel",
    ["/etc/passwd", "../..", "a\nb", "a\0b", "-rf", "канал", "🦜", " ", "x" * 1024, "'; DROP TABLE messages"],
)
async def test_an_odd_name_of_a_channel_is_as_good_as_any(tmp_path: Path, channel: str) -> None:
    """It is a key, and no part of a path or a command."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        assert (await engine.ask(channel, "hi")).text == "echo: hi"
        snapshot = await engine.session(channel)
    assert snapshot is not None
    assert snapshot.channel == channel


@pytest.mark.parametrize("channel", ["", "x" * 1025, "\udfff"])
async def test_a_name_that_cannot_be_used_is_refused_everywhere(tmp_path: Path, channel: str) -> None:
    """Also by the calls of operators."""
    async with instant(tmp_path) as engine:
        for call in (
            engine.post(channel, "hi"),
            engine.clear(channel),
            engine.set_model(channel, "opus"),
            engine.session(channel),
        ):
            with pytest.raises(InvalidMessage):
                await call


async def test_a_message_id_that_is_no_uuid_is_refused(tmp_path: Path) -> None:
    """With a hint how to make one."""
    async with instant(tmp_path) as engine:
        with pytest.raises(InvalidMessage, match="UUID"):
            await engine.post("c", "hi", message_id="42")
        with pytest.raises(InvalidMessage, match="UUID"):
            await engine.outcome("42")


async def test_an_unknown_model_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    """The error lists the valid ones."""
    async with instant(tmp_path) as engine:
        with pytest.raises(SettingsError, match="haiku, sonnet, opus"):
            await engine.set_model("c", "gpt")
        assert (await engine.ask("c", "hi")).model == "sonnet"


# -- the persona


@pytest.mark.parametrize("made", [False, True])
async def test_a_missing_or_empty_persona_is_named(tmp_path: Path, made: bool) -> None:
    """Before anything is started."""
    folder = tmp_path / "persona"
    if made:
        folder.mkdir()
    with pytest.raises(PersonalityError, match="persona"):
        async with instant(tmp_path, personality_dir=folder):
            pytest.fail("the engine opened")
    assert not (tmp_path / "state").exists()


async def test_a_persona_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A folder where a file should be, as unreadable for root as for anybody."""
    (tmp_path / "persona" / "SOUL.md").mkdir(parents=True)
    with pytest.raises(PersonalityError, match=r"SOUL\.md"):
        async with instant(tmp_path, personality_dir=tmp_path / "persona"):
            pytest.fail("the engine opened")


# -- the CLI


async def test_no_cli_at_the_named_place_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    """Not one that is found elsewhere instead; and the state directory is free again."""
    settings = scripted_settings(tmp_path, claude_bin=tmp_path / "nowhere")
    for _ in range(2):
        with pytest.raises(CLINotFound, match="pip install"):
            await fails_to_open(settings)


async def test_a_cli_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    """A file without the permission."""
    path = tmp_path / "claude"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(CLINotFound, match="cannot be executed"):
        await fails_to_open(scripted_settings(tmp_path, claude_bin=path))


@pytest.mark.parametrize(
    "program", ["#!/bin/sh\nexit 0\n", "#!/bin/sh\necho I am no CLI\nexit 5\n", "#!/bin/sh\nexec cat\n"]
)
async def test_a_program_that_is_no_cli_gives_each_message_a_clear_end(tmp_path: Path, program: str) -> None:
    """It ends too early, or speaks nonsense until a clock runs out."""
    path = tmp_path / "claude"
    write_program(path, program.encode())
    settings = scripted_settings(
        tmp_path, claude_bin=path, start_timeout=2.0, first_event_timeout=1.0, idle_timeout=1.0, total_timeout=5.0
    )
    async with scripted_engine(settings) as engine:
        receipt = await engine.post("c", "hi")
        outcome = await engine.outcome(receipt.message_id)
    assert outcome.kind in {OutcomeKind.FAILED, OutcomeKind.TIMED_OUT}
    assert outcome.reason


async def test_a_file_that_no_system_can_run_is_a_typed_error(tmp_path: Path) -> None:
    """Executable by its mode, and no program."""
    path = tmp_path / "claude"
    write_program(path, b"\x00\x01\x02")
    with pytest.raises(CLINotFound, match="claude"):
        await fails_to_open(scripted_settings(tmp_path, claude_bin=path))


async def test_a_missing_working_directory_fails_the_turn_with_its_name(tmp_path: Path) -> None:
    """It may be mounted later."""
    async with scripted_engine(scripted_settings(tmp_path, working_dir=tmp_path / "gone")) as engine:
        receipt = await engine.post("c", "hi")
        outcome = await engine.outcome(receipt.message_id)
        assert outcome.kind is OutcomeKind.FAILED
        assert "working directory" in outcome.reason
        (tmp_path / "gone").mkdir()
        assert (await engine.ask("c", "again")).text == "echo: again"


# -- the state directory


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100])
async def test_a_damaged_store_is_set_aside_and_announced(tmp_path: Path, damage: bytes) -> None:
    """Nothing of it is overwritten, and the engine opens with a new one."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "before")
    database = settings.state_dir / DATABASE_NAME
    database.write_bytes(damage)
    async with opened(settings, driver=InstantDriver()) as engine:
        assert await engine.session("c") is None
        assert (await engine.ask("c", "after")).text == "echo: after"
    (record,) = audit_records(settings, "store.set_aside")
    assert Path(record["path"]).read_bytes() == damage  # noqa: ASYNC240 - nothing else runs


async def test_damage_in_the_middle_is_found_after_a_crash(tmp_path: Path) -> None:
    """A store that was not closed is looked at whole."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        for number in range(50):
            await engine.post("c", f"{number}" * 1000)
    database = settings.state_dir / DATABASE_NAME
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE meta SET clean = 0")
    connection.close()
    data = bytearray(database.read_bytes())
    data[4096 * 5 : 4096 * 9] = os.urandom(4096 * 4)
    database.write_bytes(data)
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.ask("c", "after")).text == "echo: after"
    assert len(audit_records(settings, "store.set_aside")) == 1


async def test_a_state_directory_that_is_a_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """And says what to do."""
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match=r"state.*choose another state_dir"):
        async with instant(tmp_path):
            pytest.fail("the engine opened")


async def test_an_audit_log_that_cannot_be_opened_is_a_store_error(tmp_path: Path) -> None:
    """An engine that cannot write its audit log does not start."""
    with pytest.raises(StoreError, match="audit log"):
        async with instant(tmp_path, audit_path=tmp_path):
            pytest.fail("the engine opened")


async def test_a_second_engine_on_the_same_directory_is_refused_with_the_owners_pid(tmp_path: Path) -> None:
    """The first one is not disturbed, and afterwards the directory is free."""
    async with instant(tmp_path) as engine:
        with pytest.raises(StoreLocked, match=str(os.getpid())) as caught:
            async with instant(tmp_path):
                pytest.fail("the second engine opened")
        assert caught.value.pid == os.getpid()
        assert (await engine.ask("c", "hi")).text == "echo: hi"
    async with instant(tmp_path) as engine:
        assert (await engine.ask("c", "hi")).text == "echo: hi"


# -- settings


async def test_settings_of_the_environment_are_checked_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the variable, and no state directory is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHO_ACTORS_IDLE_TIMEOUT", "soon")
    with pytest.raises(SettingsError, match="ECHO_ACTORS_IDLE_TIMEOUT"):
        async with open_engine(driver=InstantDriver()):
            pytest.fail("the engine opened")
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240 - nothing else runs
