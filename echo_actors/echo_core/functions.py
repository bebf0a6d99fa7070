"""Echo-Core's functions: names, arguments and results as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from echo_actors.echo_core.core import EchoCore, OnText
from echo_actors.echo_core.place import Place
from echo_actors.state.active_json import Record

_CORE: Final = EchoCore()
"""The one piece of state that belongs to the module: its functions take no object that could have it."""


def configure(
    root: str | Path = ".",
    *,
    config_file: str | Path | None = None,
    sessions_file: str | Path | None = None,
    **settings: Any,
) -> None:
    """Say where things are and how the engine is to run. Comes before the first call of another function.

    Args:
        root: The folder with ``personality/``, ``config.json`` and ``sessions/active.json``; the CLI works in it, and
            the engine keeps its state in ``state/`` there. The program's working directory by default.
        config_file: In place of ``config.json`` there.
        sessions_file: In place of ``sessions/active.json`` there.
        **settings: Settings of the engine, by name; see ``Settings``.

    Raises:
        SettingsError: A setting cannot be used, or the engine is open already. A ValueError.
    """
    _CORE.configure(
        Place(
            Path(root),
            None if config_file is None else Path(config_file),
            None if sessions_file is None else Path(sessions_file),
            settings,
        )
    )


def close() -> None:
    """Let running turns end, and close the engine; the next call opens it again.

    Needless at the end of a program, which does the same. After it, ``configure`` may be called, and another program
    may have the state directory.
    """
    _CORE.close()


def build_system_prompt() -> str:
    """The files of the personality folder and the section on security, as one text.

    Raises:
        FileNotFoundError: There is no such folder, or nothing in it; the text names it.
    """
    return _CORE.build_system_prompt()


def start_session(
    channel_id: str,
    message: str,
    model: str = "sonnet",
    timeout: float | None = 300,  # noqa: ASYNC109 - Echo-Core's name
    on_text: OnText | None = None,
) -> tuple[str, str]:
    """Begin a new session in the channel, whatever it had; the old one is forgotten as soon as its turn has ended.

    Args and errors are those of ``send_message``.

    Returns:
        The answer, and the id of the session.
    """
    return _CORE.start_session(channel_id, message, model, timeout, on_text)


def resume_session(
    session_id: str,
    message: str,
    timeout: float | None = 300,
    on_text: OnText | None = None,
) -> str:
    """Say something in a session, also in one that no channel has; that one is then listed as channel ``session:ID``.

    A session whose transcript is gone goes on as a new one. Args and errors are those of ``send_message``.

    Raises:
        ValueError: The id is no UUID.
    """
    return _CORE.resume_session(session_id, message, timeout, on_text)


def send_message(
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
        model: Of a session that begins with this; one that goes on keeps its own.
        timeout: Seconds for the turn, its start included. To wait for the channel's turns before it is not counted,
            and limited by the setting ``queue_timeout``. None is without limit.
        on_text: Called with each text block as it arrives, in the thread that called this function. An exception that
            it raises is logged; a slow one delays the return, and never the turn.

    Returns:
        The text blocks of the answer, joined by blank lines.

    Raises:
        ValueError: The model is none of the setting ``models``, or the message cannot be one.
        FileNotFoundError: There is no CLI, or no personality folder.
        TimeoutError: The turn took too long; it was ended.
        RuntimeError: There is no answer for another reason, which the text says.
    """
    return _CORE.send_message(channel_id, message, model, timeout, on_text)


def clear_session(channel_id: str) -> bool:
    """Forget the channel's session; True if there was one. A turn that runs ends first, which is not waited for."""
    return _CORE.clear_session(channel_id)


def get_active_session(channel_id: str) -> Record | None:
    """The record of the channel's session, or None."""
    return _CORE.get_active_session(channel_id)


def set_session_model(channel_id: str, model: str) -> bool:
    """Choose the model of the channel's session from its next turn on; True if there is a session.

    Raises:
        ValueError: The model is none of the setting ``models``.
    """
    return _CORE.set_session_model(channel_id, model)


def list_sessions() -> dict[str, Record]:
    """The records of all sessions, by channel."""
    return _CORE.list_sessions()
