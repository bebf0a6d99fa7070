"""The picture of a soak: one strip per figure over time, as an SVG of a few lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WIDTH, _STRIP, _LEFT, _RIGHT, _TOP = 860, 84, 150, 20, 54
_FONT = 'font-family="sans-serif" font-size="12"'
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


def draw(found: Mapping[str, Any]) -> str:
    """The picture of what a soak found, its samples and the words above them."""
    samples = found["samples"]
    height = _TOP + _STRIP * len(_STRIPS) + 30
    title = (
        f"Soak: {found['channels']} channels, {found['minutes']:g} minutes, {found['cli']} CLI, {found['turns']} turns"
    )
    verdict = "; ".join(found["wrong"]) or "nothing grew, nothing was left"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="12" y="22" font-size="15" font-weight="bold">{title}</text>',
        f'<text x="12" y="41" fill="#555">{verdict}</text>',
    ]
    for place, (name, title, show) in enumerate(_STRIPS):
        parts += _strip(samples, name, title, show, _TOP + place * _STRIP)
    last = samples[-1]["seconds"]
    parts.append(f'<text x="{_LEFT}" y="{height - 10}" fill="#555">0 s</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 10}" fill="#555" text-anchor="end">{last:.0f} s</text>')
    return "\n".join([*parts, "</svg>", ""])


def _strip(
    samples: Sequence[Mapping[str, float]], name: str, title: str, show: Callable[[float], str], top: int
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
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - _RIGHT}" y2="{bottom}" stroke="#ccc"/>',
        f'<polyline points="{points}" fill="none" stroke="#1f6feb" stroke-width="1.5"/>',
        f'<text x="12" y="{top + 24}" font-weight="bold">{title}</text>',
        f'<text x="12" y="{top + 40}" fill="#555">highest {show(highest)}</text>',
        f'<text x="12" y="{top + 55}" fill="#555">at rest {show(values[-1])}</text>',
    ]
