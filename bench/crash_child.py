"""The program that ``bench.crash`` kills: it talks to an engine and notes what the engine has promised.

It is started as ``python -m bench.crash_child LIFE.json``, says ``alive`` when it begins to open the engine, and goes
on until it is killed; only the last of its lives ends by itself. Each note is one write to a file opened with
``O_APPEND``, made after the engine's call has returned, so that a note is either whole or not there.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import orjson
import trio

from echo_actors import Engine, Settings, open_engine
from echo_actors.events import TurnEnded
from echo_actors.models import BusyPolicy

ALIVE = b"alive\n"

_REPEATED = 3
_ASKED_EVERY = 3


@attrs.frozen
class Planned:
    """A message that will be sent until it is known to be accepted."""

    message_id: str
    channel: str
    text: str
    busy: str


@attrs.frozen(kw_only=True)
class Life:
    """What one life of the program is to do.

    Attributes:
        settings: Of the engine; paths are texts.
        plan: All messages of all lives, in the order of their sending.
        notes: The file to note in.
        share: How many messages it sends at most.
        last: Whether it ends by itself, when every message of the plan has its outcome.
    """

    settings: dict[str, Any]
    plan: tuple[Planned, ...]
    notes: Path
    share: int
    last: bool

    def save(self, path: Path) -> None:
        """Write it for the program to read."""
        path.write_bytes(orjson.dumps({**attrs.asdict(self), "notes": str(self.notes)}))

    @classmethod
    def load(cls, path: Path) -> Life:
        """Read what ``save`` wrote."""
        fields = orjson.loads(path.read_bytes())
        plan = tuple(Planned(**each) for each in fields.pop("plan"))
        return cls(**{**fields, "plan": plan, "notes": Path(fields["notes"])})

    def engine_settings(self) -> Settings:
        """The settings as the engine takes them."""
        paths = {name: Path(self.settings[name]) for name in ("state_dir", "working_dir", "claude_bin")}
        return Settings(**{**self.settings, **paths, "allowed_tools": tuple(self.settings["allowed_tools"])})


def read_notes(path: Path) -> list[dict[str, Any]]:
    """What all lives have noted so far."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@attrs.frozen
class Talk:
    """One life's conversation with the engine."""

    engine: Engine
    descriptor: int

    async def hold(self, messages: list[Planned]) -> None:
        """Send one channel's messages, in order; now and then wait for the last one's answer."""
        for message in messages:
            busy = BusyPolicy(message.busy)
            if message is messages[-1] and int(message.message_id[:8], 16) % _ASKED_EVERY == 0:
                await self.engine.ask(
                    message.channel, message.text, message_id=message.message_id, busy=busy, on_cancel="detach"
                )
                await self.see_end(message.message_id)
            else:
                receipt = await self.engine.post(
                    message.channel, message.text, message_id=message.message_id, busy=busy
                )
                self.note(did="accepted", id=receipt.message_id, sequence=receipt.sequence)

    async def see_end(self, message_id: str) -> None:
        """Wait for a message's outcome and note it."""
        outcome = await self.engine.outcome(message_id)
        reply = outcome.reply
        self.note(
            did="ended",
            id=message_id,
            end=[outcome.kind.value, outcome.attempts, reply.turn_id if reply else "", reply.text if reply else ""],
        )

    async def note_announcements(self) -> None:
        """Note every end that is announced."""
        async with self.engine.subscribe(since="") as events:
            async for event in events:
                if isinstance(event, TurnEnded):
                    self.note(did="announced", id=event.message_id)

    def note(self, **what: Any) -> None:
        """Note something that the engine has promised."""
        os.write(self.descriptor, orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))


async def live(life: Life) -> None:
    """Live one life."""
    known = {note["id"] for note in read_notes(life.notes)}
    fresh = itertools.islice((each for each in life.plan if each.message_id not in known), life.share)
    repeated = [each for each in life.plan if each.message_id in known][-_REPEATED:]
    by_channel: dict[str, list[Planned]] = defaultdict(list)
    for message in (*repeated, *fresh):
        by_channel[message.channel].append(message)
    descriptor = os.open(life.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(sys.stdout.fileno(), ALIVE)
    async with open_engine(life.engine_settings()) as engine, trio.open_nursery() as listening:
        talk = Talk(engine, descriptor)
        listening.start_soon(talk.note_announcements)
        async with trio.open_nursery() as talking:
            for messages in by_channel.values():
                talking.start_soon(talk.hold, messages)
        if life.last:
            for message in life.plan:
                await talk.see_end(message.message_id)
            listening.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(live, Life.load(Path(sys.argv[1])))
