"""Edits are coalesced, on trio and on asyncio, in virtual time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import anyio
import attrs
import pytest
import trio.testing

from echo_actors.rendering import DISCORD, GrowingMessages, coalesce

Run = Callable[[Callable[[], Awaitable[None]]], None]


class _Jumping(selectors.SelectSelector):
    """A selector for which time passes at once, since nothing here waits for the world."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


def _virtual_loop() -> asyncio.AbstractEventLoop:
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    return loop


@pytest.fixture(params=["trio", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function on one backend, in virtual time."""
    options: dict[str, dict[str, Any]] = {
        "trio": {"clock": trio.testing.MockClock(autojump_threshold=0)},
        "asyncio": {"debug": True, "loop_factory": _virtual_loop},
    }
    return lambda body: anyio.run(body, backend=request.param, backend_options=options[request.param])


class RateLimited(Exception):
    """What a library raises when the platform asks to wait."""

    def __init__(self, retry_after: object) -> None:
        self.retry_after = retry_after


@attrs.define
class Message:
    """A message that is edited, and a record of when it was, from when it was made."""

    takes: float = 0.0
    fails: list[Exception] = attrs.Factory(list)
    shown: list[tuple[float, str]] = attrs.Factory(list)
    tried: list[float] = attrs.Factory(list)
    busy: bool = False
    born: float = attrs.Factory(anyio.current_time)

    async def edit(self, text: str) -> None:
        """Take a while, and fail when told."""
        assert not self.busy, "two edits at a time"
        self.busy = True
        self.tried.append(self.now)
        try:
            await anyio.sleep(self.takes)
            if self.fails:
                raise self.fails.pop(0)
            self.shown.append((self.now, text))
        finally:
            self.busy = False

    @property
    def now(self) -> float:
        """Seconds since it was made."""
        return round(anyio.current_time() - self.born, 3)


def test_many_updates_are_one_edit_per_interval_with_the_latest_text(run: Run) -> None:
    """And the last one comes at the end, an interval after the one before."""

    async def body() -> None:
        message = Message()
        async with coalesce(message.edit, interval=1.0) as edits:
            for number in range(25):
                edits.update(f"text {number}")
                await anyio.sleep(0.09)
        assert message.shown == [(0.0, "text 0"), (1.0, "text 11"), (2.0, "text 22"), (3.0, "text 24")]

    run(body)


def test_an_edit_that_takes_longer_than_the_interval_delays_the_next(run: Run) -> None:
    """There are never two at a time."""

    async def body() -> None:
        message = Message(takes=2.5)
        async with coalesce(message.edit, interval=1.0) as edits:
            for number in range(50):
                edits.update(f"text {number}")
                await anyio.sleep(0.1)
        assert message.tried == [0.0, 2.5, 5.0]
        assert message.shown[-1][1] == "text 49"

    run(body)


def test_the_same_text_is_not_sent_twice(run: Run) -> None:
    """And nothing is sent when there was no text."""

    async def body() -> None:
        message = Message()
        async with coalesce(message.edit) as edits:
            await anyio.sleep(5)
            for text in ("a", "a", "b", "a"):
                edits.update(text)
                await anyio.sleep(3)
            edits.update("c")
            edits.update("a")
        assert [text for _, text in message.shown] == ["a", "b", "a"]
        assert message.now == 17.0, "the end waits for nothing when all is shown"

    run(body)


def test_an_edit_that_fails_is_tried_again_with_the_latest_text(run: Run) -> None:
    """After the interval; until then the error can be seen."""

    async def body() -> None:
        message = Message(fails=[OSError("down"), OSError("down")])
        async with coalesce(message.edit, interval=1.0) as edits:
            edits.update("a")
            await anyio.sleep(0.5)
            assert isinstance(edits.error, OSError)
            edits.update("b")
            await anyio.sleep(4)
            assert edits.shown == "b"
        assert message.tried == [0.0, 1.0, 2.0]

    run(body)


@pytest.mark.parametrize("hint", [5, 5.0, timedelta(seconds=5)])
def test_a_hint_when_to_try_again_is_followed(run: Run, hint: object) -> None:
    """Discord's and Telegram's libraries have it as retry_after."""

    async def body() -> None:
        message = Message(fails=[RateLimited(hint)])
        async with coalesce(message.edit, interval=1.0) as edits:
            edits.update("a")
        assert message.tried == [0.0, 5.0]

    run(body)


@pytest.mark.parametrize("hint", [None, "soon", float("nan"), -1])
def test_a_hint_that_makes_no_sense_is_left_aside(run: Run, hint: object) -> None:
    """The interval counts."""

    async def body() -> None:
        message = Message(fails=[RateLimited(hint)])
        async with coalesce(message.edit, interval=1.0) as edits:
            edits.update("a")
        assert message.tried == [0.0, 1.0]

    run(body)


def test_the_end_raises_what_the_last_edit_raised(run: Run) -> None:
    """Itself, after as many attempts as are allowed."""

    async def body() -> None:
        failures: list[Exception] = [OSError(str(number)) for number in range(9)]
        message = Message(fails=failures)
        with pytest.raises(OSError, match="3"):  # noqa: PT012 - leaving the block raises
            async with coalesce(message.edit, interval=1.0, attempts=3) as edits:
                edits.update("a")
                await anyio.sleep(0.5)
        assert message.tried == [0.0, 1.0, 2.0, 3.0]

    run(body)


def test_the_end_does_not_wait_for_ever(run: Run) -> None:
    """An edit that hangs is cancelled."""

    async def body() -> None:
        message = Message(takes=1000.0)
        with pytest.raises(TimeoutError):
            async with coalesce(message.edit, finish_timeout=30.0, grace=2.0) as edits:
                edits.update("a")
        assert message.now == 32.0

    run(body)


def test_a_block_that_raises_shows_its_last_text_and_raises_the_same(run: Run) -> None:
    """Not in a group, whatever the edits raise."""

    async def body() -> None:
        message = Message()
        error = LookupError("the block's own")
        with pytest.raises(LookupError) as caught:  # noqa: PT012 - leaving the block raises
            async with coalesce(message.edit, interval=1.0) as edits:
                edits.update("a")
                await anyio.sleep(0.5)
                edits.update("b")
                raise error
        assert caught.value is error
        assert message.shown == [(0.0, "a"), (1.0, "b")]

        message = Message(fails=[OSError()] * 9)
        with pytest.raises(LookupError):  # noqa: PT012 - leaving the block raises
            async with coalesce(message.edit) as edits:
                edits.update("a")
                raise error
        assert message.now <= 2.0

    run(body)


def test_a_cancelled_block_still_shows_its_last_text(run: Run) -> None:
    """Within the grace, an edit that is under way included."""

    async def body() -> None:
        message = Message(takes=0.3)
        with anyio.move_on_after(0.5):
            async with coalesce(message.edit, interval=1.0) as edits:
                edits.update("a")
                await anyio.sleep(0.4)
                edits.update("b")
                await anyio.sleep_forever()
        assert message.shown == [(0.3, "a"), (1.3, "b")]

    run(body)


def test_a_cancelled_block_ends_after_the_grace(run: Run) -> None:
    """Whatever the edit does; also when it is cancelled while it waits for its last text."""

    async def body() -> None:
        for end in (0, 1000):
            message = Message(takes=1000.0)
            with anyio.move_on_after(5.0) as scope:
                async with coalesce(message.edit, grace=2.0, finish_timeout=end + 10) as edits:
                    edits.update("a")
                    if not end:
                        await anyio.sleep_forever()
            assert scope.cancelled_caught
            assert message.now == 7.0

    run(body)


def test_a_task_of_asyncio_that_is_cancelled_shows_its_last_text() -> None:
    """A program on asyncio knows nothing of anyio's scopes."""
    shown: list[str] = []

    async def edit(text: str) -> None:
        shown.append(text)

    async def answer() -> None:
        async with coalesce(edit) as edits:
            edits.update("a")
            await asyncio.sleep(0.5)
            edits.update("b")
            await asyncio.sleep(1000)

    async def body() -> None:
        task = asyncio.create_task(answer())
        await asyncio.sleep(0.6)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with asyncio.Runner(debug=True, loop_factory=_virtual_loop) as runner:
        runner.run(body())
    assert shown == ["a", "b"]


def test_a_long_answer_becomes_several_messages(run: Run) -> None:
    """The coalescer and the splitter together, with a message that once cannot be sent."""

    async def body() -> None:
        messages, fail = GrowingMessages(DISCORD), [False, True, False]
        sent: list[str] = []

        async def show(text: str) -> None:
            for change in messages.update(text):
                assert change.text is not None
                if change.new:
                    if fail and fail.pop(0):
                        raise OSError
                    sent.append(change.text)
                else:
                    sent[change.index] = change.text

        async with coalesce(show, interval=1.0) as edits:
            for count in range(1200):
                edits.update("word " * count)
                await anyio.sleep(0.01)
        assert [len(text.split()) for text in sent] == [400, 400, 399]

    run(body)
