"""A subscriber that writes what happens into files, one for each channel, as lines of JSON.

A disk that is full, or gone, hurts nobody else: the subscriber waits until it can write again, and what it has missed
by then is announced in ``gaps.jsonl``, as is what happened while no subscriber was there. Runs on the scripted CLI;
with ``--claude`` it talks to Claude.
"""

# ruff: noqa: INP001, T201 - a script of its own that prints

from __future__ import annotations

import errno
import hashlib
import re
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import orjson
import trio
from tryout import tryout_settings

from echo_actors import Engine, Event, Lagged, TextDelta, open_engine

GAPS = "gaps.jsonl"
"""For what is lost, of whichever channel; no channel's file has this name."""

CURSOR = "cursor"
"""The file with the cursor of the last event that was written."""


@attrs.frozen
class Files:
    """A directory of files. What is here blocks, so it is called in a thread."""

    directory: Path

    @property
    def cursor(self) -> str | None:
        """Of the last event that was written; None when none ever was."""
        with suppress(FileNotFoundError):
            return (self.directory / CURSOR).read_text(encoding="ascii")
        return None

    def path(self, channel: str) -> Path:
        """A channel's file.

        Its name has what is harmless of the channel's, which may be anything, and enough of its hash to be its own.
        """
        harmless = re.sub(r"[^a-z0-9]+", "-", channel.lower())[:40].strip("-")
        return self.directory / f"{harmless or 'channel'}-{hashlib.sha256(channel.encode()).hexdigest()[:16]}.jsonl"

    def write(self, event: Event) -> None:
        """Append an event, then keep its cursor: a crash between the two writes it twice, with the same cursor.

        Raises:
            OSError: It could not be written, and nothing is left of it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / GAPS if isinstance(event, Lagged) else self.path(event.channel)
        _append(path, orjson.dumps({"event": type(event).__name__, **attrs.asdict(event)}) + b"\n")
        beside = self.directory / f"{CURSOR}.new"
        beside.write_text(event.cursor, encoding="ascii")
        beside.replace(self.directory / CURSOR)


def _append(path: Path, line: bytes) -> None:
    with path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, "the disk is full")  # noqa: TRY301 - as if the system had
        except OSError:
            with suppress(OSError):
                file.truncate(before)
            raise


async def write_files(
    engine: Engine, files: Files, *, retry: float = 5.0, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Write every event but the parts of growing texts, until the engine closes.

    Args:
        engine: Whose events.
        files: Where to.
        retry: Seconds between attempts at a disk that refuses.
        task_status: Started when no further event can be missed.
    """
    async with engine.subscribe(since=await trio.to_thread.run_sync(lambda: files.cursor)) as events:
        task_status.started()
        async for event in events:
            if isinstance(event, Lagged):
                print(f"events were lost: {event.missed if event.missed >= 0 else 'nobody knows how many'}")
            if not isinstance(event, TextDelta):
                await _insist(files, event, retry)


async def _insist(files: Files, event: Event, retry: float) -> None:
    """Write an event as soon as that is possible. Meanwhile the others wait in the subscription, until it is full."""
    told = False
    while True:
        try:
            return await trio.to_thread.run_sync(files.write, event)
        except OSError as error:
            if not told:
                print(f"cannot write files: {error}; trying again every {retry:g} s", file=sys.stderr)
            told = True
        await trio.sleep(retry)


async def main() -> None:
    """Talk in channels of all kinds of names, and see what is in the files."""
    with TemporaryDirectory() as name:
        files = Files(Path(name) / "channels")
        async with trio.open_nursery() as nursery:
            async with open_engine(tryout_settings()) as engine:
                await nursery.start(write_files, engine, files)
                for channel in ("discord:42", "../../etc/passwd", "\N{WHITE SMILING FACE}"):
                    await engine.ask(channel, "Hello!")
            # The engine has closed, and with it the subscription. What cannot be written in this time is lost.
            nursery.cancel_scope.deadline = trio.current_time() + 10
        for path in sorted(files.directory.glob("*.jsonl")):
            lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
            print(f"{path.name}: {', '.join(line['event'] for line in lines)}")


if __name__ == "__main__":
    trio.run(main)
