"""The picture of a soak: one strip per figure over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.svg import line, picture, text

_WIDTH, _STRIP, _LEFT, _RIGHT, _TOP = 860, 84, 150, 20, 54
_STRIPS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("rss", "RSS", lambda value: f"{value / 2**20:.1f} MiB"),
    ("uss", "USS", lambda value: f"{value / 2**20:.1f} MiB"),
    ("tasks", "tasks", "{:.0f}".format),
    ("descriptors", "descriptors", "{:.0f}".format),
    ("threads", "threads", "{:.0f}".format),
    ("children", "processes", "{:.0f}".format),
    ("live_channels", "live channels", "{:.0f}".format),
    ("turns", "turns", "{:.0f}".format),
)


def draw_soak(document: Mapping[str, Any]) -> str:
    """The picture of a soak that is kept: its samples, and the words above them."""
    samples, parameters = document["series"], document["parameters"]
    height = _TOP + _STRIP * len(_STRIPS) + 30
    turns = document["rounds"]["engine"][0]["turns"]
    title = f"Soak: {parameters['channels']} channels, {parameters['minutes']:g} minutes, {turns:,.0f} turns"
    parts = []
    for place, (name, words, show) in enumerate(_STRIPS):
        parts += _strip(samples, name, words, show, _TOP + place * _STRIP)
    parts.append(text(_LEFT, height - 10, "0 s", "quiet"))
    parts.append(text(_WIDTH - _RIGHT, height - 10, f"{samples[-1]['seconds']:.0f} s", "quiet end"))
    subtitle = "; ".join(parameters["problems"]) or "nothing was left, nothing piled up"
    return picture(_WIDTH, height, title, subtitle, parts)


def _strip(
    samples: Sequence[Mapping[str, float]], name: str, words: str, show: Callable[[float], str], top: int
) -> list[str]:
    """One figure's line, with its name and its highest and last value. Each strip begins at zero."""
    values = [sample[name] for sample in samples]
    highest, span = max(*values, 1), samples[-1]["seconds"] or 1
    bottom, room = top + _STRIP - 14, _STRIP - 24
    width = _WIDTH - _LEFT - _RIGHT
    points = " ".join(
        f"{_LEFT + width * sample['seconds'] / span:.1f},{bottom - room * sample[name] / highest:.1f}"
        for sample in samples
    )
    return [
        line(_LEFT, bottom, _WIDTH - _RIGHT, bottom),
        f'<polyline class="curve" points="{points}"/>',
        text(12, top + 24, words, "bold"),
        text(12, top + 40, f"highest {show(highest)}", "quiet"),
        text(12, top + 55, f"at rest {show(values[-1])}", "quiet"),
    ]
