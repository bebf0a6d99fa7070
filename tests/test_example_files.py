"""The writer of files of the examples: every event once, in a file that is safe, on a disk that is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import opened, plain_settings, until
from write_files import CURSOR, GAPS, Files, write_files

from echo_actors import Engine, Event, TurnEnded
from echo_actors.testing.instant_driver import InstantDriver

RETRY = 0.01


def lines(path: Path) -> list[dict[str, str]]:
    """What is in a file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def written(engine: Engine, files: Files, *texts: str) -> None:
    """Say something in a channel while a subscriber writes, until it has written it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: write_files(engine, files, retry=RETRY, task_status=task_status))
        async with engine.subscribe("c") as events:
            for text in texts:
                await engine.ask("c", text)
            ended = [event async for event in _first_ends(events, len(texts))]
        await until(lambda: files.cursor is not None and _number(files.cursor) >= _number(ended[-1].cursor))
        nursery.cancel_scope.cancel()


async def _first_ends(events: AsyncIterator[Event], count: int) -> AsyncIterator[TurnEnded]:
    while count:
        event = await anext(events)
        if isinstance(event, TurnEnded):
            count -= 1
            yield event


def _number(cursor: str) -> int:
    return int(cursor.rpartition(":")[2])


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_any_name_of_a_channel_is_that_of_one_file_in_the_directory(names: list[str]) -> None:
    """Whatever is in it; two channels never share one, also where large and small letters are the same."""
    paths = [Files(Path("/somewhere")).path(name) for name in names]
    for path in paths:
        assert path.parent == Path("/somewhere")
        assert path.name.isascii()
        assert not path.name.startswith((".", "-"))
        assert len(path.name) < 100
        assert path.name not in {GAPS, CURSOR}
    assert paths[0].name.lower() != paths[1].name.lower()


async def test_a_subscriber_goes_on_where_it_was(tmp_path: Path) -> None:
    """What happened while it was away is written then, and nothing twice."""
    files = Files(tmp_path / "files")
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await written(engine, files, "first")
        await engine.ask("c", "meanwhile")
        await written(engine, files, "last")
    found = lines(files.path("c"))
    ends = [line for line in found if line["event"] == "TurnEnded"]
    assert len(ends) == 3
    assert len({line["cursor"] for line in found}) == len(found)
    assert not (files.directory / GAPS).exists()


async def test_what_is_lost_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As what happened in an earlier run, behind the last event that was written."""
    files = Files(tmp_path / "files")
    for _ in range(2):
        async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
            await written(engine, files, "something")
    assert [line["event"] for line in lines(files.directory / GAPS)] == ["Lagged"]
    assert capsys.readouterr().out == "events were lost: nobody knows how many\n"


async def test_a_full_disk_hurts_only_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Messages are answered. When there is room, what the subscription has kept is written once, and the rest told."""
    files = Files(tmp_path / "files")
    files.directory.mkdir()
    files.path("c").symlink_to("/dev/full")
    settings = plain_settings(tmp_path, subscriber_buffer=10)
    async with opened(settings, driver=InstantDriver()) as engine, trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: write_files(engine, files, retry=RETRY, task_status=task_status))
        for number in range(20):
            assert (await engine.ask("c", str(number))).text == f"echo: {number}"
        assert files.cursor is None
        files.path("c").unlink()
        await until(lambda: any(line["event"] == "TurnEnded" for line in lines(files.path("c"))))
        nursery.cancel_scope.cancel()
    found = lines(files.path("c"))
    assert len({line["cursor"] for line in found}) == len(found)
    assert [line["event"] for line in lines(files.directory / GAPS)] == ["Lagged"]
    assert capsys.readouterr().err.count("cannot write files") == 1
