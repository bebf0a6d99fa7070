"""The benchmarks of scale: a tiny run of each goes through, and the seeded store is one that an engine knows."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import trio

from bench.apart import apart
from bench.harness import Harness, Size
from bench.memory import own_bytes
from bench.scenarios import known_channels
from bench.seed import channel_name, seed_store
from echo_actors import Settings, open_engine
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.state.records import SessionSnapshot
from echo_actors.testing.instant_driver import InstantDriver


@pytest.mark.parametrize("name", ["known_channels", "live_actors", "subscribers", "flood", "residents"])
async def test_a_tiny_run_goes_through_and_its_figures_are_positive(name: str, tmp_path: Path) -> None:
    """Every contender does all that it is asked, and a run of this size is never judged."""
    cli = write_scripted_cli(tmp_path)
    size = Size(quick=True, channels=4, messages=3)
    harness = Harness(cli=cli, scripted_cli=cli, model_url="", size=size, on_step=lambda *_: None)
    with trio.fail_after(60):
        result = await importlib.import_module(f"bench.scenarios.{name}").run(harness)
    assert not result.full
    assert result.scenario == name.replace("_", " ")
    figures = [each for rounds in result.rounds.values() for figures in rounds for each in figures.values()]
    assert figures
    assert all(figure > 0 for figure in figures)
    assert all(check.measured.median > 0 for check in result.checks)


async def test_an_engine_opens_a_seeded_store_and_pages_through_all_of_it(tmp_path: Path) -> None:
    """Each channel is there once, in order, with the session and the counts of its messages."""
    seed_store(tmp_path, channels=25, messages=3)
    found: list[SessionSnapshot] = []
    after = ""
    async with open_engine(Settings(state_dir=tmp_path), driver=InstantDriver()) as engine:
        while page := await engine.sessions(after=after, limit=10):
            found, after = found + page, page[-1].channel
    assert [each.channel for each in found] == [channel_name(number) for number in range(25)]
    assert len({each.session_id for each in found}) == 25
    assert {each.message_count for each in found} == {3}


async def test_a_seeded_channel_goes_on_in_its_session(tmp_path: Path) -> None:
    """Nothing of the past runs again; the next message comes after all that the store has."""
    seed_store(tmp_path, channels=5, messages=2)
    driver = InstantDriver()
    async with open_engine(Settings(state_dir=tmp_path), driver=driver) as engine:
        before = await engine.session(channel_name(3))
        assert before is not None
        receipt = await engine.post(channel_name(3), "hello")
        outcome = await engine.outcome(receipt.message_id)
        after = await engine.session(channel_name(3))
    assert receipt.sequence == 11
    assert [request.content for request in driver.requests] == ["hello"]
    assert driver.requests[0].established
    assert outcome.reply is not None
    assert outcome.reply.session_id == before.session_id
    assert after is not None
    assert (after.message_count, after.revision) == (3, 2)


async def test_a_measurement_apart_has_memory_of_its_own(tmp_path: Path) -> None:
    """What this process holds does not count."""
    seed_store(tmp_path, channels=3, messages=1)
    ballast = bytearray(b"x" * 200_000_000)
    found = await apart(known_channels.talk, state_dir=str(tmp_path), channels=3, talking=2, messages=1)
    assert 0 < found["own_mb_at_start"] < len(ballast) / 1e6 <= own_bytes() / 1e6


async def test_a_measurement_that_fails_apart_is_an_error_here(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its traceback is shown, and there are no figures."""
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"known_channels\.start ended with 1"):
        await apart(known_channels.start, state_dir=str(tmp_path / "file"))
    assert "Error" in capfd.readouterr().err
