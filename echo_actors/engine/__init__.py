"""The engine: the rooms below it opened in order, closed in reverse, and what a program calls."""

from echo_actors.engine.engine import Engine
from echo_actors.engine.opening import open_engine

__all__ = ["Engine", "open_engine"]
