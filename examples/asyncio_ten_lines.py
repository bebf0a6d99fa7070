"""Two channels at once, and a third answer as it comes, in a program of asyncio: ``open_async_portal``."""

# ruff: noqa: D103, INP001, T201 - a script of its own, as short as can be, that prints

import asyncio

from tryout import tryout_settings

from echo_actors.portal import open_async_portal


async def main() -> None:
    async with open_async_portal(tryout_settings()) as engine:
        for reply in await asyncio.gather(engine.ask("discord:1", "Hello!"), engine.ask("discord:2", "Good day!")):
            print(reply.text, f"({reply.cost_usd:.6f} USD)")
        async with engine.stream("discord:1", "And once more?") as turn:
            async for event in turn:
                print(type(event).__name__)


asyncio.run(main())
