"""When a crashed actor runs again: a function of (crash, now), after Erlang's restart intensity.

Backoff doubles from a tenth of a second and is spread by jitter, so that actors that fell together do not rise
together. More crashes than the intensity allows within its period suspend the channel.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

INTENSITY = 5
PERIOD = 30.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0


@attrs.define(eq=False)
class RestartPolicy:
    """One actor's crashes.

    Attributes:
        jitter: Gives a number from 0 up to 1.
    """

    jitter: Callable[[], float]
    _crashes: list[float] = attrs.Factory(list)

    def on_crash(self, now: float) -> float | None:
        """Seconds to wait before the next start; None when the channel is to be suspended."""
        self._crashes = [*(crash for crash in self._crashes if crash > now - PERIOD), now]
        if len(self._crashes) > INTENSITY:
            return None
        delay: float = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (len(self._crashes) - 1))
        return delay * (0.5 + self.jitter() / 2)

    def reset(self) -> None:
        """Forget the crashes; the channel was resumed by a person."""
        self._crashes.clear()
