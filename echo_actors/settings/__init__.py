"""The engine's settings: plain values, from code and from ``ECHO_ACTORS_*`` variables."""

from echo_actors.settings.options import NO_OPTIONS, ChannelOptions, OptionChanges, Policy
from echo_actors.settings.settings import PREFIX, Settings

__all__ = ["NO_OPTIONS", "PREFIX", "ChannelOptions", "OptionChanges", "Policy", "Settings"]
