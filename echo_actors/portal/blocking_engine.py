"""The engine for programs with threads: every call of it, as one that blocks.

Type checkers and editors read the stub beside this module, which ``tests/portal_stub.py`` makes from ``Engine``.
"""

from __future__ import annotations

from echo_actors.engine import Engine
from echo_actors.portal.blocking import WAYS, Blocking
from echo_actors.shape import carried


@carried(Engine, WAYS)
class BlockingEngine(Blocking):
    """An engine in a thread of its own. Its calls are those of ``Engine``; any thread may make them, and waits.

    A call that Ctrl-C breaks off is cancelled as its async original: ``ask`` then withdraws the message, or interrupts
    its turn. Context managers and iterators are plain ones.
    """
