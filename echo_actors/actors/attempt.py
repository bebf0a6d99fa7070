"""One attempt at a turn: the driver under a cancel scope whose deadline is the next clock's.

Whoever wants the attempt to end says so once, with a reason; the attempt's verdict names that reason, or the clock
that ran out, or what the CLI said. A result that came all the same is taken: an answer is an answer.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from echo_actors.actors.clocks import TurnClocks
from echo_actors.actors.questions import Questions
from echo_actors.actors.verdict import Stop, Verdict
from echo_actors.claude.driver import Driver, Phase, SessionLost, TurnRequest, TurnResult
from echo_actors.errors import CLIFailed, CLINotFound
from echo_actors.events import (
    BlockFinished,
    Event,
    PermissionAnswered,
    PermissionAsked,
    Retrying,
    TextDelta,
    ToolStarted,
)
from echo_actors.models import Clock, OutcomeKind

_OUTPUT = (TextDelta, BlockFinished, ToolStarted)
"""Of these, the first tells that the model has said or done something."""


@attrs.define(eq=False)
class Attempt:
    """Runs one request; it is the driver's listener meanwhile.

    Attributes:
        publish: Takes the turn's events.
        interrupt_grace: Seconds that a turn has to end by itself after an interrupt.
        on_running: Called when the CLI has begun the message.
        questions: The turn's permission questions.
        exit_code: Of a CLI that ended without a result; None for one that never ran.
        begun: The uuids of the messages that the CLI has begun.
    """

    driver: Driver
    request: TurnRequest
    clocks: TurnClocks
    publish: Callable[[Event], None]
    interrupt_grace: float
    on_running: Callable[[], None]
    questions: Questions
    phase: Phase | None = None
    exit_code: int | None = None
    begun: set[str] = attrs.Factory(set)
    _started: float = 0.0
    _first_output: float | None = None
    _stop: Stop | None = None
    _held_up: str = ""
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _grace_ends: float | None = None
    _last_word: TurnResult | None = None

    async def run(self) -> Verdict:
        """Run the request to its end, whatever that is. Cancellation from outside passes through."""
        self._started = trio.current_time()
        with self.questions.during_turn(self._on_questions, self._on_denial):
            verdict = await self._run()
        return verdict if self._first_output is None else attrs.evolve(verdict, first_output=self._first_output)

    async def _run(self) -> Verdict:
        self.clocks.wait(trio.current_time())
        self._set_deadline()
        try:
            with self._scope:
                return self._judge(await self.driver.run_turn(self.request, self))
        except SessionLost as error:
            return Verdict(kind=OutcomeKind.FAILED, reason=str(error), error="session_lost", lost_session=True)
        except CLINotFound as error:
            return Verdict(kind=OutcomeKind.FAILED, reason=str(error), error="cli_not_found")
        except CLIFailed as error:
            self.exit_code = error.exit_code
            return self._stopped() or Verdict(kind=OutcomeKind.FAILED, reason=str(error), error="cli_failed")
        return self._with_last_word(self._stopped() or self._timed_out())

    def _timed_out(self) -> Verdict:
        clock = self.clocks.expired(trio.current_time()) or Clock.TOTAL
        reason = f"the {clock.value} clock ran out after {self.clocks.timeouts[clock]:g} s{self._held_up}"
        kind = OutcomeKind.EXPIRED if clock is Clock.QUEUE else OutcomeKind.TIMED_OUT
        return Verdict(kind=kind, reason=reason, clock=clock)

    def stop(self, stop: Stop, *, now: bool = False) -> None:
        """Ask for the end: by an interrupt, and if that does not help in time, by force.

        Args:
            stop: Why; the first one given counts.
            now: Use force at once.
        """
        if self._stop is None:
            self._stop = stop
            if not now:
                self.driver.interrupt(self.request.channel)
                self.questions.end("Nobody is asked any more: the turn is to end.")
        self._grace_ends = trio.current_time() + (0 if now else self.interrupt_grace)
        self._set_deadline()

    # -- the driver's listener

    def on_phase(self, phase: Phase) -> None:
        """Let the phase's clocks run."""
        if self._scope.cancel_called:
            return
        self.phase = phase
        self._held_up = self._held_up if phase is Phase.STARTING else ""
        self.clocks.on_phase(phase, trio.current_time())
        self._set_deadline()
        if phase is Phase.RUNNING:
            self.on_running()

    def on_begun(self, uuid: str) -> None:
        """Know which messages the CLI has begun: the others can still be given back."""
        self.begun.add(uuid)

    def on_life(self) -> None:
        """Start the idle clock again."""
        # Once the end is decided, what the CLI still says on its way out changes no clock: the verdict names the one.
        if not self._scope.cancel_called and self.clocks.on_life(trio.current_time()):
            self._set_deadline()

    def on_event(self, event: Event) -> None:
        """Pass an event on, a question to those who answer; what a start waits for is told if the wait is too long."""
        if isinstance(event, PermissionAsked):
            self.questions.ask(event)
        elif isinstance(event, PermissionAnswered):
            self.questions.withdraw(event.request_id)
        else:
            if isinstance(event, Retrying):
                self._held_up = f": {event.reason}"
            elif self._first_output is None and isinstance(event, _OUTPUT):
                self._first_output = trio.current_time() - self._started
            self.publish(event)

    def on_last_word(self, result: TurnResult) -> None:
        """Know what the CLI said when it was made to end."""
        self._last_word = result

    # -- within

    def _with_last_word(self, verdict: Verdict) -> Verdict:
        """The verdict on a turn that was cut, with what the CLI said at its end: that was paid for."""
        said = self._last_word
        if said is None or (said.error is not None and not said.spent.cost_usd):
            return verdict
        return self._judge(said) if said.error is None else attrs.evolve(verdict, result=said)

    def _on_denial(self, reason: str) -> None:
        self.stop(Stop(OutcomeKind.CANCELLED, reason))

    def _on_questions(self) -> None:
        if not self._scope.cancel_called:
            self.clocks.on_asking(trio.current_time(), asking=self.questions.any_open)
            self._set_deadline()

    def _set_deadline(self) -> None:
        deadline = self.clocks.deadline()
        self._scope.deadline = deadline if self._grace_ends is None else min(deadline, self._grace_ends)

    def _stopped(self) -> Verdict | None:
        return None if self._stop is None else Verdict(kind=self._stop.kind, reason=self._stop.reason)

    def _judge(self, result: TurnResult) -> Verdict:
        if result.error is None:
            return Verdict(kind=OutcomeKind.ANSWERED, result=result)
        if self._stop is not None:
            return Verdict(kind=self._stop.kind, reason=self._stop.reason, result=result)
        return Verdict(kind=OutcomeKind.FAILED, reason=result.reason, error=result.error, result=result)
