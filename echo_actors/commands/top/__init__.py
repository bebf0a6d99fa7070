"""``echo-actors top``: all channels of an engine, live, with keys to steer them."""

from echo_actors.commands.top.command import top

__all__ = ["top"]
