"""An answer, and a second one as it comes, in a program of trio."""

# ruff: noqa: D103, INP001, T201 - a script of its own, as short as can be, that prints

import trio
from tryout import tryout_settings

from echo_actors import open_engine


async def main() -> None:
    async with open_engine(tryout_settings()) as engine:
        reply = await engine.ask("discord:42", "Hello!")
        print(reply.text, f"({reply.cost_usd:.6f} USD)")
        async with engine.stream("discord:42", "And once more?") as turn:
            async for event in turn:
                print(type(event).__name__)


trio.run(main)
