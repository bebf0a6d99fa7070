"""``echo-actors chat``: a conversation in the terminal."""

from __future__ import annotations

import sys
import uuid
from typing import Annotated

import attrs
from cyclopts import Parameter, validators

from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import EngineOptions, Running
from echo_actors.commands.reaching import any_engine
from echo_actors.commands.signals import Ending
from echo_actors.commands.stdin import StandardInput
from echo_actors.commands.terminal import harmless, on_terminal, visible, write
from echo_actors.engine import Engine
from echo_actors.engine.intake import check_channel
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.errors import (
    BudgetExceeded,
    ChannelSuspended,
    CLIFailed,
    InvalidMessage,
    MailboxFull,
    TranscriptMissing,
    TurnFailed,
)
from echo_actors.events import BlockFinished, Event, Lagged, TextDelta, ToolStarted
from echo_actors.history import HistoryRole

_PROMPT = "> "
_SHOWN = 6


async def chat(
    channel: str,
    /,
    *,
    history: Annotated[int | None, Parameter(validator=validators.Number(gte=0))] = None,
    options: EngineOptions | None = None,
    ending: Running,
) -> int:
    """Talk with a channel. Ctrl-C interrupts an answer, a second one leaves; so does the end of input.

    The engine that runs on the state directory answers, or else one for this conversation.

    Args:
        channel: The conversation, any name.
        history: How many of the last messages and answers to show first; by default six in a terminal, else none.
        options: The settings that every engine takes.
        ending: How the command may be ended before its time.
    """
    options = options or EngineOptions()
    check_channel(channel)
    keyboard = StandardInput()
    async with any_engine(options, ending) as engine:
        if options.model is not None:
            await engine.set_model(channel, options.model)
        await _show_last(engine, channel, (_SHOWN if on_terminal() else 0) if history is None else history)
        while (text := await _line(keyboard)) is not None:
            if not text.strip():
                continue
            try:
                await _turn(engine, channel, text, ending)
            except (TurnFailed, BudgetExceeded, InvalidMessage, MailboxFull, ChannelSuspended) as problem:
                complain(str(problem))
    return Exit.DONE


async def _show_last(engine: Engine | RemoteEngine, channel: str, count: int) -> None:
    """Show the end of what was said; without it, one can talk all the same."""
    if count == 0:
        return
    try:
        found = await engine.history(channel, limit=count)
    except (TranscriptMissing, CLIFailed) as problem:
        complain(str(problem))
        return
    if found.earlier is not None:
        write("[there is more: see `echo-actors history`]\n")
    for entry in found.entries:
        if entry.role is HistoryRole.USER:
            author = f"{visible(entry.author.name)}: " if entry.author is not None else ""
            write(f"{_PROMPT}{author}{harmless(entry.text)}\n")
        elif entry.text:
            write(f"{harmless(entry.text)}\n")


async def _line(keyboard: StandardInput) -> str | None:
    if keyboard.is_terminal:
        write(_PROMPT)
    line = await keyboard.line()
    return None if line is None else line.decode(errors="replace")


async def _turn(engine: Engine | RemoteEngine, channel: str, text: str, ending: Ending) -> None:
    message_id = uuid.uuid4()
    answer = _Answer()
    with ending.interruptible() as block:
        async with engine.stream(channel, text, message_id=message_id) as stream:
            async for event in stream:
                answer.show(event)
    answer.end_line()
    if block.cancelled_caught:
        sys.stderr.write("[interrupting; Ctrl-C again leaves]\n")
        # Leaving the stream withdrew the message; its end is waited for, so that the channel is free again.
        outcome = await engine.outcome(message_id)
        complain(f"interrupted: {outcome.kind.value}")
        return
    reply = stream.reply
    if answer.lost:
        write(f"[parts were lost on the way to the screen; the whole answer:]\n{harmless(reply.text)}\n")


@attrs.define(eq=False)
class _Answer:
    """Writes an answer as it comes.

    Attributes:
        lost: Parts of it did not arrive here.
    """

    lost: bool = False
    _streamed: bool = False
    _line_open: bool = False

    def show(self, event: Event) -> None:
        """Write what the event brings."""
        match event:
            case TextDelta():
                self._streamed = True
                self._write(event.text)
            case BlockFinished() if event.block.kind == "text":
                if not self._streamed:
                    self._write(event.block.text)
                self._streamed = False
                self.end_line()
            case ToolStarted():
                self.end_line()
                sys.stderr.write(f"[{visible(event.tool)}]\n")
            case Lagged():
                self.lost = True

    def end_line(self) -> None:
        """Begin a new line, if the last one has not ended."""
        if self._line_open:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            write(harmless(text))
            self._line_open = not text.endswith("\n")
