"""Two channels at once, and a third answer as it comes, in a program with threads: ``open_portal``."""

# ruff: noqa: INP001, T201 - an example is a script of its own that prints

from concurrent.futures import ThreadPoolExecutor

from tryout import tryout_settings

from echo_actors.portal import open_portal

with open_portal(tryout_settings()) as engine, ThreadPoolExecutor() as pool:
    for reply in pool.map(engine.ask, ["discord:1", "discord:2"], ["Hello!", "Good day!"]):
        print(reply.text, f"({reply.cost_usd:.6f} USD)")
    with engine.stream("discord:1", "And once more?") as turn:
        for event in turn:
            print(type(event).__name__)
