"""The engine that runs in another program of the same user: its calls, over the socket in its state directory.

Type checkers and editors read the stub beside this module, which ``tests/portal_stub.py`` makes from ``Engine``.
"""

from __future__ import annotations

import attrs

from echo_actors.control.client import Client, remote
from echo_actors.control.protocol import Hello
from echo_actors.engine.engine import Engine
from echo_actors.engine.remote_stream import events_of


@remote(Engine, events_of)
@attrs.frozen(eq=False)
class RemoteEngine:
    """An engine in another program. Its calls are those of ``Engine``, but ``drain`` and ``settings``; all wait.

    To cancel a call cancels it over there. A call raises what it raises there, ``EngineClosed`` when the engine has
    gone, and ``ControlError`` for arguments that are none of its.
    """

    client: Client

    @property
    def hello(self) -> Hello:
        """What is known of the engine."""
        return self.client.hello
