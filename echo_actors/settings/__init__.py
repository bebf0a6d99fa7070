"""The engine's settings: plain values, from code, from ``ECHO_ACTORS_*`` variables and from a file."""

from echo_actors.settings.options import NO_OPTIONS, ChannelOptions, OptionChanges, Policy
from echo_actors.settings.settings import Settings
from echo_actors.settings.sources import PREFIX

__all__ = ["NO_OPTIONS", "PREFIX", "ChannelOptions", "OptionChanges", "Policy", "Settings"]
