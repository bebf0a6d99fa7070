"""A scripted Anthropic Messages API on loopback, to test programs that talk to Claude.

Without being told otherwise the model answers `echo: <what the user said>`. A message can script its own answer
with directives (see `echo_actors.simulator.script`); a fault, set over HTTP or by a method, hits everybody.

    $ python -m echo_actors.simulator.model --port 0
    http://127.0.0.1:40123

The Claude CLI talks to it with `ANTHROPIC_BASE_URL` set to that address and any `ANTHROPIC_API_KEY`.

| request | answer |
|---|---|
| `POST /v1/messages` | the model's answer, streamed or whole |
| `POST /v1/messages/count_tokens` | the number of input tokens every answer reports |
| `GET /calls`, `GET /calls?summary=1` | what the model was asked, and what it cost; only counts and cost |
| `DELETE /calls` | forgets the calls |
| `POST /fault` | `{"status": 429, "count": 3 or null, "retry_after": 1}`: the next calls fail |
| `DELETE /fault` | lifts the fault |
| any other GET or HEAD | 200 |
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import attrs
import h11
import orjson
import trio

from echo_actors.simulator.answers import compose_answer
from echo_actors.simulator.calls import Call, CallLog
from echo_actors.simulator.conversation import Conversation, read_conversation
from echo_actors.simulator.faults import RETRY_AFTER, Fault, scripted_fault
from echo_actors.simulator.http import Connection, ConnectionEnded, Request
from echo_actors.simulator.messages_api import error_json, message_events, message_json
from echo_actors.simulator.prices import INPUT_TOKENS
from echo_actors.simulator.script import Script, read_script

HOST: Final = "127.0.0.1"
MAX_CALLS: Final = 100_000


@attrs.define(eq=False)
class ModelServer:
    """The model, serving.

    Attributes:
        log: What it was asked.
        clock: Gives seconds since the epoch.
        on_request: Gets the whole body of each request for an answer, as it came; the log keeps only its words.
    """

    url: str
    log: CallLog
    clock: Callable[[], float]
    fault: Fault | None = None
    on_request: Callable[[bytes], object] | None = None
    _number: int = 0

    @property
    def calls(self) -> list[Call]:
        """The calls so far, oldest first."""
        return list(self.log.calls)

    @property
    def by_text(self) -> Counter[str]:
        """How often the model was asked for each user text."""
        return self.log.by_text.copy()

    @property
    def cost_usd(self) -> float:
        """What the requests answered so far cost, in USD."""
        return self.log.cost_usd

    def set_fault(self, status: int, *, count: int | None = None, retry_after: float = RETRY_AFTER) -> None:
        """Let the next `count` calls fail with `status`, or all until `clear_fault`.

        Raises:
            ValueError: The status is no error, or the count is not positive.
        """
        self.fault = Fault(status, count, retry_after)

    def clear_fault(self) -> None:
        """Lift the fault."""
        self.fault = None

    def reset(self) -> None:
        """Forget the calls."""
        self.log.clear()

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to its end."""
        async with stream:
            connection = Connection(stream)
            try:
                while (request := await connection.request()) is not None:
                    await self._handle(connection, request)
            except (trio.BrokenResourceError, h11.RemoteProtocolError, ConnectionEnded):
                return  # the client left, was left, or does not speak HTTP

    async def _handle(self, connection: Connection, request: Request) -> None:
        match request.method, request.path:
            case "POST", "/v1/messages":
                await self._messages(connection, request.body)
            case "POST", "/v1/messages/count_tokens":
                await connection.answer(200, orjson.dumps({"input_tokens": INPUT_TOKENS}))
            case "GET", "/calls":
                found = self.log.summary() if "summary=1" in request.query else self.log.as_json()
                await connection.answer(200, orjson.dumps(found))
            case "DELETE", "/calls":
                self.reset()
                await connection.answer(200, b"{}")
            case "POST", "/fault":
                await self._post_fault(connection, request.body)
            case "DELETE", "/fault":
                self.clear_fault()
                await connection.answer(200, b"{}")
            case "HEAD", _:
                await connection.start(200, {"content-length": "0"})
                await connection.finish()
            case "GET", _:
                await connection.answer(200, b"{}")
            case _:
                await connection.answer(404, error_json(404))

    async def _post_fault(self, connection: Connection, body: bytes) -> None:
        try:
            self.set_fault(**orjson.loads(body))
        except (TypeError, ValueError):
            await connection.answer(400, error_json(400))
        else:
            await connection.answer(200, b"{}")

    async def _messages(self, connection: Connection, body: bytes) -> None:
        if self.on_request is not None:
            self.on_request(body)
        try:
            conversation = read_conversation(body)
        except ValueError:
            await connection.answer(400, error_json(400))
            return
        script = read_script(conversation.user_text)
        earlier = self.log.by_text[conversation.user_text]
        fault = self._take_fault() or scripted_fault(script, conversation, earlier)
        self.log.add(conversation, fault.status if fault else 200, self.clock())
        if conversation.asked:
            await connection.hold(script.delay)
        if fault:
            wait = {"retry-after": f"{fault.retry_after:g}"} if fault.status in {429, 529} else {}
            await connection.answer(fault.status, error_json(fault.status), wait)
            return
        cut = conversation.asked and earlier < script.cut_times
        await self._answer(connection, conversation, script, cut=cut)

    async def _answer(self, connection: Connection, conversation: Conversation, script: Script, *, cut: bool) -> None:
        self._number += 1
        answer = compose_answer(script, conversation, self._number)
        head, rest = message_events(answer) if conversation.stream else message_json(answer)
        kind = "text/event-stream" if conversation.stream else "application/json"
        await connection.start(200, {"content-type": kind})
        await connection.send(head)
        await connection.hold(script.stall)
        if cut:
            connection.cut()
        # Counted before its end is sent: whoever has read an answer finds it in the cost.
        self.log.answered[conversation.model] += 1
        await connection.send(rest)
        await connection.finish()

    def _take_fault(self) -> Fault | None:
        """Return the fault that hits this request, and count it down."""
        fault = self.fault
        if fault is not None and fault.count is not None:
            self.fault = attrs.evolve(fault, count=fault.count - 1) if fault.count > 1 else None
        return fault


@asynccontextmanager
async def open_model_server(
    *, port: int = 0, max_calls: int = MAX_CALLS, clock: Callable[[], float] = time.time
) -> AsyncIterator[ModelServer]:
    """Serve the model on loopback while the block runs.

    Args:
        port: The TCP port; 0 takes a free one.
        max_calls: How many calls the log keeps.
        clock: Gives the time of a call, in seconds since the epoch.

    Raises:
        OSError: The port is taken.
    """
    listeners = await trio.open_tcp_listeners(port, host=HOST)
    bound: int = listeners[0].socket.getsockname()[1]
    server = ModelServer(url=f"http://{HOST}:{bound}", log=CallLog(limit=max_calls), clock=clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, server.serve, listeners))
        yield server
        nursery.cancel_scope.cancel()


async def _serve_until_signalled(port: int, max_calls: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_model_server(port=port, max_calls=max_calls) as server:
            sys.stdout.write(f"{server.url}\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Serve the model in a process of its own, until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description="A scripted Anthropic Messages API on loopback.")
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 (the default) takes a free one")
    parser.add_argument("--max-calls", type=int, default=MAX_CALLS, help="how many calls to keep")
    options = parser.parse_args()
    trio.run(_serve_until_signalled, options.port, options.max_calls)


if __name__ == "__main__":
    main()
