"""Echo-Core's functions as methods of an object that keeps the engine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import attrs

from echo_actors.claude.environment import ProcessMark, child_environment
from echo_actors.echo_core.conversations import Conversations, Wanted
from echo_actors.echo_core.opening import open_with_old_sessions
from echo_actors.echo_core.place import Place, environment
from echo_actors.errors import EngineClosed, InvalidMessage, SettingsError, TurnFailed
from echo_actors.models import Reply
from echo_actors.personality import build_system_prompt
from echo_actors.portal.thread import TAKEN_WITHIN, Call, EngineThread
from echo_actors.settings import Settings
from echo_actors.state.active_json import Record

T = TypeVar("T")

OnText = Callable[[str], object]

PROMPT = 0.5
"""Seconds that a change of a session is waited for; behind a running turn it goes on by itself."""

_INVOKE = logging.getLogger("echo-core.invoke")
_SECURITY = logging.getLogger("echo-core.security")


@attrs.frozen(eq=False)
class _Opened:
    """An engine that runs, and the process that it runs in."""

    thread: EngineThread
    conversations: Conversations
    pid: int


@attrs.define(eq=False)
class EchoCore:
    """Echo-Core's functions. Any thread may call them; the engine opens when the first call needs it."""

    place: Place = attrs.Factory(Place)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _opened: _Opened | None = attrs.field(default=None, init=False)
    _withheld: tuple[str, ...] = attrs.field(default=(), init=False)

    def configure(self, place: Place) -> None:
        """Say where things are and how the engine is to run, before it opens.

        Raises:
            SettingsError: A setting cannot be used, or the engine is open already.
        """
        place.load(environment())
        self._check_process()
        with self._lock:
            if self._running() is not None:
                raise SettingsError("configure() comes before the first call of another function, or after close()")
            self.place = place

    def close(self) -> None:
        """Let running turns end and close the engine; the next call opens it again."""
        self._check_process()
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.thread.close()
                opened.thread.ended.result()

    # -- Echo-Core's functions

    def build_system_prompt(self) -> str:
        """See ``functions``."""
        settings = self._settings()
        return build_system_prompt(settings.personality_dir or self.place.root / "personality")

    def start_session(
        self, channel_id: str, message: str, model: str, timeout: float | None, on_text: OnText | None
    ) -> tuple[str, str]:
        """See ``functions``."""
        self._settings().check_model(model)
        reply = self._turn(
            lambda all_, wanted: all_.start(channel_id, model, wanted), channel_id, message, timeout, on_text
        )
        return reply.text, reply.session_id

    def resume_session(self, session_id: str, message: str, timeout: float | None, on_text: OnText | None) -> str:
        """See ``functions``."""
        return self._turn(
            lambda all_, wanted: all_.resume(session_id, wanted), f"session {session_id}", message, timeout, on_text
        ).text

    def send_message(
        self, channel_id: str, message: str, model: str, timeout: float | None, on_text: OnText | None
    ) -> str:
        """See ``functions``."""
        self._settings().check_model(model)
        return self._turn(
            lambda all_, wanted: all_.send(channel_id, model, wanted), channel_id, message, timeout, on_text
        ).text

    def clear_session(self, channel_id: str) -> bool:
        """See ``functions``."""
        return self._change(channel_id, lambda all_: all_.clear(channel_id))

    def get_active_session(self, channel_id: str) -> Record | None:
        """See ``functions``."""
        return self._ask(lambda all_: all_.record(channel_id))

    def set_session_model(self, channel_id: str, model: str) -> bool:
        """See ``functions``."""
        self._settings().check_model(model)
        return self._change(channel_id, lambda all_: all_.set_model(channel_id, model))

    def list_sessions(self) -> dict[str, Record]:
        """See ``functions``."""
        return self._ask(Conversations.records)

    # -- turns

    def _turn(
        self,
        run: Callable[[Conversations, Wanted], Awaitable[Reply]],
        channel: str,
        message: str,
        timeout: float | None,
        on_text: OnText | None,
    ) -> Reply:
        seconds = float("inf") if timeout is None else timeout
        if not seconds > 0:
            raise InvalidMessage(f"timeout is a positive number of seconds, not {timeout!r}")
        news: SimpleQueue[str | None] = SimpleQueue()
        wanted = Wanted(text=message, timeout=seconds, tell=news.put)
        opened = self._open()
        self._tell_withheld(opened.conversations.engine.settings)
        call = opened.thread.call(lambda: run(opened.conversations, wanted))
        call.future.add_done_callback(lambda _: news.put(None))
        try:
            while (text := news.get()) is not None:
                _hand_over(text, on_text)
        except BaseException:
            # Ctrl-C: the turn is interrupted.
            call.cancel()
            wait([call.future], TAKEN_WITHIN)
            raise
        return _logged(channel, call.future)

    def _tell_withheld(self, settings: Settings) -> None:
        """Log the names of the variables that the CLI does not get, when they are other ones than before."""
        chosen = child_environment(
            environment(),
            extra=settings.environment,
            passthrough=settings.pass_environment,
            mark=ProcessMark("", ""),
        )
        if chosen.withheld != self._withheld:
            self._withheld = chosen.withheld
            _SECURITY.info("withheld from the CLI's environment: %s", ", ".join(chosen.withheld))

    # -- records and changes

    def _change(self, channel: str, change: Callable[[Conversations], Awaitable[None]]) -> bool:
        """Change a channel's session, if there is one, without waiting for a turn that runs in it."""
        if self.get_active_session(channel) is None:
            return False
        opened = self._open()
        call = opened.thread.call(lambda: change(opened.conversations))
        try:
            call.future.result(PROMPT)
        except NotYet:
            if call.future.done():
                raise
        return True

    def _ask(self, question: Callable[[Conversations], Awaitable[T]]) -> T:
        opened = self._open()
        call: Call[T] = opened.thread.call(lambda: question(opened.conversations))
        return call.future.result()

    # -- the engine

    def _settings(self) -> Settings:
        opened = self._running()
        return self.place.load(environment()) if opened is None else opened.conversations.engine.settings

    def _running(self) -> _Opened | None:
        opened = self._opened
        return opened if opened is not None and not opened.thread.ended.done() else None

    def _check_process(self) -> None:
        # Before the lock: a thread that had it when the process was forked will never give it back.
        opened = self._opened
        if opened is not None and opened.pid != os.getpid():
            raise EngineClosed(
                f"this process was forked from process {opened.pid}, which has the engine; call the functions there, "
                "or start processes by spawning"
            )

    def _open(self) -> _Opened:
        self._check_process()
        if (opened := self._running()) is not None:
            return opened
        with self._lock:
            if (opened := self._running()) is None:
                settings, sessions = self.place.load(environment()), self.place.sessions
                thread = EngineThread(lambda: open_with_old_sessions(settings, sessions))
                thread.start()
                opened = self._opened = _Opened(thread, Conversations(_result(thread)), os.getpid())
        return opened


def _result(thread: EngineThread) -> Any:
    try:
        return thread.opened.result()
    except BaseException:
        thread.close()
        raise


def _hand_over(text: str, on_text: OnText | None) -> None:
    if on_text is None:
        return
    try:
        on_text(text)
    except Exception:
        _INVOKE.exception("on_text failed; the turn goes on")


def _logged(channel: str, future: Future[Reply]) -> Reply:
    """The reply, and a line about it."""
    try:
        reply = future.result()
    except Exception as error:
        outcome = error.outcome.kind.value if isinstance(error, TurnFailed) else type(error).__name__
        _INVOKE.warning("channel=%r %s: %s", channel, outcome, error)
        raise
    _INVOKE.info(
        "channel=%r model=%s duration_ms=%d input_tokens=%d output_tokens=%d session=%s",
        channel,
        reply.model,
        reply.duration_ms,
        reply.usage.input_tokens,
        reply.usage.output_tokens,
        reply.session_id,
    )
    return reply
