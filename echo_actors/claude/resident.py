"""A resident: one CLI process bound to a channel, warm between turns.

It joins the process, which gives frames, with the turn machine, which says what they mean, and tells the turn's
listener. Once it is let go nothing it still says reaches anybody.
"""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

import attrs
import trio

from echo_actors.claude.driver import Launch, Phase, SessionLost, TurnListener, TurnResult
from echo_actors.claude.permissions import Refusal
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.session_lock import SessionLock
from echo_actors.claude.turn import TurnMachine
from echo_actors.claude.wire import BadLine, Frame
from echo_actors.errors import CLIFailed

_SESSION_LOST = "No conversation found with session ID"


@attrs.define(eq=False)
class _Question:
    """A control request that waits for its answer."""

    answered: trio.Event = attrs.Factory(trio.Event)
    response: dict[str, Any] = attrs.Factory(dict)


@attrs.define(eq=False)
class Resident:
    """One process and the conversation in it.

    Attributes:
        channel: Whose it is; empty while it is a spare.
        launch: How it runs; what can be changed follows ``adapt``.
        listener: Of the running turn, or ``Silence`` while it is got ready; None when it is idle.
        last_used: When its last turn ended, on trio's clock.
        failure: Why it can be used no more.
        lock: The session's, held until the process is gone.
        fresh: Whether it was started for a new session and has had no message yet.
        memory: The private bytes of its process tree when they were last measured.
        muted: Nothing that it still says reaches anybody: it is on its way out.
    """

    channel: str
    launch: Launch
    machine: TurnMachine
    process: CLIProcess | None = None
    listener: TurnListener | None = None
    last_used: float = 0.0
    failure: CLIFailed | None = None
    lock: SessionLock | None = None
    fresh: bool = False
    memory: int = 0
    muted: bool = False
    _results: dict[str, TurnResult] = attrs.Factory(dict)
    _questions: dict[str, _Question] = attrs.Factory(dict)
    _interrupt_wanted: bool = False
    _interrupted: bool = False
    _spoke: bool = False
    _news: trio.Event = attrs.Factory(trio.Event)

    # -- what the process tells

    def on_frame(self, frame: Frame | BadLine) -> None:
        """Take a frame: events go to the listener, results to the waiting turn."""
        if self.muted:
            return
        # Most frames are parts of an answer: they concern the listener, and nobody who waits.
        news, self._spoke = not self._spoke, True
        if isinstance(frame, dict) and frame.get("type") == "control_response":
            self._on_answer(frame)
            news = True
        begun_before = self.machine.begun
        outputs = self.machine.feed(frame)
        if self.listener is not None:
            self._tell(self.listener, begun_before)
        if self._interrupt_wanted and self.machine.running:
            self.interrupt()
        for output in outputs:
            if isinstance(output, TurnResult):
                self._results |= dict.fromkeys((*output.uuids, *output.returned), output)
                news = True
            elif isinstance(output, Refusal):
                self.reply(output.frame)
            elif self.listener is not None:
                self.listener.on_event(output)
        if news or self.machine.begun != begun_before:
            self._news.set()

    def _tell(self, listener: TurnListener, begun_before: frozenset[str]) -> None:
        """Tell the listener of a sign of life, and of messages that were begun."""
        listener.on_life()
        if self.machine.running and not begun_before:
            listener.on_phase(Phase.RUNNING)
        for uuid_ in self.machine.begun - begun_before:
            listener.on_begun(uuid_)

    def on_end(self, end: ProcessEnd) -> None:
        """The process is gone."""
        kind = SessionLost if _SESSION_LOST in end.stderr_tail else CLIFailed
        self.failure = kind(end.reason, end.exit_code, end.stderr_tail)
        self._news.set()

    # -- what a turn does

    @property
    def usable(self) -> bool:
        """Whether it can take another message."""
        return self.failure is None and self.process is not None and not self.process.ending

    @property
    def up(self) -> bool:
        """Whether its start is over: it has said something, and has not ended."""
        return self.usable and self._spoke

    @property
    def spare(self) -> bool:
        """Whether it waits for a channel."""
        return not self.channel

    @property
    def dispensable(self) -> bool:
        """Whether it may be ended: no turn runs on it, and no work goes on in its background."""
        return self.listener is None and not (self.usable and self.machine.background_tasks)

    def knows(self, uuid_: str) -> bool:
        """Whether a message was written and its result has not been taken."""
        return uuid_ in self._results or self.machine.expects(uuid_)

    def died_before(self, uuid_: str) -> bool:
        """Whether the process ended without having begun a message."""
        return not self.usable and not self.machine.running and uuid_ not in self._results

    def write(self, uuid_: str, content: str) -> None:
        """Give the CLI a message.

        Raises:
            CLIFailed: The process takes nothing any more.
        """
        message = {"role": "user", "content": content}
        frame = {"type": "user", "uuid": uuid_, "message": message, "parent_tool_use_id": None}
        # A person did not type this at a terminal: no slash commands, no attached files.
        self._process().send({**frame, "client_composed": True})
        self.machine.sent(uuid_)
        self.fresh = False

    async def first_frame(self) -> None:
        """Wait until the CLI has said anything at all.

        Raises:
            CLIFailed: It ended instead.
        """
        while not self._spoke:
            await self._wait()

    async def initialize(self) -> None:
        """Wait until the CLI has answered at all: then its start is over, and its first turn is fast.

        Raises:
            CLIFailed: It ended instead.
        """
        # An old one may refuse the request; it is up all the same.
        await self._answer(self._ask("initialize"))

    async def result(self, uuid_: str) -> TurnResult:
        """Wait for the result that names a message.

        Raises:
            CLIFailed: The process ended without one.
        """
        while (result := self.take(uuid_)) is None:
            await self._wait()
        return result

    def take(self, uuid_: str) -> TurnResult | None:
        """The result that names a message, if there is one; it is given once."""
        result = self._results.get(uuid_)
        if result is not None:
            self._results = {other: each for other, each in self._results.items() if each is not result}
        return result

    def serves(self, launch: Launch) -> bool:
        """Whether it can run like this, at once or after ``adapt``."""
        # What it does by itself was begun in its permission mode, perhaps for somebody who may not have another.
        by_itself = self.machine.background_tasks or self.machine.own_turn
        return self.launch.serves(launch) and (self._mode == launch.permission_mode or not by_itself)

    async def adapt(self, launch: Launch) -> None:
        """Let the next turn run like this, as far as a running CLI can be changed.

        Raises:
            CLIFailed: The CLI refused, or ended. One that is started like that may run like that.
        """
        if self.launch.model != launch.model:
            await self._set("set_model", model=launch.model)
        if self._mode != launch.permission_mode:
            await self._set("set_permission_mode", mode=launch.permission_mode)
        self.launch = launch

    def runs_like(self, launch: Launch) -> bool:
        """Whether there is nothing to adapt; a turn may have changed the mode, as one that leaves ``plan`` does."""
        return self.launch == launch and self._mode == launch.permission_mode

    @property
    def _mode(self) -> str:
        return self.machine.permission_mode or self.launch.permission_mode

    async def _set(self, subtype: str, **fields: str) -> None:
        response = await self._answer(self._ask(subtype, **fields))
        if response.get("subtype") != "success":
            raise CLIFailed(f"the CLI refused {subtype} {', '.join(fields.values())}: {response.get('error')}")

    def reply(self, frame: Frame) -> bool:
        """Answer a request of the CLI's; False when it takes no more input."""
        try:
            self._process().send(frame)
        except CLIFailed:
            return False
        return True

    def interrupt(self) -> None:
        """Ask for the end of the running turn; before the CLI has begun it, that would be ignored, so it is held."""
        self._interrupt_wanted = not self.machine.running
        if self.machine.running:
            self._interrupted = True
            # One that takes no more input is ending by itself.
            with contextlib.suppress(CLIFailed):
                self._ask("interrupt")

    async def ends_when_asked(self, patience: float) -> bool:
        """Interrupt the running turn and wait so many seconds for its end; False when it was asked before, or goes on.

        A CLI that ends its turn by itself ends its tools and writes its transcript to the end.
        """
        if not self.usable or not self.machine.running or self._interrupted:
            return False
        self.interrupt()
        with trio.move_on_after(patience), contextlib.suppress(CLIFailed):
            while self.machine.running:
                await self._wait()
        return not self.machine.running

    def rest(self, now: float) -> None:
        """The turn is over."""
        self.listener, self.last_used = None, now
        self._interrupt_wanted = self._interrupted = False

    def bind(self, channel: str, now: float) -> None:
        """The spare is the channel's from now on."""
        self.channel = self.machine.channel = channel
        self.last_used = now

    def mute(self) -> None:
        """Nothing that the process still says shall reach anybody."""
        self.muted, self.listener = True, None

    # -- within

    def _process(self) -> CLIProcess:
        if self.process is None:
            raise CLIFailed("the CLI has not been started")
        return self.process

    def _ask(self, subtype: str, **fields: Any) -> _Question:
        request_id = uuid.uuid4().hex
        question = self._questions[request_id] = _Question()
        request = {"subtype": subtype, **fields}
        self._process().send({"type": "control_request", "request_id": request_id, "request": request})
        return question

    async def _answer(self, question: _Question) -> dict[str, Any]:
        while not question.answered.is_set():
            await self._wait()
        return question.response

    def _on_answer(self, frame: Frame) -> None:
        response = frame.get("response")
        if isinstance(response, dict):
            question = self._questions.pop(str(response.get("request_id")), None)
            if question is not None:
                question.response = response
                question.answered.set()

    async def _wait(self) -> None:
        if self.failure is not None:
            raise self.failure
        self._news = trio.Event()
        await self._news.wait()
