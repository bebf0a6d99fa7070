"""The settings that hold in a channel, and for a level of trust in it: options and policies over the engine's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from echo_actors.models import Trust
from echo_actors.settings.forms import checked_names
from echo_actors.settings.options import NO_OPTIONS, ChannelOptions, OptionChanges, Policy, models_of
from echo_actors.settings.settings import Settings

SAFE: Final[Mapping[Trust, Policy]] = {
    Trust.EXTERNAL: Policy(permission_mode="default", available_tools=(), allowed_tools=(), mcp_servers={}),
}
"""What holds for a level of trust as long as nobody says otherwise, field by field: strangers can only talk."""


def in_channel(settings: Settings, channel: str, options: ChannelOptions = NO_OPTIONS) -> Settings:
    """The settings as they hold in a channel: what was set live, over the setting ``channels``, over the others.

    Without options of its own a channel has the engine's very settings.
    """
    both = (settings.channels.get(channel, NO_OPTIONS), options)
    layers = [each for each in both if each != NO_OPTIONS]
    if not layers:
        return settings
    changes: dict[str, Any] = {}
    for layer in layers:
        changes |= _given(layer)
    changes["policies"] = _joined((settings.policies, *(each.policies or {} for each in layers)))
    return attrs.evolve(settings, **changes, channels={}, models=_all_models(settings, changes))


def for_trust(settings: Settings, trust: Trust) -> Settings:
    """A channel's settings as they hold for the messages of a level of trust."""
    policy = _joined((SAFE, settings.policies)).get(trust)
    changes = {} if policy is None else _given(policy)
    if not changes:
        return settings
    changes["disallowed_tools"] = (*settings.disallowed_tools, *changes.get("disallowed_tools", ()))
    if "allowed_tools" in changes:
        # What reaches the private network is for those who have the channel's own tools.
        changes["private_network"] = ""
    return attrs.evolve(settings, **changes, models=_all_models(settings, changes))


def changed(options: ChannelOptions, changes: OptionChanges) -> ChannelOptions:
    """A channel's options with changes.

    Raises:
        SettingsError: An option is unknown or cannot be used; nothing has changed then.
    """
    after: ChannelOptions = attrs.evolve(options, **checked_names(ChannelOptions, dict(changes)))
    return after


def _given(layer: Any) -> dict[str, Any]:
    """What a layer says: a value of its own for each of these."""
    values = {field.name: getattr(layer, field.name) for field in attrs.fields(type(layer))}
    return {name: value for name, value in values.items() if value is not None}


def _joined(layers: Iterable[Mapping[Trust, Policy]]) -> dict[Trust, Policy]:
    """Policies over policies, field by field."""
    joined: dict[Trust, Policy] = {}
    for layer in layers:
        for trust, policy in layer.items():
            joined[trust] = attrs.evolve(joined[trust], **_given(policy)) if trust in joined else policy
    return joined


def _all_models(settings: Settings, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """The models that may be chosen, with those that might be chosen when the channel chose them."""
    chosen = (changes.get("model"), changes.get("fallback_model"), *models_of(changes.get("policies", {})))
    return tuple(dict.fromkeys((*settings.models, *(model for model in chosen if model is not None))))
