"""The table while it lives: looks at the engine, draws, takes keys and signals, each in a task of its own."""

from __future__ import annotations

import errno
import os
import signal
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from echo_actors.commands.exits import Exit, is_reader_gone
from echo_actors.commands.terminal import visible
from echo_actors.commands.top.choices import Choices, Order, Verb, press, settled
from echo_actors.commands.top.keys import Keyboard
from echo_actors.commands.top.rows import Row, in_order, matching, of_engine
from echo_actors.commands.top.scene import Scene
from echo_actors.commands.top.screen import Screen
from echo_actors.commands.top.sight import Sight, look
from echo_actors.commands.top.view import frame, page
from echo_actors.commands.watch import BUFFER
from echo_actors.engine.remote import connect
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.errors import EchoActorsError, EngineClosed, EngineNotRunning
from echo_actors.events import BEGIN, Event, Lagged, TextDelta

_ANSWERS_WITHIN: Final = 10.0
"""Seconds after which an engine that does not answer is said to be stuck."""

_SHARE: Final = 0.1
"""The most of the time that looking takes, with however many channels."""

_DRAW_EVERY: Final = 0.05
_TICK: Final = 1.0
"""Seconds between frames, at the least and at the most."""

_ESCAPE_WITHIN: Final = 0.05
"""Seconds after which the begin of a sequence was the escape key."""

_REMEMBERED: Final = 200
_DONE: Final = {
    Verb.INTERRUPT: ("Interrupted", "No turn is running in"),
    Verb.SUSPEND: ("Suspended", "Suspended already:"),
    Verb.RESUME: ("Resumed", "Not suspended:"),
}


@attrs.define(eq=False)
class Live:
    """The state of the table, and the tasks that change and show it."""

    state_dir: Path
    interval: float
    choices: Choices
    screen: Screen
    _nursery: trio.Nursery = attrs.field(init=False)
    _engine: RemoteEngine | None = None
    _sight: Sight | None = None
    _rows: Sequence[Row] = ()
    _trouble: str = ""
    _notice: str = ""
    _events: deque[Event] = attrs.Factory(partial(deque, maxlen=_REMEMBERED))
    _followed: str | None = None
    _following: trio.CancelScope = attrs.Factory(trio.CancelScope)
    _news: trio.Event = attrs.Factory(trio.Event)

    async def run(self) -> int:
        """Show the table until a key ends it; give the exit code."""
        async with trio.open_nursery() as self._nursery:
            for task in (self._look, self._draw, self._take_signals):
                self._nursery.start_soon(task)
            try:
                await self._take_keys()
                code = Exit.DONE
            except OSError as error:
                # A terminal that was closed; there is a signal for that too, which may come later.
                if not is_reader_gone(error):
                    raise
                code = Exit.TERMINATED
            self._nursery.cancel_scope.cancel()
        return code

    # -- looking

    async def _look(self) -> None:
        while True:
            try:
                async with connect(self.state_dir) as self._engine:
                    await self._watch(self._engine)
            except (EngineNotRunning, EngineClosed):
                self._trouble = "the engine has gone"
            except trio.TooSlowError:
                self._trouble = f"the engine has not answered for {_ANSWERS_WITHIN:.0f} s"
            except EchoActorsError as problem:
                self._trouble = str(problem)
            finally:
                self._engine = None
            self._news.set()
            await trio.sleep(self.interval)

    async def _watch(self, engine: RemoteEngine) -> None:
        while True:
            began = trio.current_time()
            with trio.fail_after(_ANSWERS_WITHIN):
                self._see(await look(engine))
            self._trouble = ""
            self._news.set()
            await trio.sleep(max(self.interval, (trio.current_time() - began) / _SHARE))

    def _see(self, sight: Sight) -> None:
        self._sight = sight
        self._rows = of_engine(sight.channels, sight.status.suspended)

    # -- drawing

    async def _draw(self) -> None:
        while True:
            self._news = trio.Event()
            scene = self._scene()
            try:
                self.screen.draw(frame(scene), (scene.width, scene.height))
            except OSError as error:
                if not is_reader_gone(error):
                    raise
                return  # the keyboard has gone with it
            with trio.move_on_after(_TICK):
                await self._news.wait()
            await trio.sleep(_DRAW_EVERY)

    def _scene(self) -> Scene:
        rows = in_order(matching(self._rows, self.choices.filter), self.choices.sort, reverse=self.choices.reverse)
        width, height = self.screen.size()
        scene = Scene(
            now=datetime.now(UTC),
            width=width,
            height=height,
            choices=self.choices,
            rows=rows,
            total=len(self._rows),
            sight=self._sight,
            trouble=visible(self._trouble),
            notice=self._notice,
            events=self._events,
        )
        self.choices = settled(self.choices, [row.channel for row in rows], page(scene))
        return attrs.evolve(scene, choices=self.choices)

    # -- keys

    async def _take_keys(self) -> None:
        keyboard = Keyboard()
        while True:
            keys = await self._read(keyboard)
            for key in keys:
                scene = self._scene()
                self._notice = ""
                self.choices, order = press(self.choices, key, [row.channel for row in scene.rows], page(scene))
                if order is not None and order.verb is Verb.QUIT:
                    return
                if order is not None:
                    self._nursery.start_soon(self._obey, order)
            self._follow_opened()
            self._news.set()

    async def _read(self, keyboard: Keyboard) -> list[str]:
        with trio.move_on_after(_ESCAPE_WITHIN if keyboard.waits else float("inf")) as patience:
            await trio.lowlevel.wait_readable(0)
        if patience.cancelled_caught:
            return keyboard.settle()
        data = os.read(0, 1024)
        if not data:
            raise OSError(errno.EIO, "the terminal was closed")
        return keyboard.feed(data)

    async def _obey(self, order: Order) -> None:
        """Do something to a channel, and say what came of it."""
        name, engine = visible(order.channel), self._engine
        if engine is None:
            self._notice = f"Nothing was done to {name}: no engine is running."
            self._news.set()
            return
        try:
            with trio.fail_after(_ANSWERS_WITHIN):
                changed = await getattr(engine, order.verb)(order.channel)
                self._notice = f"{_DONE[order.verb][not changed]} {name}"
                self._see(await look(engine))
        except trio.TooSlowError:
            self._notice = f"The engine has not answered; {name} may be as it was."
        except EchoActorsError as problem:
            self._notice = visible(f"{order.verb.value}: {problem}")
        self._news.set()

    # -- one channel's events

    def _follow_opened(self) -> None:
        if self.choices.opened == self._followed:
            return
        self._followed = self.choices.opened
        self._following.cancel()
        self._events.clear()
        if self._followed is not None:
            self._following = trio.CancelScope()
            self._nursery.start_soon(self._follow, self._followed, self._following)

    async def _follow(self, channel: str, scope: trio.CancelScope) -> None:
        cursor = BEGIN
        with scope:
            while True:
                try:
                    if self._engine is not None:
                        async with self._engine.subscribe(channel, since=cursor, buffer_size=BUFFER) as events:
                            async for event in events:
                                cursor = event.cursor or cursor
                                self._remember(event)
                except EchoActorsError:
                    pass  # that it has gone is on the screen already
                await trio.sleep(self.interval)

    def _remember(self, event: Event) -> None:
        # That there were events before those which the engine remembers is no news; deltas come again as a block.
        if not isinstance(event, TextDelta | Lagged):
            self._events.append(event)
            self._news.set()

    # -- signals

    async def _take_signals(self) -> None:
        taken = [signal.SIGWINCH, signal.SIGCONT]
        if signal.getsignal(signal.SIGTSTP) is not signal.SIG_IGN:
            taken.append(signal.SIGTSTP)
        with trio.open_signal_receiver(*taken) as signals:
            async for number in signals:
                if number == signal.SIGTSTP:
                    self.screen.give_back()
                    _stop()
                if number != signal.SIGWINCH:
                    self.screen.take()
                self._news.set()


def _stop() -> None:
    """Stop as programs do at Ctrl-Z that do not ask for the signal; return when the shell lets this one go on."""
    handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, handler)
