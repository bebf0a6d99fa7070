"""A driver whose turns end when and how they are told to, with what the CLI keeps on disk apart from it.

``PuppetDriver`` serves tests that decide every step; nothing of it waits for a clock. What a CLI remembers when it is
killed, the transcripts, is in ``Conversations``: give them to the next driver to act as after a restart.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Literal

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
from echo_actors.claude.permissions import answer_frame
from echo_actors.errors import CLIFailed
from echo_actors.events import PermissionAsked
from echo_actors.history import History
from echo_actors.models import Answer, Block, Spent, Usage
from echo_actors.testing.conversations import exchange, page_of

Left = Literal["join", "stay", "return"]
"""What becomes of messages that wait in the CLI when a turn ends: answered by it, by the next one, or given back."""

SPENT = Spent(usage=Usage(input_tokens=100, output_tokens=20), cost_usd=0.25, duration_ms=1, context_tokens=120)
"""What an answered turn takes; the cost is one that floats add exactly."""


@attrs.frozen(kw_only=True)
class Decision:
    """How a turn ends.

    Attributes:
        error: The kind of failure; None for an answer.
        raises: Ends the turn without a result instead.
        resets_at: For a rate limit.
    """

    error: str | None = None
    raises: Exception | None = None
    left: Left = "join"
    resets_at: float | None = None


@attrs.define(eq=False)
class Conversations:
    """What the CLI keeps on disk.

    Attributes:
        sessions: By session the messages, each with its answer once that is whole.
        done: Messages that will not be run again under the same uuid, however they ended.
    """

    sessions: dict[str, dict[str, str | None]] = attrs.Factory(dict)
    done: set[str] = attrs.Factory(set)


@attrs.define(eq=False)
class PuppetTurn:
    """A running turn.

    Attributes:
        begun: The messages that the model was asked, with their content.
        waiting: Those that came while it was running and were not begun.
    """

    request: TurnRequest
    listener: TurnListener
    begun: dict[str, str] = attrs.Factory(dict)
    waiting: dict[str, str] = attrs.Factory(dict)
    decision: Decision | None = None
    decided: trio.Event = attrs.Factory(trio.Event)


@attrs.define(eq=False)
class PuppetDriver:
    """Runs turns as it is told, as the Protocol ``Driver`` says.

    Attributes:
        conversations: What outlives this driver.
        on_asked: Called for each message when the model is asked: channel, uuid, content.
        obedient: Whether an interrupt ends a turn.
        in_tool: Whether a turn takes up further messages at once, as a CLI does that runs a tool.
        running: The turns by channel.
        stayed: Messages that waited in the CLI when a turn ended; it begins them next, whatever else there is.
        answers: What turns were told about their permission questions, by the question's name.
    """

    conversations: Conversations = attrs.Factory(Conversations)
    on_asked: Callable[[str, str, str], None] = lambda _channel, _uuid, _content: None
    obedient: bool = True
    in_tool: bool = True
    running: dict[str, PuppetTurn] = attrs.Factory(dict)
    stayed: set[str] = attrs.Factory(set)
    answers: dict[str, Answer] = attrs.Factory(dict)
    _queued: dict[str, dict[str, str]] = attrs.Factory(dict)

    def new_session(self, channel: str, launch: Launch) -> str:  # noqa: ARG002 - one is as good as another
        """A fresh uuid."""
        return str(uuid.uuid4())

    async def prewarm(self, request: SessionRequest) -> bool:  # noqa: ARG002 - as above
        """Do nothing: there is no process to start."""
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
        """Run until a decision has come.

        Raises:
            RuntimeError: The channel has a turn already.
            SessionLost: There is no such session.
        """
        if request.channel in self.running:
            raise RuntimeError(f"channel {request.channel!r} has a turn already")
        if request.established and request.session_id not in self.conversations.sessions:
            raise SessionLost(f"the transcript of session {request.session_id} is gone")
        turn = self.running[request.channel] = PuppetTurn(request, listener)
        queued = self._queued.pop(request.channel, {})
        try:
            for phase in (Phase.STARTING, Phase.SENT):
                listener.on_phase(phase)
                await trio.lowlevel.checkpoint()
            if request.turn_id in self.conversations.done:
                return TurnResult(uuids=(request.turn_id,), session_id=request.session_id, replayed=True)
            listener.on_phase(Phase.RUNNING)
            for uuid, content in ({request.turn_id: request.content} | queued).items():
                self._begin(turn, uuid, content)
            await turn.decided.wait()
            return self._result(turn)
        finally:
            del self.running[request.channel]

    def decide(self, channel: str, decision: Decision) -> bool:
        """Let the channel's turn end; False when it has none that waits for it."""
        turn = self.running.get(channel)
        if turn is None or turn.decision is not None or not turn.begun:
            return False
        turn.decision = decision
        turn.decided.set()
        return True

    def finish_unseen(self) -> None:
        """Let the transcripts have the answers of all running turns, as when the engine is killed right then."""
        for turn in self.running.values():
            if turn.begun:
                self._answer(turn)

    def interrupt(self, channel: str) -> None:
        """End the channel's turn, if it obeys."""
        if self.obedient:
            self.decide(channel, Decision(error="error_during_execution", left="stay"))

    def steer(self, channel: str, uuid: str, content: str) -> bool:
        """Give the channel's turn one more message."""
        turn = self.running.get(channel)
        if turn is None or turn.decision is not None or not turn.begun:
            return False
        if self.in_tool:
            self._begin(turn, uuid, content)
        else:
            turn.waiting[uuid] = content
        return True

    def ask_permission(self, channel: str, tool: str = "Bash", **tool_input: Any) -> str:
        """Let the channel's running turn ask whether it may use a tool; give the question's name."""
        turn, request_id = self.running[channel], str(uuid.uuid4())
        asked = PermissionAsked(
            channel=channel, turn_id=turn.request.turn_id, request_id=request_id, tool=tool, input=tool_input
        )
        turn.listener.on_event(asked)
        return request_id

    def answer_permission(self, question: PermissionAsked, answer: Answer) -> bool:
        """Note it in ``answers``."""
        answer_frame(question, answer)
        self.answers[question.request_id] = answer
        return True

    async def recall(self, request: TurnRequest) -> TurnResult | None:
        """The answer in the transcript."""
        await trio.lowlevel.checkpoint()
        text = self.conversations.sessions.get(request.session_id, {}).get(request.turn_id)
        return None if text is None else _answered((request.turn_id,), request.session_id, text, Spent())

    async def history(self, session: KeptSession, *, limit: int | None, before: str | None) -> History | None:
        """The answers in the transcript, each after the uuid of its message, whose text is not kept."""
        await trio.lowlevel.checkpoint()
        messages = self.conversations.sessions.get(session.session_id)
        if messages is None:
            return None
        said = [words for uuid, answer in messages.items() for words in exchange(uuid, uuid, answer)]
        return page_of(session, said, limit=limit, before=before)

    async def fork(self, session: KeptSession) -> str:
        """Copy the transcript."""
        await trio.lowlevel.checkpoint()
        if session.session_id not in self.conversations.sessions:
            raise SessionLost(f"the transcript of session {session.session_id} is gone")
        copy_id = str(uuid.uuid4())
        self.conversations.sessions[copy_id] = dict(self.conversations.sessions[session.session_id])
        return copy_id

    async def retire(self, channel: str, reason: str) -> None:  # noqa: ARG002 - there is nobody to tell it
        """Forget what waits in the channel's process."""
        self._queued.pop(channel, None)
        await trio.lowlevel.checkpoint()

    # -- within

    def _begin(self, turn: PuppetTurn, uuid: str, content: str) -> None:
        turn.begun[uuid] = content
        self.conversations.sessions.setdefault(turn.request.session_id, {})[uuid] = None
        self.on_asked(turn.request.channel, uuid, content)
        turn.listener.on_begun(uuid)

    def _answer(self, turn: PuppetTurn) -> str:
        text = f"answer to {' and '.join(turn.begun.values())}"
        self.conversations.sessions[turn.request.session_id].update(dict.fromkeys(turn.begun, text))
        self.conversations.done.update(turn.begun)
        return text

    def _result(self, turn: PuppetTurn) -> TurnResult:
        decision, request = turn.decision or Decision(), turn.request
        if decision.raises is not None:
            if isinstance(decision.raises, SessionLost):
                self.conversations.sessions.pop(request.session_id, None)
            raise decision.raises
        if decision.left == "join":
            for uuid, content in turn.waiting.items():
                self._begin(turn, uuid, content)
        elif decision.left == "stay":
            self._queued[request.channel] = turn.waiting
            self.stayed.update(turn.waiting)
        returned = tuple(turn.waiting) if decision.left == "return" else ()
        if decision.error is None:
            answer = _answered(tuple(turn.begun), request.session_id, self._answer(turn), SPENT)
            return attrs.evolve(answer, returned=returned)
        self.conversations.done.update(turn.begun)
        return TurnResult(
            uuids=tuple(turn.begun),
            session_id=request.session_id,
            error=decision.error,
            reason=decision.error,
            returned=returned,
            resets_at=decision.resets_at,
        )


def _answered(uuids: tuple[str, ...], session_id: str, text: str, spent: Spent) -> TurnResult:
    return TurnResult(uuids=uuids, session_id=session_id, text=text, blocks=(Block("text", text),), spent=spent)


def died() -> Decision:
    """The CLI dies in the middle of the turn."""
    return Decision(raises=CLIFailed("it died"))
