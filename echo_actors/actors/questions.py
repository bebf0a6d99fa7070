"""The permission questions of one turn: who is asked, until when, and what else ends them.

The first of these ends a question: an answer, its deadline, the CLI that takes it back, the end of the turn. Its end
is announced once. Whoever is asked runs beside the turn and cannot hold it up.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import attrs
import trio

from echo_actors.actors.batch import Batch
from echo_actors.actors.services import PermissionCallback, Services, Spawn
from echo_actors.events import Event, PermissionAnswered, PermissionAsked
from echo_actors.models import Allow, Answer, AnsweredBy, Deny, Trust

MOST_OPEN = 50
"""How many questions of one turn may be open. A conversation puts one at a time, each of its sub-agents another."""


_UNDECIDED = "Whether this tool may be used could not be decided, so it may not."


def _do_nothing(*_: object) -> None:
    """What a turn that has ended does about its questions."""


@attrs.define(eq=False)
class _Question:
    asked: PermissionAsked
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    open: bool = True


@attrs.define(eq=False)
class Questions:
    """Takes a turn's questions from the CLI, and its answers to it.

    Attributes:
        batch: The turn's messages.
        publish: Takes the events.
        spawn: Runs a function beside the turn.
    """

    services: Services
    batch: Batch
    publish: Callable[[Event], None]
    spawn: Spawn
    _on_change: Callable[[], None] = attrs.field(default=_do_nothing, init=False)
    _on_interrupt: Callable[[str], None] = attrs.field(default=_do_nothing, init=False)
    _open: dict[str, _Question] = attrs.field(factory=dict, init=False)
    _ended: str = attrs.field(default="", init=False)

    @property
    def any_open(self) -> bool:
        """Whether the CLI waits for an answer."""
        return bool(self._open)

    @contextmanager
    def during_turn(self, on_change: Callable[[], None], on_interrupt: Callable[[str], None]) -> Iterator[None]:
        """Put questions for the block; those that are open at its end are denied.

        Args:
            on_change: Called whenever a question was put, or is over.
            on_interrupt: Called with the reason when an answer ends the turn.
        """
        self._on_change, self._on_interrupt = on_change, on_interrupt
        try:
            yield
        finally:
            self.end("Nobody is asked any more: the turn has ended.")
            # Both belong to whoever holds this: a circle that every turn would leave to the garbage collector.
            self._on_change = self._on_interrupt = _do_nothing

    def ask(self, asked: PermissionAsked) -> None:
        """Put a question of the CLI's to whoever may answer it."""
        if asked.request_id in self._open:
            return  # said twice
        asked = self._for_people(asked)
        # It was made for this publication, which fills in its time and cursor: the callback gets the same.
        self.publish(asked)
        question = self._open[asked.request_id] = _Question(asked)
        if self._ended:
            self._close(question, Deny(message=self._ended), AnsweredBy.WITHDRAWN)
        elif len(self._open) > MOST_OPEN:
            self._close(question, Deny(message="Too many uses of tools wait to be allowed."), AnsweredBy.LIMIT)
        else:
            self._on_change()
            self.spawn(lambda: self._await_answer(question))

    def answer(self, request_id: str, answer: Answer) -> bool:
        """Answer a question; False when it is over, or there is none of this name.

        Raises:
            InvalidAnswer: It cannot be given as it is. The question stays open.
        """
        question = self._open.get(request_id)
        return question is not None and self._close(question, answer, AnsweredBy.CALL)

    def withdraw(self, request_id: str) -> None:
        """The CLI has taken a question back."""
        question = self._open.get(request_id)
        if question is not None:
            self._announce_end(question, Deny(message=""), AnsweredBy.WITHDRAWN)

    def end(self, reason: str) -> None:
        """Nobody is to be asked any more; the CLI is told so, should it still care."""
        self._ended = self._ended or reason
        for question in list(self._open.values()):
            self._close(question, Deny(message=self._ended), AnsweredBy.WITHDRAWN)

    # -- within

    def _for_people(self, asked: PermissionAsked) -> PermissionAsked:
        """The question with what those who decide need to know besides."""
        timeout = self.services.settings.permission_timeout
        messages = [entry.message for entry in self.batch.entries]
        return attrs.evolve(
            asked,
            deadline=None if math.isinf(timeout) else self.services.now() + timedelta(seconds=timeout),
            trust=max((message.trust for message in messages), key=list(Trust).index, default=Trust.EXTERNAL),
            authors=tuple(message.author for message in messages),
        )

    async def _await_answer(self, question: _Question) -> None:
        timeout = self.services.settings.permission_timeout
        question.scope.deadline = trio.current_time() + timeout
        with question.scope:
            if self.services.permissions is None:
                await trio.sleep_forever()
            else:
                await self._call_back(self.services.permissions, question)
        if question.open:
            reason = f"Nobody said within {timeout:g} s that this tool may be used, so it may not."
            self._close(question, Deny(message=reason), AnsweredBy.DEADLINE)

    async def _call_back(self, callback: PermissionCallback, question: _Question) -> None:
        """Ask the callback. One that fails, or whose answer cannot be given, denies."""
        try:
            given = callback(question.asked)
            answer = await given if inspect.isawaitable(given) else given
            if question.open:
                self._close(question, answer, AnsweredBy.CALLBACK)
        except Exception as error:  # noqa: BLE001 - whatever a foreign function raises, the turn goes on
            reason = f"{type(error).__name__}: {error}"
            self.services.record("permission.callback_failed", channel=question.asked.channel, reason=reason)
            if question.open:
                self._close(question, Deny(message=_UNDECIDED), AnsweredBy.CALLBACK)

    def _close(self, question: _Question, answer: Answer, by: AnsweredBy) -> bool:
        """End a question with an answer for the CLI; gives whether the CLI takes it."""
        taken = self.services.driver.answer_permission(question.asked, answer)
        self._announce_end(question, answer, by if taken else AnsweredBy.WITHDRAWN)
        if taken and isinstance(answer, Deny) and answer.interrupt:
            self._on_interrupt(f"the use of {question.asked.tool} was denied: {answer.message}")
        return taken

    def _announce_end(self, question: _Question, answer: Answer, by: AnsweredBy) -> None:
        asked = question.asked
        del self._open[asked.request_id]
        question.open = False
        question.scope.cancel()
        self.publish(
            PermissionAnswered(
                channel=asked.channel,
                turn_id=asked.turn_id,
                request_id=asked.request_id,
                tool=asked.tool,
                allowed=isinstance(answer, Allow) and by is not AnsweredBy.WITHDRAWN,
                message=answer.message if isinstance(answer, Deny) else "",
                by=by,
            )
        )
        self._on_change()
