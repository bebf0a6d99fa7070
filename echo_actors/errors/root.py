"""The root of all errors."""

from __future__ import annotations


class EchoActorsError(Exception):
    """The root of all errors of this package."""
