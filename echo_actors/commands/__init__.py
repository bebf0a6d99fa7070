"""The ``echo-actors`` command, one module per subcommand."""

from echo_actors.commands.app import main

__all__ = ["main"]
