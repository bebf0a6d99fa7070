"""Echo-Core's functions as methods: names, arguments and results as they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import attrs

from echo_actors.echo_core.conversations import Answered, Conversations, Wanted
from echo_actors.echo_core.keeper import Keeper
from echo_actors.echo_core.place import Place
from echo_actors.echo_core.talk import OnText, Talk, logged, settle
from echo_actors.models import Reply
from echo_actors.state.active_json import Record

PATIENCE: Final = 0.5
"""Seconds that a change of a session is waited for. Behind a turn that runs it takes longer, and goes on by itself."""


@attrs.define(eq=False)
class EchoCore:
    """The functions, on one engine. Any thread may call them; the engine opens when the first call needs it."""

    _keeper: Keeper = attrs.field(factory=Keeper, init=False)
    _talk: Talk = attrs.field(factory=Talk, init=False)

    def configure(
        self,
        root: str | Path = ".",
        *,
        config_file: str | Path | None = None,
        sessions_file: str | Path | None = None,
        **settings: Any,
    ) -> None:
        """Say where things are and how the engine is to run; before the first call of another function.

        Args:
            root: The folder with ``personality/``, ``config.json`` and ``sessions/active.json``; the CLI works in it,
                and the engine keeps its state in ``state/`` there. The program's working directory by default.
            config_file: In place of ``config.json`` there.
            sessions_file: In place of ``sessions/active.json`` there.
            **settings: Settings of the engine, by name; see ``Settings``.

        Raises:
            SettingsError: A setting cannot be used, or the engine is open already. A ValueError.
        """
        config = None if config_file is None else Path(config_file)
        sessions = None if sessions_file is None else Path(sessions_file)
        self._keeper.configure(Place(Path(root), config, sessions, settings))

    def close(self) -> None:
        """Let running turns end, and close the engine; the next call opens it again.

        Needless at the end of a program, which does the same. Afterwards ``configure`` may be called, and another
        program may have the state directory.
        """
        self._keeper.close()

    def build_system_prompt(self) -> str:
        """The files of the personality folder and the section on security, as one text.

        Raises:
            FileNotFoundError: There is no such folder, or no text in it; the error names it.
        """
        return self._keeper.system_prompt()

    def start_session(
        self,
        channel_id: str,
        message: str,
        model: str = "sonnet",
        timeout: float | None = 300,
        on_text: OnText | None = None,
    ) -> tuple[str, str]:
        """Begin a new session in the channel; the one that it has is forgotten, once its running turn has ended.

        Arguments and errors are those of ``send_message``.

        Returns:
            The answer, and the id of the session.
        """
        self._keeper.settings().check_model(model)
        reply = self._turn(
            channel_id, lambda all_, wanted: all_.start(channel_id, model, wanted), message, timeout, on_text
        )
        return reply.text, reply.session_id

    def resume_session(
        self, session_id: str, message: str, timeout: float | None = 300, on_text: OnText | None = None
    ) -> str:
        """Say something in a session; in one that no channel has, too: it is then listed as channel ``session:ID``.

        A session whose transcript is gone goes on as a new one. Arguments and errors are those of ``send_message``.

        Raises:
            ValueError: The id is no UUID.
        """
        return self._turn(
            f"session:{session_id}", lambda all_, wanted: all_.resume(session_id, wanted), message, timeout, on_text
        ).text

    def send_message(
        self,
        channel_id: str,
        message: str,
        model: str = "sonnet",
        timeout: float | None = 300,
        on_text: OnText | None = None,
    ) -> str:
        """Say something in the channel's session, or begin one.

        Args:
            channel_id: The conversation's key, any text.
            message: What is said.
            model: Of a session that begins with this message; one that goes on keeps its own.
            timeout: Seconds for the turn, the start of a process included. The wait for the channel's turns before it
                is not counted; the setting ``queue_timeout`` limits it. None is without limit.
            on_text: Called with each text block as it arrives, in the thread that called this function. What it raises
                is logged. A slow one delays the return, never the turn.

        Returns:
            The text blocks of the answer, joined by blank lines.

        Raises:
            ValueError: The model is none of the setting ``models``, or the message cannot be one.
            FileNotFoundError: There is no CLI, or no personality folder.
            TimeoutError: The turn took too long and was ended.
            RuntimeError: There is no answer for another reason, which the text says.
        """
        self._keeper.settings().check_model(model)
        return self._turn(
            channel_id, lambda all_, wanted: all_.send(channel_id, model, wanted), message, timeout, on_text
        ).text

    def clear_session(self, channel_id: str) -> bool:
        """Forget the channel's session; True if there was one. A turn that runs ends first, and is not waited for."""
        return self._change(channel_id, lambda all_: all_.clear(channel_id))

    def get_active_session(self, channel_id: str) -> Record | None:
        """The record of the channel's session; None if there is none."""
        return self._keeper.opened().call(lambda all_: all_.record(channel_id)).future.result()

    def set_session_model(self, channel_id: str, model: str) -> bool:
        """Choose the model of the channel's session from its next turn on; True if there is a session.

        Raises:
            ValueError: The model is none of the setting ``models``.
        """
        self._keeper.settings().check_model(model)
        return self._change(channel_id, lambda all_: all_.set_model(channel_id, model))

    def list_sessions(self) -> dict[str, Record]:
        """The records of all sessions, by channel."""
        return self._keeper.opened().call(Conversations.records).future.result()

    def _turn(
        self,
        shown: str,
        run: Callable[[Conversations, Wanted], Awaitable[Answered]],
        message: str,
        timeout: float | None,
        on_text: OnText | None,
    ) -> Reply:
        return logged(shown, lambda: self._talk.turn(self._keeper.opened(), run, message, timeout, on_text))

    def _change(self, channel_id: str, change: Callable[[Conversations], Awaitable[None]]) -> bool:
        if self.get_active_session(channel_id) is None:
            return False
        settle(self._keeper.opened().call(change).future, PATIENCE)
        return True
