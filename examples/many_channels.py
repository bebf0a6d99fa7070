"""Several channels at once, a log of everything, and a message that is sent twice and answered once.

Runs on the scripted CLI, so it needs no account; with ``--claude`` it talks to Claude.
"""

# ruff: noqa: INP001, T201 - an example is a script of its own that prints

from __future__ import annotations

import uuid

import trio
from tryout import tryout_settings

from echo_actors import Author, Engine, TurnEnded, open_engine


async def write_log(engine: Engine, task_status: trio.TaskStatus[None]) -> None:
    """Print how each message ends, whatever its channel."""
    async with engine.subscribe() as events:
        task_status.started()
        async for event in events:
            if isinstance(event, TurnEnded):
                print(f"log: {event.channel}: {event.outcome.kind}")


async def talk(engine: Engine, channel: str, *texts: str) -> None:
    """Say one thing after the other in a channel."""
    for text in texts:
        reply = await engine.ask(channel, text)
        print(f"{channel}: {reply.text}")


async def deliver_twice(engine: Engine, channel: str) -> None:
    """Do what a chat platform does when it does not see the first delivery acknowledged."""
    message_id = uuid.uuid4()
    for _ in range(2):
        receipt = await engine.post(channel, "Only once, please.", message_id=message_id, author=Author("ana"))
    outcome = await engine.outcome(receipt.message_id)
    session = await engine.session(channel)
    print(f"{channel}: {outcome.kind}, {session.message_count if session else 0} answered")


async def main() -> None:
    """Run it all side by side."""
    async with open_engine(tryout_settings()) as engine, trio.open_nursery() as nursery:
        await nursery.start(write_log, engine)
        async with trio.open_nursery() as talking:
            talking.start_soon(talk, engine, "discord:1", "Good morning.", "How are you?")
            talking.start_soon(talk, engine, "slack:2", "Hello!")
            talking.start_soon(deliver_twice, engine, "telegram:3")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
