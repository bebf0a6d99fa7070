"""What every scenario stands on: the CLI, a model in a process of its own, fresh homes, and rounds that alternate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs

from bench.report import Round
from bench.workplace import Workplace, open_workplace
from echo_actors import Settings

Contender = Callable[[], Awaitable[Round]]
"""Runs once, from nothing to its figures."""


@attrs.frozen(kw_only=True)
class Size:
    """How large a run is to be; None where the scenario shall say.

    Attributes:
        quick: A small run, which says whether a scenario works and not what it reaches.
        full: The run whose figures are published: as large as usual, and repeated more often.
        rounds: How often each contender runs.
        channels: How many channels there are.
        messages: How many messages each channel gets.
        minutes: How long a load is kept up.
    """

    quick: bool = False
    full: bool = False
    rounds: int | None = None
    channels: int | None = None
    messages: int | None = None
    minutes: float | None = None

    def of(self, name: str, *, full: int, quick: int, middle: int | None = None) -> int:
        """The number that was asked for, else the one for this kind of run; a middle one is full if not given."""
        asked: int | None = getattr(self, name)
        if asked is not None:
            return asked
        if self.quick:
            return quick
        return full if self.full or middle is None else middle

    @property
    def load_seconds(self) -> float:
        """How long a load is to be kept up."""
        if self.minutes is not None:
            return self.minutes * 60
        if self.quick:
            return 5.0
        return 600.0 if self.full else 60.0


@attrs.frozen(kw_only=True)
class Harness:
    """Given to each scenario.

    Attributes:
        cli: The CLI that the contenders run.
        model_url: Where the scripted model listens, in a process of its own.
        scripted_cli: A CLI that answers at once and asks no model.
        on_step: Told of each step before it begins: what runs, how many steps are done, and how many there are.
    """

    cli: Path
    model_url: str
    scripted_cli: Path
    size: Size
    on_step: Callable[[str, int, int], None]

    async def alternate(self, contenders: Mapping[str, Contender]) -> dict[str, list[Round]]:
        """Run the contenders in turn, round after round, each round beginning with another one."""
        names = list(contenders)
        rounds = self.size.of("rounds", full=5, quick=1, middle=3)
        results: dict[str, list[Round]] = {name: [] for name in names}
        total = rounds * len(names)
        for number in range(rounds):
            first = number % len(names)
            for place, name in enumerate(names[first:] + names[:first]):
                self.on_step(f"{name}, round {number + 1}", number * len(names) + place, total)
                results[name].append(await contenders[name]())
        self.on_step("done", total, total)
        return results

    def workplace(self) -> AbstractContextManager[Workplace]:
        """A workplace for a block, whose CLIs talk to the scripted model; nothing of it stays."""
        return open_workplace(self.model_url)

    def settings(self, workplace: Workplace, **overrides: Any) -> Settings:
        """Settings for an engine in a workplace: the defaults, but for what would get in a measurement's way."""
        return Settings(
            **{
                "state_dir": workplace.state,
                "working_dir": workplace.work,
                "environment": dict(workplace.environment),
                "claude_bin": self.cli,
                "mailbox_size": 100_000,
                **overrides,
            }
        )
