"""The picture of the figures: turns and errors, times and cost. Needs the extra ``plot``.

The same figures give the same bytes, so that a picture that is kept in a repository changes only with them.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from echo_actors.statistics.figures import Figures, quantiles

MOST_CHANNELS: Final = 20
"""How many channels are shown: the dearest."""

_LONGEST: Final = 32
"""Characters of a channel's name that are shown."""

_STYLE: Final[dict[Any, Any]] = {
    "text.parse_math": False,  # a channel's name is no formula
    "svg.fonttype": "none",  # words stay words, which can be searched and read out
    "svg.hashsalt": "echo-actors",  # else ids are drawn by lot
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "legend.frameon": False,
}
_BLUE, _RED, _GREEN, _GREY = "#1f6feb", "#cf222e", "#1a7f37", "#8c959f"

_MOST_DAYS: Final = 10
"""How many days are named below the curves."""


def draw(days: Mapping[date, Figures], channels: Mapping[str, Figures], kind: str) -> bytes:
    """Draw them.

    Args:
        days: By day.
        channels: By channel, under the name to show.
        kind: ``png`` or ``svg``.
    """
    shown = min(len(channels), MOST_CHANNELS)
    content = io.BytesIO()
    # Nothing of the program's own use of matplotlib is changed: no state of its pyplot, and its defaults as shipped.
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        warnings.filterwarnings("ignore", "Glyph")  # the font lacks a sign of a channel's name
        figure = Figure(figsize=(10, 7 + 0.2 * shown), layout="constrained")
        axes = figure.subplots(3, 1, height_ratios=[2, 2, 0.6 + 0.2 * shown])
        _draw_turns(axes[0], days)
        _draw_times(axes[1], days)
        _draw_cost(axes[2], channels)
        figure.savefig(content, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return content.getvalue()


def _draw_turns(axes: Axes, days: Mapping[date, Figures]) -> None:
    axes.set_title("Turns and errors per day (UTC)")
    places = _places(days)
    turns = [figures.turns for figures in days.values()]
    errors = [figures.errors.total() for figures in days.values()]
    axes.bar([place - 0.2 for place in places], turns, 0.4, color=_BLUE, label="turns")
    axes.bar([place + 0.2 for place in places], errors, 0.4, color=_RED, label="messages\nwithout an answer")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _finish(axes, days)


def _draw_times(axes: Axes, days: Mapping[date, Figures]) -> None:
    axes.set_title("Seconds that things took, by day (UTC)")
    _draw_quantiles(axes, days, "wait", _GREY, lambda figures: figures.waits)
    _draw_quantiles(axes, days, "first output", _GREEN, lambda figures: figures.first_outputs)
    _draw_quantiles(axes, days, "turn", _BLUE, lambda figures: figures.durations)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(0, axes.get_ylim()[1] * 2)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    _finish(axes, days)


def _draw_quantiles(
    axes: Axes, days: Mapping[date, Figures], name: str, colour: str, times: Callable[[Figures], Iterable[float]]
) -> None:
    spreads = zip(_places(days), map(quantiles, map(times, days.values())), strict=True)
    found = [(place, spread) for place, spread in spreads if spread is not None]
    for quantile, style in (("median", "-"), ("p95", "--"), ("p99", ":")):
        values = [getattr(spread, quantile) for _, spread in found]
        label = f"{name}, {quantile}"
        axes.plot([place for place, _ in found], values, style, color=colour, marker=".", label=label)


def _draw_cost(axes: Axes, channels: Mapping[str, Figures]) -> None:
    names, costs, rest = _dearest(channels)
    axes.set_title(f"USD per channel{rest}")
    # By place and not by name: two names that are cut may look alike.
    places = range(len(names))
    axes.bar_label(axes.barh(places, costs, color=_BLUE), [f" {cost:,.4f}" for cost in costs])
    axes.set_yticks(places, names)
    axes.set_xlim(left=0)
    axes.margins(x=0.12)
    axes.invert_yaxis()


def _finish(axes: Axes, days: Mapping[date, Figures]) -> None:
    """The days below, and the legend beside the curves, where it hides none."""
    first, last = min(days, default=date.min), max(days, default=date.min)
    span = (last - first).days
    marked = range(0, span + 1, math.ceil((span + 1) / _MOST_DAYS))
    axes.set_xticks(marked, [(first + timedelta(place)).isoformat() for place in marked])
    axes.set_xlim(-0.6, span + 0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _places(days: Mapping[date, Figures]) -> list[int]:
    """Where each day is, in days from the first."""
    first = min(days, default=date.min)
    return [(day - first).days for day in days]


def _dearest(channels: Mapping[str, Figures]) -> tuple[list[str], list[float], str]:
    """The names of the dearest channels, the dearest first; what each cost; and words on all others."""
    ordered = sorted(channels.items(), key=lambda item: (-item[1].cost_usd, item[0]))
    shown, others = ordered[:MOST_CHANNELS], ordered[MOST_CHANNELS:]
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name, _ in shown]
    rest = f"; {len(others):,} others: {sum(each.cost_usd for _, each in others):,.4f}" if others else ""
    return names, [figures.cost_usd for _, figures in shown], rest
