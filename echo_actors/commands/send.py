"""``echo-actors send``: one message, one reply."""

from __future__ import annotations

from typing import Annotated

import attrs
import orjson
from cyclopts import Parameter

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import EngineOptions, Running
from echo_actors.commands.reaching import any_engine
from echo_actors.commands.stdin import StandardInput
from echo_actors.commands.terminal import harmless, write
from echo_actors.errors import InvalidMessage
from echo_actors.models import Author, Reply, Trust

_FROM_STDIN = "-"


async def send(
    channel: str,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    json: Annotated[bool, Parameter(negative=())] = False,
    message_id: str | None = None,
    author: str | None = None,
    trust: Trust = Trust.MEMBER,
    options: EngineOptions | None = None,
    ending: Running,
) -> int:
    """Send one message and print the reply, by the engine that runs on the state directory, or else by one for this.

    Args:
        channel: The conversation, any name.
        text: The message; `-` reads it from standard input.
        json: Print the whole reply as JSON.
        message_id: A UUID: the same one again gives the same reply and asks nobody.
        author: Who says it; the text is then fenced.
        trust: How far the author is trusted.
        options: The settings that every engine takes.
        ending: How the command may be ended before its time.
    """
    options = options or EngineOptions()
    if text == _FROM_STDIN:
        text = await _standard_input()
    async with any_engine(options, ending) as engine:
        if options.model is not None:
            await engine.set_model(channel, options.model)
        reply = await engine.ask(
            channel, text, message_id=message_id, author=Author(author) if author else None, trust=trust
        )
    write(_as_json(reply) if json else harmless(reply.text) + "\n")
    return Exit.DONE


async def _standard_input() -> str:
    try:
        return (await StandardInput().everything()).decode().rstrip("\n")
    except UnicodeDecodeError as problem:
        raise InvalidMessage(f"standard input is not UTF-8: byte {problem.start} cannot be decoded") from problem


def _as_json(reply: Reply) -> str:
    return orjson.dumps(attrs.asdict(reply), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
