"""A function that is called with each event, for programs that would rather not iterate."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from echo_actors.events import Event
from echo_actors.portal.iteration import BlockingEvents


@contextmanager
def listening(
    events: BlockingEvents[Event], callback: Callable[[Event], object], close: Callable[[], object]
) -> Iterator[None]:
    """Call a function with each event, in a thread of its own, for the block; also with those on their way at its end.

    Args:
        events: What to read.
        callback: What it raises goes to ``threading.excepthook``, and does not stop it.
        close: Lets the events end after those that are there.
    """
    thread = threading.Thread(target=_listen, args=(events, callback), name="echo-actors-listener", daemon=True)
    thread.start()
    try:
        yield
    finally:
        close()
        thread.join()


def _listen(events: BlockingEvents[Event], callback: Callable[[Event], object]) -> None:
    for event in events:
        try:
            callback(event)
        except Exception:  # noqa: BLE001 - the next event is none the worse for it
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
