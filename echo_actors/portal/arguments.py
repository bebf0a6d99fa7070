"""What the portals take: the arguments of ``open_engine``, whatever those are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def arguments_of(model: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Say that a function passes its arguments on to another; tools then show that one's."""

    def mark(function: Callable[..., R]) -> Callable[P, R]:
        parameters = list(inspect.signature(model).parameters.values())
        function.__signature__ = inspect.signature(function).replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return mark
