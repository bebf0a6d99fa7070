"""What an earlier run of the program left running: found by the run's mark, and killed.

The oldest goes first, so that a CLI is gone before its tools are. The other way round it would take a tool's death for
the tool's result, tell the model, and write an answer to that into its transcript.
"""

from __future__ import annotations

import signal

import trio

from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import Identity, descendants, marked

PATIENCE = 5.0
"""Seconds in which a killed process has to be gone; one that the kernel does not let go is left to it."""

_POLL = 0.05


async def reap_run(run_id: str) -> int:
    """Kill everything that carries a run's mark, and what it started; give how many processes that were.

    Only for runs that are known to be over: the lock on the state directory tells.
    """
    killed: set[Identity] = set()
    with trio.move_on_after(PATIENCE):
        while found := await trio.to_thread.run_sync(_kill, run_id):
            killed |= found
            await trio.sleep(_POLL)
    return len(killed)


def _kill(run_id: str) -> set[Identity]:
    """Kill what a look finds, the oldest first."""
    own = marked({RUN_VARIABLE: run_id})
    found = own | descendants(*(each.pid for each in own))
    for each in sorted(found, key=lambda identity: identity.started):
        each.send(signal.SIGKILL)
    return found
