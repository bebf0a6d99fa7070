"""Keeps the one engine of a program: opened by the first call that needs it, closed with the program."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs

from echo_actors.echo_core.conversations import Conversations
from echo_actors.echo_core.opening import open_with_old_sessions
from echo_actors.echo_core.place import Place
from echo_actors.errors import EngineClosed, PersonalityError, SettingsError
from echo_actors.personality import build_system_prompt
from echo_actors.portal.thread import Call, EngineThread
from echo_actors.settings import Settings

T = TypeVar("T")


@attrs.frozen(eq=False)
class Opened:
    """An engine that runs.

    Attributes:
        pid: The process that it runs in; a thread does not come along into one that is forked.
    """

    thread: EngineThread
    conversations: Conversations
    pid: int

    def call(self, function: Callable[[Conversations], Awaitable[T]]) -> Call[T]:
        """Have something done in the engine's thread."""
        return self.thread.call(lambda: function(self.conversations))


@attrs.define(eq=False)
class Keeper:
    """Opens and closes. Any thread may call it, one of an event loop too, which then stands still meanwhile."""

    place: Place = attrs.Factory(Place)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _opened: Opened | None = attrs.field(default=None, init=False)

    def configure(self, place: Place) -> None:
        """Say where things are.

        Raises:
            SettingsError: A setting cannot be used, or the engine is open.
        """
        place.load(os.environ)
        self._check_process()
        with self._lock:
            if self._running() is not None:
                raise SettingsError("configure() comes before the first call of another function, or after close()")
            self.place = place

    def settings(self) -> Settings:
        """Those in force, or those that an engine would be opened with now."""
        opened = self._running()
        return self.place.load(os.environ) if opened is None else opened.conversations.engine.settings

    def system_prompt(self) -> str:
        """The system prompt, of the personality folder as it is now.

        Raises:
            FileNotFoundError: There is no such folder, or no text in it.
        """
        try:
            return build_system_prompt(self.settings().personality_dir or self.place.personality)
        except PersonalityError as problem:
            raise FileNotFoundError(str(problem)) from problem

    def opened(self) -> Opened:
        """The engine, opened if need be.

        Raises:
            FileNotFoundError: There is no CLI, or no personality folder.
            EngineClosed: It runs in the process that this one was forked from.
            EchoActorsError: It cannot be opened; the next call tries again.
        """
        self._check_process()
        if (opened := self._running()) is not None:
            return opened
        with self._lock:
            if (opened := self._running()) is None:
                settings, sessions = self.place.load(os.environ), self.place.sessions
                thread = EngineThread(lambda: open_with_old_sessions(settings, sessions))
                thread.start()
                opened = self._opened = Opened(thread, Conversations(_engine_of(thread)), os.getpid())
        return opened

    def close(self) -> None:
        """Let running turns end, and close the engine if it is open."""
        self._check_process()
        with self._lock:
            opened, self._opened = self._opened, None
            if opened is not None:
                opened.thread.close()
                opened.thread.ended.result()

    def _running(self) -> Opened | None:
        opened = self._opened
        return None if opened is None or opened.thread.ended.done() else opened

    def _check_process(self) -> None:
        # Before the lock: a thread that had it when the process was forked will never give it back.
        opened = self._opened
        if opened is not None and opened.pid != os.getpid():
            raise EngineClosed(
                f"this process was forked from process {opened.pid}, which has the engine; call the functions there, "
                "or start processes by spawning them"
            )


def _engine_of(thread: EngineThread) -> Any:
    try:
        return thread.opened.result()
    except PersonalityError as problem:
        # It is a ValueError as well, which for the old functions' callers is a wrong argument.
        raise FileNotFoundError(str(problem)) from problem
    except BaseException:
        # Ctrl-C: the opening is broken off.
        thread.close()
        raise
