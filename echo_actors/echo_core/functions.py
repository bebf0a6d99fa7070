"""Echo-Core's functions, on the one engine of the program."""

from __future__ import annotations

from typing import Final

from echo_actors.echo_core.core import EchoCore

_CORE: Final = EchoCore()
"""The one state that belongs to a module here: the old functions take no object that could have it."""

build_system_prompt = _CORE.build_system_prompt
clear_session = _CORE.clear_session
close = _CORE.close
configure = _CORE.configure
get_active_session = _CORE.get_active_session
list_sessions = _CORE.list_sessions
resume_session = _CORE.resume_session
send_message = _CORE.send_message
set_session_model = _CORE.set_session_model
start_session = _CORE.start_session
