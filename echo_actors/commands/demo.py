"""``echo-actors demo``: a load on an engine with a simulated model, and the proof that nothing was lost."""

from __future__ import annotations

from typing import Annotated, Literal

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.text import Text

from echo_actors.actors.topic import Subscription
from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import marked
from echo_actors.commands.demo_board import Board, show
from echo_actors.commands.demo_figures import Figure, Load, Observed, figures
from echo_actors.commands.demo_stage import Stage, open_stage
from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import ClaudeBin, Model, Running, SettingsFile, loaded
from echo_actors.commands.signals import Ending
from echo_actors.commands.terminal import console, visible
from echo_actors.engine import Engine

_PAGE = 100


async def demo(
    *,
    channels: Annotated[int, Parameter(validator=Number(gte=1))] = 8,
    messages: Annotated[int, Parameter(validator=Number(gte=1))] = 5,
    cli: Literal["real", "scripted"] = "real",
    claude_bin: ClaudeBin = None,
    model: Model = None,
    settings_file: SettingsFile = None,
    ending: Running,
) -> int:
    """Run many channels at once against a simulated model and check every figure; needs no account and no network.

    Args:
        channels: How many channels.
        messages: How many messages each of them gets at once.
        cli: The real Claude CLI, or a script that speaks as it does.
        claude_bin: As the setting.
        model: As the setting.
        settings_file: As everywhere.
        ending: How the command may be ended before its time.
    """
    configured = loaded(settings_file, claude_bin=claude_bin, model=model)
    load = {f"demo-{channel}": _texts(channel, messages) for channel in range(1, channels + 1)}
    async with open_stage(configured, scripted=cli == "scripted", messages=messages) as stage:
        _say(f"{channels} channels x {messages} messages at once, on the {cli} CLI and a simulated model.")
        _say(f"CLI: {visible(str(stage.settings.claude_bin))}")
        observed = await _perform(load, stage, ending)
        found = figures(load, observed)
    return _summarize(found)


def _texts(channel: int, messages: int) -> list[str]:
    return [f"message {number} of channel {channel}" for number in range(1, messages + 1)]


async def _perform(load: Load, stage: Stage, ending: Ending) -> Observed:
    """Give an engine the load and see what becomes of it, until after the engine's end."""
    async with ending.engine(stage.settings) as engine:
        board = Board(list(load), messages=sum(map(len, load.values())))
        async with engine.subscribe() as subscription, trio.open_nursery() as nursery:
            nursery.start_soon(_ask_all, engine, load, subscription)
            await show(board, subscription)
        recorded = await _recorded_usd(engine)
        run_id = engine.status().run_id
    return Observed(
        events=board.events,
        heard=stage.heard(),
        model_usd=stage.cost_usd(),
        recorded_usd=recorded,
        processes_left=len(marked({RUN_VARIABLE: run_id})),
    )


async def _ask_all(engine: Engine, load: Load, subscription: Subscription) -> None:
    """Post everything at once, each channel in its order, and close the subscription when all of it has ended."""

    async def ask(channel: str, texts: list[str]) -> None:
        for receipt in [await engine.post(channel, text) for text in texts]:
            await engine.outcome(receipt.message_id)

    async with trio.open_nursery() as nursery:
        for channel, texts in load.items():
            nursery.start_soon(ask, channel, texts)
    subscription.close()


async def _recorded_usd(engine: Engine) -> float:
    total, after = 0.0, ""
    while page := await engine.sessions(after=after, limit=_PAGE):
        total += sum(snapshot.total_cost_usd for snapshot in page)
        after = page[-1].channel
    return total


def _summarize(found: list[Figure]) -> Exit:
    screen = console()
    screen.print()
    for figure in found:
        mark = Text("wrong" if figure.problem else "ok   ", style="bold red" if figure.problem else "green")
        screen.print(mark + Text(f"  {figure.name:<10} {figure.value}", style="default"), soft_wrap=True)
    wrong = [figure for figure in found if figure.problem]
    for figure in wrong:
        complain(f"the demo failed: {figure.name}: {figure.problem}")
    return Exit.FAILED if wrong else Exit.DONE


def _say(text: str) -> None:
    console().print(text, soft_wrap=True)
