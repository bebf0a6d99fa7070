"""What an earlier run of the program left running: found by the run's mark, and ended."""

from __future__ import annotations

import signal

import trio

from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import Identity, descendants, marked

GRACE = 2.0
"""Seconds between SIGTERM, on which a CLI ends its own tools, and SIGKILL."""

_POLL = 0.05


async def reap_run(run_id: str) -> int:
    """End everything that carries a run's mark, and what it started; give how many processes that were.

    Only for runs that are known to be over: the lock on the state directory tells.
    """
    found = await trio.to_thread.run_sync(_find, run_id)
    for each in found:
        each.send(signal.SIGTERM)
    with trio.move_on_after(GRACE):
        for each in found:
            while each.alive():  # noqa: ASYNC110 - not our children: nothing but a look says that they are gone
                await trio.sleep(_POLL)
    # Looked for again: what was started meanwhile, and what only a second look can see.
    rest = found | await trio.to_thread.run_sync(_find, run_id)
    for each in rest:
        each.send(signal.SIGKILL)
    return len(rest)


def _find(run_id: str) -> set[Identity]:
    own = marked({RUN_VARIABLE: run_id})
    return own | descendants(*(each.pid for each in own))
