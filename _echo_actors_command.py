"""Begins the ``echo-actors`` command: until all that it needs is imported, Ctrl-C ends it without a traceback.

It is beside the package, because nothing in the package can run before the engine is imported, which takes longest.
"""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130
"""As in the exit codes of the command, which are not imported yet."""


def main() -> int:
    """Import the command and run it; give its exit code."""
    # Whoever started this program with the signal ignored, as nohup does, wants it to stay so.
    taken = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if taken:
        # At once: an exception would come out of whatever is being imported, and some of that may handle it.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from echo_actors.commands import main as command  # noqa: PLC0415 - this is what takes long

    if taken:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return command()
