"""Who has a place for a CLI process, who waits for one, and who goes for it; without any process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from support import unrecorded

from echo_actors.claude.driver import Launch, Silence
from echo_actors.claude.meter import Meter
from echo_actors.claude.resident import Resident
from echo_actors.claude.roster import Roster
from echo_actors.claude.turn import TurnMachine
from echo_actors.errors import CLIFailed


@asynccontextmanager
async def open_roster(room: int) -> AsyncIterator[Roster]:
    """A roster for so many processes, for the block."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            yield Roster(room, 600.0, unrecorded, nursery)
            nursery.cancel_scope.cancel()


def resident_of(channel: str) -> Resident:
    """One that is being got ready, and needs a place."""
    launch = Launch(model="sonnet", working_dir=Path(), allowed_tools=(), permission_mode="default", prompt_file=None)
    return Resident(channel, launch, TurnMachine(channel, "session", Meter(float)), listener=Silence())


async def idle(roster: Roster, *channels: str) -> list[Resident]:
    """Residents that have their places and run no turn, the first the least recently used."""
    residents = [resident_of(channel) for channel in channels]
    for used, resident in enumerate(residents):
        await roster.admit(resident)
        resident.rest(float(used))
    return residents


def kept(roster: Roster) -> set[str]:
    """The channels whose processes stay."""
    return {each.channel for each in roster.everyone()}


async def test_nobody_goes_while_others_take_places_that_are_free() -> None:
    """Neither for the second of them nor at the end of a turn: each has its place, though it has not run since."""
    async with open_roster(3) as roster:
        await idle(roster, "a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(roster.admit, resident_of("b"))
            nursery.start_soon(roster.admit, resident_of("c"))
            await admitted(roster, "b", "c")
            roster.make_room()
        assert kept(roster) == {"a", "b", "c"}


async def test_the_least_recently_used_goes_for_one_that_waits_and_no_other() -> None:
    """However often room is made before its process is gone."""
    async with open_roster(2) as roster:
        await idle(roster, "a", "b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(roster.admit, resident_of("c"))
            await admitted(roster, "c")
            for _ in range(3):
                roster.make_room()
        assert kept(roster) == {"b", "c"}


async def test_a_spare_that_is_starting_goes_for_one_that_waits_and_no_other_with_it() -> None:
    """It takes a moment to notice; until then its place counts as one that is about to be free."""
    async with open_roster(2) as roster:
        await idle(roster, "a")
        spare, start = resident_of(""), trio.CancelScope()
        assert roster.admit_spare(spare, start)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(roster.admit, resident_of("c"))
            await admitted(roster, "c")
            roster.make_room()
            assert start.cancel_called
            roster.spare_start = None
            await roster.let_go(spare, "it did not start")
        assert kept(roster) == {"a", "c"}


async def test_one_that_died_by_itself_does_not_go_for_another() -> None:
    """It has no place any more, so the other would wait on."""
    async with open_roster(2) as roster:
        (dead, _) = await idle(roster, "dead", "a")
        dead.failure = CLIFailed("it died")
        roster.vacate(dead)
        await idle(roster, "b")
        await roster.admit(resident_of("c"))
        assert kept(roster) == {"dead", "a", "c"}


async def admitted(roster: Roster, *channels: str) -> None:
    """Wait until they have come; nothing has gone yet for those that wait."""
    while not kept(roster).issuperset(channels):
        await trio.lowlevel.checkpoint()
