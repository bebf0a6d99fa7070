"""The Discord bot of the examples, on the scripted CLI and a Discord that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from discord_bot import Bot, Channel, Message, User, in_plain_words
from fake_discord import LIMIT, FakeChannel, FakeDiscord, FakeInput, FakeMessage, FakeRole, FakeUser
from support import asked, audit_records, left_running, scripted_settings

from echo_actors import (
    BudgetExceeded,
    BusyPolicy,
    ChannelSuspended,
    Clock,
    EchoActorsError,
    EngineClosed,
    GateClosed,
    InvalidMessage,
    MailboxFull,
    Outcome,
    OutcomeKind,
    Settings,
    StoreFull,
    TurnFailed,
    TurnTimedOut,
)
from echo_actors.models.budgets import Budget, BudgetPeriod, BudgetScope
from echo_actors.portal import open_async_portal

BUDGET = Budget(
    scope=BudgetScope.CHANNEL,
    channel="c",
    period=BudgetPeriod.DAY,
    limit_usd=1.0,
    spent_usd=1.5,
    resets_at=datetime(2030, 1, 1, tzinfo=UTC),
)
ANA, BEN, CYD = FakeUser(1, "Ana"), FakeUser(2, "Ben", (FakeRole("member"),)), FakeUser(3, "Cyd")
INTERVAL = 0.2


Scene = Callable[[FakeDiscord, Bot], Coroutine[Any, Any, None]]
"""What happens on Discord."""


def plays(scene: Scene, settings: Settings, *, busy: BusyPolicy = BusyPolicy.QUEUE) -> FakeDiscord:
    """Let something happen, and give what Discord looks like when the bot has ended well; no process is left."""

    async def main() -> tuple[FakeDiscord, str]:
        async with asyncio.timeout(30), opened(settings, busy) as (discord, bot):
            run_id = bot.engine.status().run_id
            await scene(discord, bot)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return discord, run_id

    discord, run_id = asyncio.run(main(), debug=True)
    assert left_running(run_id) == set()
    return discord


@asynccontextmanager
async def opened(settings: Settings, busy: BusyPolicy) -> AsyncIterator[tuple[FakeDiscord, Bot]]:
    """A bot on Discord."""
    async with open_async_portal(settings) as engine:
        bot = Bot(engine, owner=ANA.id, busy=busy, interval=INTERVAL)
        discord = FakeDiscord(bot.on_message, bot.on_typing)
        yield discord, bot
        await discord.settled()
        await bot.finish()
        await discord.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what tells nobody."""
    while not holds():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.005)


def said(discord: FakeDiscord, channel: int) -> list[str]:
    """What the bot's messages in a channel say, in order."""
    return [message.content for message in discord.channels[channel].messages]


def test_the_fake_is_what_the_bot_asks_for() -> None:
    """A type checker says so; this names what it compares."""
    channel: Channel = FakeChannel(1)
    user: User = ANA
    message: Message = FakeInput(1, "Hello", ANA, FakeChannel(1))
    assert (channel.id, user.id, message.id) == (1, 1, 1)


def test_a_process_is_ready_when_the_message_comes(tmp_path: Path) -> None:
    """It was started when its author began to type, and no other was."""

    async def scene(discord: FakeDiscord, bot: Bot) -> None:
        discord.types(7, ANA)
        await discord.settled()
        assert bot.engine.status().residents == 1
        discord.says(7, ANA, "Hello!")

    settings = scripted_settings(tmp_path)
    assert "Hello!" in said(plays(scene, settings), 7)[0]
    events = [record["event"] for record in audit_records(settings)]
    assert events.count("process.spawned") == 1
    assert events.index("process.spawned") < events.index("message.accepted")


def test_an_answer_grows_by_few_edits_and_ends_whole(tmp_path: Path) -> None:
    """At most one edit per interval, however many parts it comes in."""

    async def scene(discord: FakeDiscord, _bot: Bot) -> None:
        discord.says(7, ANA, f"[[deltas 500]] {'word ' * 300}the end")

    (message,) = plays(scene, scripted_settings(tmp_path)).channels[7].messages
    assert message.content.endswith("]")
    assert "the end" in message.content
    assert 1 <= message.edits < 20
    assert_apart(message)


def assert_apart(message: FakeMessage) -> None:
    """What was shown of a message was an interval apart; half of one is allowed to the machine, once."""
    assert message.times[-1] - message.times[0] >= (len(message.times) - 1.5) * INTERVAL


def test_a_long_answer_becomes_several_messages(tmp_path: Path) -> None:
    """None is longer than Discord takes, which the fake refuses as Discord does; nothing is missing."""
    text = " ".join(str(number) for number in range(1500))

    async def scene(discord: FakeDiscord, _bot: Bot) -> None:
        discord.says(7, ANA, text)

    shown = said(plays(scene, scripted_settings(tmp_path)), 7)
    assert len(shown) > 2
    assert max(map(len, shown)) <= LIMIT
    assert text.split() == [word for word in " ".join(shown).split() if word.isdecimal()]


def test_answers_have_the_order_of_the_messages_of_a_channel(tmp_path: Path) -> None:
    """Though all are delivered at once, and channels do not wait for each other."""

    async def scene(discord: FakeDiscord, _bot: Bot) -> None:
        for number in range(4):
            for channel in (7, 8):
                discord.says(channel, ANA, f"[[delay 0.05]] number {number}")

    discord = plays(scene, scripted_settings(tmp_path))
    for channel in (7, 8):
        shown = said(discord, channel)
        assert [f"number {number}" in text for number, text in enumerate(shown)] == [True] * 4


def test_a_message_that_is_delivered_twice_is_answered_once(tmp_path: Path) -> None:
    """While the first delivery is dealt with, and afterwards."""

    async def scene(discord: FakeDiscord, bot: Bot) -> None:
        discord.says(7, ANA, "Once, please.", times=2)
        await discord.settled()
        await bot.on_message(FakeInput(1_000_000, "Once, please.", ANA, discord.channels[7]))

    assert len(said(plays(scene, scripted_settings(tmp_path)), 7)) == 1
    assert len(asked(tmp_path)) == 1


def test_messages_that_become_one_turn_have_one_answer(tmp_path: Path) -> None:
    """With the policy ``collect``, what comes while another is answered is answered together."""

    async def scene(discord: FakeDiscord, bot: Bot) -> None:
        discord.says(7, ANA, "[[hold 0.5]] first")
        await discord.shows_typing(7)
        await until(lambda: bot.engine.status().running_turns > 0)
        for text in ("second", "third"):
            discord.says(7, ANA, text)

    shown = said(plays(scene, scripted_settings(tmp_path), busy=BusyPolicy.COLLECT), 7)
    assert len(shown) == 2
    assert "first" in shown[0]
    assert "second" in shown[1]
    assert "third" in shown[1]


def test_trust_follows_from_roles(tmp_path: Path) -> None:
    """The owner, a member, and a stranger; each message says whose it is."""

    async def scene(discord: FakeDiscord, _bot: Bot) -> None:
        for user in (ANA, BEN, CYD):
            discord.says(user.id, user, "Hello!")

    discord = plays(scene, scripted_settings(tmp_path))
    for user, trust in ((ANA, "owner"), (BEN, "member"), (CYD, "external")):
        assert f'trust={trust} author="{user.display_name}" id="{user.id}"' in said(discord, user.id)[0]


def test_who_is_not_answered_is_told_why(tmp_path: Path) -> None:
    """A message that finds the mailbox full, one that is empty, and one whose process dies."""

    async def scene(discord: FakeDiscord, bot: Bot) -> None:
        discord.says(7, ANA, "[[hold 0.5]] [[exit 3]]")
        await discord.shows_typing(7)
        await until(lambda: bot.engine.status().running_turns > 0)
        discord.says(7, ANA, "waits")
        discord.says(7, ANA, "finds no room")
        discord.says(8, ANA, "")

    discord = plays(scene, scripted_settings(tmp_path, mailbox_size=1, max_attempts=1))
    shown = said(discord, 7)
    assert shown[0] == "I cannot remember more than 1 waiting here. Please send that again in a while."
    assert shown[1] == "Something went wrong, and I have no answer. Please ask again."
    assert "waits" in shown[2]
    assert said(discord, 8) == ["I cannot read that: a message needs some text, and not too much of it."]


def outcome(kind: OutcomeKind) -> Outcome:
    """An end without an answer."""
    return Outcome(kind=kind, reason="an internal matter", clock=Clock.TOTAL)


@pytest.mark.parametrize(
    ("error", "accepted", "word"),
    [
        (MailboxFull("c", 3, 3), False, "3 waiting"),
        (GateClosed("billing_error", 61.0), False, "in 2 min"),
        (BudgetExceeded(BUDGET), False, "used up"),
        (ChannelSuspended("c", "reason"), False, "broken"),
        (InvalidMessage("reason"), False, "cannot read"),
        (EngineClosed(), True, "when I am back"),
        (EngineClosed(), False, "send that again"),
        (TurnTimedOut(outcome(OutcomeKind.TIMED_OUT)), True, "too long"),
        (TurnFailed(outcome(OutcomeKind.CANCELLED)), True, "Stopped"),
        (TurnFailed(outcome(OutcomeKind.FAILED)), True, "went wrong"),
        (StoreFull("the disk is full"), False, "could not take"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_are_told_in_plain_words(error: EchoActorsError, accepted: bool, word: str) -> None:
    """None of which are the engine's own, which are for its operator."""
    words = in_plain_words(error, accepted=accepted)
    assert word in words
    assert not any(inner in words for inner in ("internal", "reason", "billing", "disk", "engine"))


def test_who_was_superseded_knows_it() -> None:
    """They wrote the message that took the other's place."""
    assert in_plain_words(TurnFailed(outcome(OutcomeKind.SUPERSEDED)), accepted=True) == ""


def test_an_answer_that_runs_is_finished_when_the_bot_ends(tmp_path: Path) -> None:
    """And who writes meanwhile is told to come back."""

    async def scene(discord: FakeDiscord, bot: Bot) -> None:
        discord.says(7, ANA, "[[hold 0.5]] to the end")
        await discord.shows_typing(7)
        await until(lambda: bot.engine.status().running_turns > 0)
        ending = asyncio.create_task(bot.finish())
        await until(lambda: bot.engine.status().closing)
        discord.says(8, ANA, "too late")
        await ending

    discord = plays(scene, scripted_settings(tmp_path))
    assert "to the end" in said(discord, 7)[0]
    assert said(discord, 8) == ["I am being restarted. Please send that again in a minute."]
