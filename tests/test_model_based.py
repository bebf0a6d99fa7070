"""The engine against a model of what it promises: random commands, a store and a CLI in memory, crashes anywhere.

Time stands still but for the command that lets it jump, so a run is the same each time. What a crash destroys is
everything but the disk of the store and the transcripts of the CLI.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from echo_actors import BusyPolicy, EchoActorsError, Engine, FullPolicy, Settings, Trust
from echo_actors.actors.mailbox import EntryState
from echo_actors.actors.services import Persona, Services
from echo_actors.actors.supervisor import Supervisor
from echo_actors.actors.topic import Hub
from echo_actors.admission.budgets import Budgets
from echo_actors.admission.gate import Gate
from echo_actors.admission.slots import Slots
from echo_actors.claude.driver import Launch, SessionLost
from echo_actors.errors import EngineClosed, TurnFailed
from echo_actors.events import Event, TurnEnded
from echo_actors.models import Message, Outcome, OutcomeKind
from echo_actors.state.records import StoredMessage
from echo_actors.testing.memory_store import MemoryDisk, MemoryStore
from echo_actors.testing.puppet_driver import SPENT, Conversations, Decision, Left, PuppetDriver, died

START = datetime(2026, 1, 1, tzinfo=UTC)
MAX_ATTEMPTS = 3
CHANNELS = ("a", "b")


class PowerCut(BaseException):
    """The machine is off: nothing that asks the store goes on."""


class CuttableStore(MemoryStore):
    """A store whose answers can be late, and that nothing reaches any more after the power cut."""

    off = False
    lag = 0

    async def accept(self, message: Message, *, ends: Any = ()) -> StoredMessage | None:
        """Answer late, as a disk does."""
        known = await super().accept(message, ends=ends)
        await self._answer_late()
        return known

    async def finish(self, claim: Any, ends: Any, snapshot: Any, charge: Any = None) -> Any:
        """Answer late, as a disk does."""
        saved = await super().finish(claim, ends, snapshot, charge)
        await self._answer_late()
        return saved

    async def _answer_late(self) -> None:
        with trio.CancelScope(shield=True):
            await _ticks(self.lag)
        if self.off:
            raise PowerCut

    def _writing(self, claim: Any = None) -> None:
        if self.off:
            raise PowerCut
        super()._writing(claim)


@attrs.define(eq=False)
class Known:
    """What the model knows of a message that was offered."""

    number: int
    channel: str
    message_id: str
    refused: bool = False
    asked: int = 0
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)


class World:
    """One run: engines one after the other on one disk, and what must hold of them."""

    def __init__(self, policy: FullPolicy, clock: trio.testing.MockClock, *, lag: int) -> None:
        self.clock = clock
        self.lag = lag
        self.settings = Settings(
            mailbox_size=3,
            full_mailbox=policy,
            max_attempts=MAX_ATTEMPTS,
            queue_timeout=300.0,
            start_timeout=10.0,
            first_event_timeout=10.0,
            idle_timeout=30.0,
            total_timeout=60.0,
            interrupt_grace=2.0,
            passivate_after=10.0,
            drain_timeout=5.0,
            teardown_timeout=2.0,
        )
        self.disk, self.conversations = MemoryDisk(), Conversations()
        self.known: list[Known] = []
        self.by_id: dict[str, Known] = {}
        self.announced: Counter[str] = Counter()
        self.told: dict[str, Outcome] = {}
        self.wrong: list[str] = []
        self.cut_off = False
        self.tidy = True

    # -- one engine's life

    async def live(self, commands: Callable[[], Awaitable[None]]) -> None:
        """Open an engine on what there is, and let the commands act on it to its end."""
        self.store = CuttableStore(uuid.uuid4().hex, self.disk)
        self.store.lag = self.lag
        self.driver = PuppetDriver(self.conversations, self.on_asked)
        try:
            async with trio.open_nursery() as self.nursery:
                services = self._services()
                self.supervisor = Supervisor(services, self.nursery, await self.store.last_sequence(), lambda: 0.5)
                self.engine = Engine(
                    services, self.supervisor, cast("Any", SimpleNamespace(problem=None, lost=0, unsynced=0))
                )
                await self.supervisor.recover()
                await commands()
                self.nursery.cancel_scope.cancel()
        except BaseException as error:
            if not self.store.off or _unexpected(error):
                raise

    def _services(self) -> Services:
        world = self

        class Ears(Hub):
            def publish(self, event: Event, message_id: str = "") -> Event:
                if isinstance(event, TurnEnded):
                    world.on_end(event)
                return super().publish(event, message_id)

        return Services(
            settings=self.settings,
            store=self.store,
            driver=self.driver,
            hub=Ears(uuid.uuid4().hex, 100, 100, self.now),
            record=lambda _event, /, **_fields: None,
            turn_slots=Slots(8),
            gate=Gate(lambda: self.now().timestamp()),
            budgets=Budgets.under(self.settings),
            persona=Persona(Path("prompt"), "digest"),
            launch=Launch(
                model="sonnet", working_dir=Path(), allowed_tools=(), permission_mode="default", prompt_file=None
            ),
            now=self.now,
            new_id=lambda: str(uuid.uuid4()),
        )

    def now(self) -> datetime:
        """The time of day, which goes with trio's clock."""
        return START + timedelta(seconds=self.clock.current_time())

    # -- what is noticed meanwhile

    def on_end(self, event: TurnEnded) -> None:
        """An end is announced: it is on disk, and the only one."""
        self.announced[event.message_id] += 1
        stored = self.disk.messages.get(event.message_id)
        self._check(self.announced[event.message_id] == 1, f"{event.message_id} ended twice")
        self._check(stored is not None and stored.outcome == event.outcome, "announced before it is on disk")

    def on_asked(self, channel: str, uuid_: str, content: str) -> None:
        """The model is asked: in order, in time, and never too often."""
        for number in map(int, re.findall(r"MSG(\d+)", content)):
            known = self.known[number]
            stored = self.disk.messages.get(known.message_id)
            self._check(known.channel == channel, f"{number} was asked in another channel")
            if stored is None:
                self.wrong.append(f"{number} was asked and is not on disk")
                continue
            self._check(stored.outcome is None, f"{number} was asked after its end")
            self._check(0 < stored.attempts <= MAX_ATTEMPTS, f"{number} was asked in attempt {stored.attempts}")
            self._check(not self._has_answer(number), f"{number} was asked although its session has the answer")
            in_order = uuid_ in self.driver.stayed or not self._overtakes(stored.message)
            self._check(in_order, f"{number} came out of order")
            known.asked += 1

    def _overtakes(self, message: Message) -> bool:
        """Whether a message that was accepted before it still waits."""
        before = [entry for entry in map(self.supervisor.find, self.disk.messages) if entry is not None]
        return any(
            entry.state in {EntryState.COMMITTING, EntryState.WAITING}
            and entry.message.channel == message.channel
            and entry.message.sequence < message.sequence
            for entry in before
        )

    def _has_answer(self, number: int) -> bool:
        answers = (answer for session in self.conversations.sessions.values() for answer in session.values())
        return any(answer is not None and re.search(rf"MSG{number}\b", answer) for answer in answers)

    def _check(self, holds: bool, what: str) -> None:
        # Raised in a task of the engine it would be taken for the crash of an actor.
        if not holds:
            self.wrong.append(what)

    # -- commands

    async def offer(self, known: Known, **fields: Any) -> None:
        """Offer a message and wait for its end, as a caller does who may change their mind."""
        with known.scope:
            try:
                reply = await self.engine.ask(
                    known.channel, f"MSG{known.number}", message_id=known.message_id, **fields
                )
            except TurnFailed as error:
                self.told[known.message_id] = error.outcome
            except EngineClosed:
                pass
            except EchoActorsError:
                known.refused = True
            else:
                self._check(f"MSG{known.number}" in reply.text, f"{known.number} got the reply {reply.text!r}")

    async def crash(self, finished: bool) -> None:
        """Destroy what is in memory; what the CLI was asked may be finished, and nobody knows."""
        if finished:
            self.driver.finish_unseen()
        self.store.off = self.cut_off = True
        self.tidy = False
        self.nursery.cancel_scope.cancel()
        await trio.lowlevel.checkpoint()

    async def drain(self) -> None:
        """Close the engine as a program does that ends."""
        drained = trio.Event()

        async def drain() -> None:
            await self.engine.drain()
            drained.set()

        self.nursery.start_soon(drain)
        for _ in range(50):
            await trio.testing.wait_all_tasks_blocked()
            if drained.is_set():
                return
            self.clock.jump(1.0)
        raise AssertionError("the drain took more than its time")

    async def come_to_rest(self) -> None:
        """Let all mend, and every message come to its end."""
        self.disk.full = False
        self.driver.obedient = True
        for _ in range(300):
            await trio.testing.wait_all_tasks_blocked()
            for channel in list(self.engine.status().suspended):
                await self.engine.resume(channel)
            busy = [self.driver.decide(channel, Decision()) for channel in CHANNELS]
            if not any(busy):
                unfinished = [s for s in self.disk.messages.values() if s.outcome is None]
                if not unfinished and not self.engine.status().live_channels:
                    return
                self.clock.jump(20.0)
        raise AssertionError(f"not at rest: {self.engine.status()}, {unfinished}")

    # -- what holds at the end

    async def check(self) -> None:
        """Hold the engine to its promises."""
        assert not self.wrong, self.wrong
        assert not self.supervisor._entries
        answered: Counter[str] = Counter()
        for message_id, stored in self.disk.messages.items():
            known = self.by_id[message_id]
            assert stored.outcome is not None
            assert not known.refused, f"{known.number} was refused and is on disk"
            assert stored.outcome.attempts <= MAX_ATTEMPTS
            assert await self.engine.outcome(message_id) == stored.outcome
            assert self.told.get(message_id, stored.outcome) == stored.outcome
            answered[known.channel] += stored.outcome.kind is OutcomeKind.ANSWERED
            if not self.cut_off:
                assert self.announced[message_id] == 1
            if self.tidy:
                # One that is stopped, or out of time, while it is handed over was started, and nobody was asked.
                unanswered = stored.outcome.kind is not OutcomeKind.ANSWERED
                assert known.asked <= stored.outcome.attempts <= known.asked + unanswered, (known, stored)
        for channel, snapshot in self.disk.snapshots.items():
            assert snapshot.message_count == answered[channel]
            if self.tidy:
                turns = {
                    s.outcome.reply.turn_id
                    for s in self.disk.messages.values()
                    if s.message.channel == channel and s.outcome is not None and s.outcome.reply is not None
                }
                assert snapshot.total_cost_usd == SPENT.cost_usd * len(turns)
            costs = {
                s.outcome.reply.turn_id: s.outcome.reply.cost_usd
                for s in self.disk.messages.values()
                if s.message.channel == channel and s.outcome is not None and s.outcome.reply is not None
            }
            ledger = sum(cost for (whose, _), cost in self.disk.spending.items() if whose == channel)
            assert ledger == sum(costs.values()), "what is stored as spent is what the stored turns cost, each once"


Command = Callable[[World], Awaitable[Any]]


@attrs.frozen
class Step:
    """A command by name, and after how many checkpoints the next one comes; None once all is quiet."""

    name: str
    arguments: tuple[Any, ...] = ()
    ticks: int | None = None

    async def act(self, world: World) -> bool:
        """Do it; True when the engine is gone after it."""
        if self.name == "crash":
            await world.crash(*self.arguments)
        elif self.name == "drain":
            await world.drain()
        else:
            getattr(self, f"_{self.name}")(world, *self.arguments)
            await (trio.testing.wait_all_tasks_blocked() if self.ticks is None else _ticks(self.ticks))
        gone = self.name in {"crash", "drain"}
        world.tidy = world.tidy and not gone and "lose" not in self.arguments
        return gone

    def _post(self, world: World, channel: str, busy: BusyPolicy, trust: Trust, patience: float | None) -> None:
        known = Known(len(world.known), channel, str(uuid.uuid4()))
        world.known.append(known)
        world.by_id[known.message_id] = known
        deadline = None if patience is None else world.now() + timedelta(seconds=patience)
        world.nursery.start_soon(lambda: world.offer(known, busy=busy, trust=trust, deadline=deadline))

    def _decide(self, world: World, channel: str, how: str, left: Left) -> None:
        decisions = {
            "die": died(),
            "bug": Decision(raises=RuntimeError("a bug")),
            "lose": Decision(raises=SessionLost("it is gone")),
            "rate_limit": Decision(error="rate_limit", left=left, resets_at=world.now().timestamp() + 40),
        }
        default = Decision(error=None if how == "answer" else how, left=left)
        world.driver.decide(channel, decisions.get(how, default))

    def _withdraw(self, world: World, back: int) -> None:
        if world.known:
            world.known[-1 - back % len(world.known)].scope.cancel()

    def _interrupt(self, world: World, channel: str) -> None:
        world.nursery.start_soon(world.engine.interrupt, channel)

    def _jump(self, world: World, seconds: float) -> None:
        world.clock.jump(seconds)

    def _disk(self, world: World, full: bool) -> None:
        world.disk.full = full

    def _cli(self, world: World, obedient: bool, in_tool: bool) -> None:
        world.driver.obedient, world.driver.in_tool = obedient, in_tool


async def _ticks(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


def _unexpected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_unexpected, error.exceptions))
    return not isinstance(error, (PowerCut, trio.Cancelled))


_CHANNEL = st.sampled_from(("a", "a", "a", "b"))
_TICKS = st.none() | st.integers(0, 6)
_HOWS = ("answer", "answer", "answer", "api_error", "overloaded", "rate_limit", "authentication_failed", "empty_reply")
_LEFT = st.sampled_from(("join", "stay", "return"))
_POLICY = st.sampled_from(BusyPolicy)
_TRUST = st.sampled_from((Trust.MEMBER, Trust.MEMBER, Trust.EXTERNAL))


def _step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(Step, st.just(name), st.tuples(*arguments), _TICKS)


_POST = _step("post", _CHANNEL, _POLICY, _TRUST, st.sampled_from((None, None, 5.0)))
_DECIDE = _step("decide", _CHANNEL, st.sampled_from((*_HOWS, "die", "bug", "lose")), _LEFT)
_CALM = (
    _step("jump", st.sampled_from((0.0, 0.3, 2.5, 12.0, 65.0))),
    *[_POST] * 10,
    *[_DECIDE] * 5,
    _step("interrupt", _CHANNEL),
    _step("withdraw", st.integers(0, 5)),
    _step("disk", st.booleans()),
    _step("cli", st.booleans(), st.booleans()),
)
_ENDS = (_step("crash", st.booleans()), _step("drain"))


def _steps(*kinds: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    # Shorter lists are made of steps that do nothing.
    return st.lists(st.one_of(*kinds), min_size=15, max_size=45)


STEPS = _steps(*_CALM) | _steps(*_CALM, *_ENDS)


@given(STEPS, st.sampled_from(FullPolicy), st.integers(0, 3))
def test_the_engine_keeps_its_promises_whatever_happens(steps: list[Step], policy: FullPolicy, lag: int) -> None:
    """Every accepted message has one end, in order, never asked after it and never too often; all is counted once."""
    clock = trio.testing.MockClock()
    trio.run(_run, steps, policy, lag, clock, clock=clock)


async def _run(steps: list[Step], policy: FullPolicy, lag: int, clock: trio.testing.MockClock) -> None:
    world, left = World(policy, clock, lag=lag), list(steps)

    async def commands() -> None:
        while left:
            if await left.pop(0).act(world):
                return
        await world.come_to_rest()
        await world.check()
        left.append(Step("end"))

    while not (left and left[-1].name == "end"):
        await world.live(commands)
