"""A driver that answers at once and starts nothing: an engine with it needs no CLI.

Use it to test a program that embeds the engine, or to measure the engine alone::

    async with open_engine(Settings(state_dir=tmp_path), driver=InstantDriver()) as engine:
        assert (await engine.ask("somewhere", "hello")).text == "echo: hello"

Give it a function to script the answers::

    def answer(request: TurnRequest) -> TurnResult:
        if "secret" in request.content:
            raise CLIFailed("no")
        return echo(request, "a scripted answer")
"""

from __future__ import annotations

import inspect
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableSequence
from functools import partial
from typing import TypeAlias

import attrs
import trio

from echo_actors.claude.driver import (
    KeptSession,
    Launch,
    Phase,
    Processes,
    ProcessStatus,
    SessionLost,
    SessionRequest,
    TurnListener,
    TurnRequest,
    TurnResult,
)
from echo_actors.events import BlockFinished, PermissionAsked
from echo_actors.history import History
from echo_actors.models import Allow, Block, Deny, Spent, Usage
from echo_actors.testing.conversations import exchange, page_of

Answer: TypeAlias = TurnResult | Exception
"""A result to give, or an error to raise."""

SPENT = Spent(usage=Usage(input_tokens=100, output_tokens=20), cost_usd=0.0004, duration_ms=1, context_tokens=120)
"""What every echoed turn takes."""


def echo(request: TurnRequest, text: str | None = None) -> TurnResult:
    """The result that answers a request, with ``echo: <content>`` or the given text."""
    said = f"echo: {request.content}" if text is None else text
    return TurnResult(
        uuids=(request.turn_id,),
        session_id=request.session_id,
        model=request.launch.model,
        text=said,
        blocks=(Block("text", said),),
        spent=SPENT,
    )


@attrs.define(eq=False)
class _Turn:
    listener: TurnListener
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    steered: list[str] = attrs.Factory(list)


@attrs.define(eq=False)
class InstantDriver:
    """Runs turns without a process, as the Protocol ``Driver`` says.

    Attributes:
        answer: Gives each request's answer: a result, an error, or an awaitable of one of them. An awaited answer can
            be interrupted, and then ends as the CLI's does: ``error_during_execution``.
        requests: Those that were run, in order. Give a ``deque(maxlen=...)`` where they are too many to keep.
        interrupts: Channels that were asked to interrupt their turn, running or not.
        steered: Messages that were given to a running turn: channel, uuid, content.
        recorded: What ``recall`` finds, by the uuid of the request: answers of an earlier run of the program.
        retired: Channels whose process was to end, each with the reason.
        prewarmed: Requests for a process ahead of a turn.
        turns: The last requests that got a result, each with that; what ``history`` is made of.
    """

    answer: Callable[[TurnRequest], Answer | Awaitable[Answer]] = echo
    requests: MutableSequence[TurnRequest] = attrs.Factory(list)
    interrupts: list[str] = attrs.Factory(list)
    steered: list[tuple[str, str, str]] = attrs.Factory(list)
    recorded: Mapping[str, TurnResult] = attrs.Factory(dict)
    retired: list[tuple[str, str]] = attrs.Factory(list)
    prewarmed: list[SessionRequest] = attrs.Factory(list)
    turns: deque[tuple[TurnRequest, TurnResult]] = attrs.Factory(partial(deque, maxlen=100))
    _running: dict[str, _Turn] = attrs.Factory(dict)

    @property
    def running(self) -> frozenset[str]:
        """The channels whose turn is running."""
        return frozenset(self._running)

    def new_session(self, channel: str, launch: Launch) -> str:  # noqa: ARG002 - one is as good as another
        """A fresh uuid."""
        return str(uuid.uuid4())

    async def prewarm(self, request: SessionRequest) -> bool:
        """Note it; there is no process to start."""
        self.prewarmed.append(request)
        await trio.lowlevel.checkpoint()
        return True

    def is_warm(self, channel: str) -> bool:  # noqa: ARG002 - as above
        """Always: there is no process to wait for."""
        return True

    def processes(self) -> Processes:
        """None."""
        return Processes()

    def process(self, channel: str) -> ProcessStatus | None:  # noqa: ARG002 - as above
        """None."""
        return None

    def problem(self) -> str:
        """There is nothing that could be missing."""
        return ""

    async def run_turn(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
        """Give the request's answer, with an event for each of its blocks.

        Raises:
            RuntimeError: The channel has a turn already.
        """
        if request.channel in self._running:
            raise RuntimeError(f"channel {request.channel!r} has a turn already")
        turn = self._running[request.channel] = _Turn(listener)
        try:
            self.requests.append(request)
            listener.on_phase(Phase.RUNNING)
            listener.on_begun(request.turn_id)
            answer = await self._answer_to(request, turn)
        finally:
            del self._running[request.channel]
        if isinstance(answer, Exception):
            raise answer
        for block in answer.blocks:
            listener.on_event(BlockFinished(channel=request.channel, turn_id=request.turn_id, block=block))
        self.turns.append((request, answer))
        return attrs.evolve(answer, uuids=(*answer.uuids, *turn.steered)) if turn.steered else answer

    def interrupt(self, channel: str) -> None:
        """End the wait for the channel's answer."""
        self.interrupts.append(channel)
        if channel in self._running:
            self._running[channel].scope.cancel()

    def steer(self, channel: str, uuid: str, content: str) -> bool:
        """Let the channel's running turn answer one more message."""
        if channel not in self._running:
            return False
        turn = self._running[channel]
        turn.steered.append(uuid)
        turn.listener.on_begun(uuid)
        self.steered.append((channel, uuid, content))
        return True

    def answer_permission(self, question: PermissionAsked, answer: Allow | Deny) -> bool:  # noqa: ARG002 - as above
        """Never: its turns ask nothing."""
        return False

    async def recall(self, request: TurnRequest) -> TurnResult | None:
        """What is recorded for the request."""
        await trio.lowlevel.checkpoint()
        return self.recorded.get(request.turn_id)

    async def history(self, session: KeptSession, *, limit: int | None, before: str | None) -> History | None:
        """What ``turns`` has of the session."""
        await trio.lowlevel.checkpoint()
        said = [
            words
            for request, result in self.turns
            if request.session_id == session.session_id
            for words in exchange(request.turn_id, request.content, result.text)
        ]
        return page_of(session, said, limit=limit, before=before) if said else None

    async def fork(self, session: KeptSession) -> str:
        """Let ``turns`` have the session's turns in another one too."""
        await trio.lowlevel.checkpoint()
        copy_id = str(uuid.uuid4())
        own = [turn for turn in self.turns if turn[0].session_id == session.session_id]
        if not own:
            raise SessionLost(f"there is no session {session.session_id}")
        self.turns += [(attrs.evolve(request, session_id=copy_id), result) for request, result in own]
        return copy_id

    async def retire(self, channel: str, reason: str) -> None:
        """Note it; there is no process to end."""
        self.retired.append((channel, reason))
        await trio.lowlevel.checkpoint()

    async def _answer_to(self, request: TurnRequest, turn: _Turn) -> Answer:
        answer = self.answer(request)
        if not inspect.isawaitable(answer):
            await trio.lowlevel.checkpoint()
            return answer
        with turn.scope:
            return await answer
        return attrs.evolve(echo(request, ""), blocks=(), error="error_during_execution", reason="interrupted")
