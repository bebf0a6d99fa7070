"""The engine's settings: plain values, from code and from ``ECHO_ACTORS_*`` variables."""

from echo_actors.settings.settings import PREFIX, Settings

__all__ = ["PREFIX", "Settings"]
