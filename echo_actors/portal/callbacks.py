"""Functions of the host program that the engine awaits: each runs where its program does, not in the engine's thread.

Which arguments of ``open_engine`` these are, its annotations say: those that may be functions which give an awaitable.
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import inspect
import types
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Union, get_args, get_origin, get_type_hints

import trio

from echo_actors.errors import EngineClosed
from echo_actors.portal.lane import Lane
from echo_actors.portal.thread import TAKEN_WITHIN

Callback = Callable[..., Any]
Awaited = Callable[..., Awaitable[Any]]


def with_callbacks(
    opener: Callable[..., Any], arguments: dict[str, Any], carry: Callable[[Callback], Awaited]
) -> dict[str, Any]:
    """Keyword arguments for ``open_engine``, with the host's functions as ones that the engine can await."""
    hints = get_type_hints(opener)
    return {
        name: carry(value) if callable(value) and _may_be_awaited(hints.get(name)) else value
        for name, value in arguments.items()
    }


def in_worker(callback: Callback) -> Awaited:
    """Run a plain function in a worker thread, which may use the portal; a coroutine function is trio's own.

    When the engine gives up waiting for it, it goes on to its end, and what it returns is not used.
    """
    if inspect.iscoroutinefunction(callback):
        return callback

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await trio.to_thread.run_sync(partial(callback, *args, **kwargs), abandon_on_cancel=True)

    return awaited


def on_loop(callback: Callback, lane: Lane) -> Awaited:
    """Run a function, or a coroutine function, on an asyncio loop.

    When the engine gives up waiting for it, its task is cancelled, and that waited for.
    """

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        task = LoopTask(partial(callback, *args, **kwargs))
        if not lane.post(task.start):
            raise EngineClosed("the asyncio loop of the program is closed")
        try:
            await _done(task.future)
        except trio.Cancelled:
            lane.post(task.cancel)
            with trio.move_on_after(TAKEN_WITHIN, shield=True):
                await _done(task.future)
            raise
        return task.future.result()

    return awaited


class LoopTask:
    """A task of asyncio, seen from the engine's thread by its future alone."""

    def __init__(self, function: Callback) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None
        self.future: Future[Any] = Future()

    def start(self) -> None:
        """Begin; called on the loop, like ``cancel``."""
        self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel it; its future is done when it has ended."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> Any:
        result = self._function()
        return await result if inspect.isawaitable(result) else result

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.future.set_exception(EngineClosed("the program cancelled what the engine waited for"))
            return
        error = task.exception()
        if error is None:
            self.future.set_result(task.result())
        else:
            self.future.set_exception(error)


async def _done(future: Future[Any]) -> None:
    done, token = trio.Event(), trio.lowlevel.current_trio_token()

    def tell(_: Future[Any]) -> None:
        try:
            token.run_sync_soon(done.set)
        except trio.RunFinishedError:
            return  # The engine has not waited any longer.

    future.add_done_callback(tell)
    await done.wait()


def _may_be_awaited(hint: Any) -> bool:
    """Whether what fits an annotation may be a function whose result is awaited."""
    if get_origin(hint) in {Union, types.UnionType}:
        return any(map(_may_be_awaited, get_args(hint)))
    if get_origin(hint) is collections.abc.Callable:
        return _may_be_awaitable(get_args(hint)[-1])
    return isinstance(hint, type) and inspect.iscoroutinefunction(getattr(hint, "__call__", None))  # noqa: B004 - a Protocol


def _may_be_awaitable(hint: Any) -> bool:
    if get_origin(hint) in {Union, types.UnionType}:
        return any(map(_may_be_awaitable, get_args(hint)))
    origin = get_origin(hint) or hint
    return isinstance(origin, type) and issubclass(origin, Awaitable)
