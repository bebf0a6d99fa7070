"""Echo-Core's session manager, on the engine: its functions, for any thread.

Import this in place of the old module::

    from echo_actors import echo_core

    text, session_id = echo_core.start_session("discord:42", "Hello!")
    text = echo_core.send_message("discord:42", "And now?", on_text=print)

The engine opens with the first call that needs it, in a thread of its own, and closes when the program ends. See
docs/echo-core.md for what changes.
"""

from echo_actors.echo_core.external import wrap_external
from echo_actors.echo_core.functions import (
    build_system_prompt,
    clear_session,
    close,
    configure,
    get_active_session,
    list_sessions,
    resume_session,
    send_message,
    set_session_model,
    start_session,
)

__all__ = [
    "build_system_prompt",
    "clear_session",
    "close",
    "configure",
    "get_active_session",
    "list_sessions",
    "resume_session",
    "send_message",
    "set_session_model",
    "start_session",
    "wrap_external",
]
