"""Figures in few characters, for columns that are as narrow as a terminal makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

_THOUSAND: Final = 1000
_TEN: Final = 10
_STEPS: Final = (("d", 86400), ("h", 3600), ("m", 60))


def amount(number: float, unit: int = _THOUSAND) -> str:
    """A count in at most five characters: ``999``, ``1.2k``, ``34k``, ``5.6M``."""
    size = float(number)
    for suffix in ("", "k", "M", "G", "T"):
        # As it is written, not as it is: 999.7 would be written as 1000.
        if round(size) < _THOUSAND:
            shown = f"{size:.1f}" if suffix and round(size, 1) < _TEN else f"{size:.0f}"
            return f"{shown}{suffix}"
        size /= unit
    return f"{size:.0f}P"


def memory(size: int) -> str:
    """Bytes, in powers of 1024; a dash for none."""
    return amount(size, 1024).replace("k", "K") if size else "-"


def money(usd: float) -> str:
    """US dollars, the more exactly the fewer they are; a dash for none."""
    if not usd:
        return "-"
    return f"{usd:.4f}" if usd < _TEN else f"{usd:.2f}" if usd < _THOUSAND else f"{usd:.0f}"


def age(then: datetime | None, now: datetime) -> str:
    """How long ago that was, in its greatest unit; a dash for never. Clocks may differ a little: never below 0."""
    return "-" if then is None else lasting((now - then).total_seconds())


def lasting(seconds: float) -> str:
    """A duration, in its greatest unit."""
    for suffix, size in _STEPS:
        if seconds >= size:
            return f"{seconds // size:.0f}{suffix}"
    return f"{max(0.0, seconds // 1):.0f}s"
