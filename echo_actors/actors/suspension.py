"""Channels that take nothing until somebody resumes them."""

from __future__ import annotations

import attrs
import trio


@attrs.define(eq=False)
class Suspensions:
    """The channels that are suspended in this run of the program; the next one knows nothing of them.

    Attributes:
        reasons: By channel, why.
    """

    reasons: dict[str, str] = attrs.field(factory=dict, init=False)
    _lifted: dict[str, trio.Event] = attrs.field(factory=dict, init=False)

    def suspend(self, channel: str, reason: str) -> bool:
        """Suspend a channel; False when it was suspended before, for whatever reason."""
        if channel in self.reasons:
            return False
        # Who asks a channel for its reason takes an empty one for none.
        self.reasons[channel] = reason or "no reason was given"
        self._lifted[channel] = trio.Event()
        return True

    def lift(self, channel: str) -> bool:
        """Lift a suspension; False when there was none."""
        if self.reasons.pop(channel, None) is None:
            return False
        self._lifted.pop(channel).set()
        return True

    async def over(self, channel: str) -> None:
        """Wait until the channel is not suspended."""
        while (lifted := self._lifted.get(channel)) is not None:
            await lifted.wait()
