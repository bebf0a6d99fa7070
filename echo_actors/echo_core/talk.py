"""The calling thread's part of a turn: it hands text over, waits for the end, and logs a line about it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import Final

import attrs

from echo_actors.claude.environment import ProcessMark, child_environment
from echo_actors.echo_core.conversations import Answered, Conversations, Wanted
from echo_actors.echo_core.keeper import Opened
from echo_actors.errors import CallTimedOut, InvalidMessage, TurnFailed
from echo_actors.models import Reply
from echo_actors.portal.thread import TAKEN_WITHIN
from echo_actors.settings import Settings

OnText = Callable[[str], object]

_INVOKE: Final = logging.getLogger("echo-core.invoke")
_SESSIONS: Final = logging.getLogger("echo-core.sessions")
_SECURITY: Final = logging.getLogger("echo-core.security")


def wanted(message: str, timeout: float | None, tell: Callable[[str], object]) -> Wanted:
    """A message as a caller gives it.

    Raises:
        InvalidMessage: The timeout is no positive number.
    """
    seconds = math.inf if timeout is None else timeout
    if not seconds > 0:
        raise InvalidMessage(f"timeout is a positive number of seconds, not {timeout!r}")
    return Wanted(text=message, timeout=seconds, tell=tell)


@attrs.define(eq=False)
class Talk:
    """Runs turns in the engine's thread for the thread that calls."""

    _withheld: tuple[str, ...] = attrs.field(default=(), init=False)

    def turn(
        self,
        opened: Opened,
        run: Callable[[Conversations, Wanted], Awaitable[Answered]],
        message: str,
        timeout: float | None,
        on_text: OnText | None,
    ) -> Answered:
        """Run a turn; ``on_text`` gets each text block meanwhile, in this thread.

        However long it takes, the turn does not wait for it.
        """
        news: SimpleQueue[str | None] = SimpleQueue()
        asked = wanted(message, timeout, news.put)
        self._tell_withheld(opened.conversations.engine.settings)
        call = opened.call(lambda conversations: run(conversations, asked))
        call.future.add_done_callback(lambda _: news.put(None))
        try:
            while (text := news.get()) is not None:
                _hand_over(text, on_text)
        except BaseException:
            # Ctrl-C: the turn is interrupted, and that waited for.
            call.cancel()
            wait([call.future], TAKEN_WITHIN)
            raise
        return call.future.result()

    def _tell_withheld(self, settings: Settings) -> None:
        """Log the names of the variables that the CLI does not get, when they are others than the last time."""
        mark = ProcessMark("", "")
        withheld = child_environment(
            os.environ, extra=settings.environment, passthrough=settings.pass_environment, mark=mark
        ).withheld
        if withheld != self._withheld:
            self._withheld = withheld
            _SECURITY.info("withheld from the CLI's environment: %s", ", ".join(withheld))


def logged(shown: str, turn: Callable[[], Answered]) -> Reply:
    """A turn's reply, and a line about the turn.

    Args:
        shown: Stands for the channel of a turn that has no reply.
        turn: Runs it.
    """
    try:
        answered = turn()
    except Exception as error:
        outcome = error.outcome.kind.value if isinstance(error, TurnFailed | CallTimedOut) else type(error).__name__
        _INVOKE.warning("channel=%r outcome=%s reason=%r", shown, outcome, str(error))
        raise
    reply = answered.reply
    _INVOKE.info(
        "channel=%r outcome=answered model=%s duration_ms=%d input_tokens=%d output_tokens=%d session=%s",
        answered.channel,
        reply.model,
        reply.duration_ms,
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.session_id,
    )
    return reply


def _hand_over(text: str, on_text: OnText | None) -> None:
    if on_text is not None:
        try:
            on_text(text)
        except Exception:  # noqa: BLE001 - whatever a caller's function does, its turn goes on
            _INVOKE.exception("on_text failed; the turn goes on")


def settle(change: Future[None], seconds: float) -> None:
    """Wait so long for a change of a session, which then goes on by itself; if that fails, it is logged.

    Raises:
        Exception: What the change raised meanwhile.
    """
    if wait([change], seconds).done:
        change.result()
    else:
        change.add_done_callback(_tell_failure)


def _tell_failure(change: Future[None]) -> None:
    if (error := change.exception()) is not None:
        _SESSIONS.error("a change of a session was not made: %s", error)
