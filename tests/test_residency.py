"""Residency on the scripted CLI: which result belongs to which message, and processes that die at bad moments."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import orjson
import pytest
import trio
from conftest import MakeSettings

from echo_actors import open_engine
from echo_actors.claude.residency import Residency
from echo_actors.engine import Engine
from echo_actors.settings import Settings


def _asked(path: Path) -> list[str]:
    return [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()]


def _with(settings: Settings, **variables: str) -> dict[str, str]:
    return {**settings.environment, **variables}


def _pid(engine: Engine, channel: str) -> int:
    driver = engine._services.driver
    assert isinstance(driver, Residency)
    return driver.residents[channel]


async def test_a_cli_that_answers_at_once_gets_each_message_once_and_each_message_its_own_answer(
    scripted_settings: MakeSettings, tmp_path: Path
) -> None:
    """The whole first turn may be over before the start of the process is."""
    asked = tmp_path / "asked"
    environment = _with(scripted_settings(), SCRIPTED_CLI_ASKED=str(asked))
    texts = [f"message {number}" for number in range(5)]
    with trio.fail_after(20):
        async with open_engine(scripted_settings(environment=environment)) as engine:
            replies = [(await engine.ask("c", text)).text for text in texts]
    assert replies == [f"echo: {text}" for text in texts]
    assert _asked(asked) == texts


@pytest.mark.parametrize("directive", ["[[stray-result]]", "[[result-twice]]"])
async def test_a_result_that_answers_nobody_is_given_to_nobody(
    scripted_settings: MakeSettings, directive: str
) -> None:
    """Neither to the running message nor to the next."""
    with trio.fail_after(20):
        async with open_engine(scripted_settings()) as engine:
            for text in (f"one {directive}", "two", "three"):
                assert (await engine.ask("c", text)).text == f"echo: {text}"
            assert (await engine.session("c")).message_count == 3  # type: ignore[union-attr]  # there is one


async def test_a_process_that_died_while_idle_is_replaced_without_anybody_noticing(
    scripted_settings: MakeSettings, tmp_path: Path
) -> None:
    """Also when its death shows only after the next message was written to it; the message is asked once."""
    asked = tmp_path / "asked"
    environment = _with(scripted_settings(), SCRIPTED_CLI_ASKED=str(asked))
    with trio.fail_after(20):
        async with open_engine(scripted_settings(environment=environment)) as engine:
            before = await engine.ask("c", "one")
            os.kill(_pid(engine, "c"), signal.SIGKILL)
            after = await engine.ask("c", "two")
    assert (after.text, after.session_id) == ("echo: two", before.session_id)
    assert _asked(asked) == ["one", "two"]


async def test_a_line_longer_than_the_setting_is_skipped_and_the_turn_goes_on(scripted_settings: MakeSettings) -> None:
    """The limit is the setting's, not a constant's."""
    with trio.fail_after(20):
        async with (
            open_engine(scripted_settings(max_line_bytes=500_000)) as engine,
            engine.stream("c", "one [[big-line 1]]") as turn,
        ):
            kinds = [getattr(event, "kind", "") async for event in turn]
    assert turn.reply.text == "echo: one [[big-line 1]]"
    assert "bad line" in kinds
