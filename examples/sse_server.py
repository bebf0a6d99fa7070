"""Answers as server-sent events, by Starlette and uvicorn: ``python examples/sse_server.py --port 8000``.

* ``POST /channels/NAME/messages`` with ``{"text": "...", "message_id": "a UUID of yours"}`` accepts a message and
  streams its events, up to ``TurnEnded``. Who loses the connection sends the same again, with the header
  ``Last-Event-ID``: nothing runs twice, and the stream goes on behind that event. To hang up stops nothing: the
  message is accepted, and its turn goes on with nobody who looks.
* ``GET /channels/NAME/events`` streams what happens in a channel for as long as one looks, as the browser's
  ``EventSource`` does it, which sends ``Last-Event-ID`` by itself.

Events that a client was too slow or too late for are announced by ``Lagged``; the end of a message has the whole
answer in any case. Who can reach the port can use it, so it is on loopback: put your login in front. Everybody is a
stranger here, ``Trust.EXTERNAL``. Runs on the scripted CLI; with ``--claude`` it talks to Claude.
"""

# ruff: noqa: INP001, T201 - a script of its own that prints

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import socket
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import attrs
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from tryout import tryout_settings

from echo_actors import (
    BudgetExceeded,
    EchoActorsError,
    Engine,
    EngineClosed,
    Event,
    GateClosed,
    InvalidMessage,
    Lagged,
    MailboxFull,
    Settings,
    StoreError,
    Trust,
    TurnEnded,
)
from echo_actors.portal import open_async_portal

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes the connection for dead."""

ON_ITS_WAY = 0.5
"""Seconds that an event may take from the engine to here."""

LAST_WORDS = 5.0
"""Seconds that streams have to send the end of a turn when the engine has drained."""

MOST_BYTES = 2**20
"""The largest request."""

REFUSALS: dict[type[BaseException], tuple[HTTPStatus, int]] = {
    InvalidMessage: (HTTPStatus.BAD_REQUEST, 0),
    MailboxFull: (HTTPStatus.TOO_MANY_REQUESTS, 10),
    BudgetExceeded: (HTTPStatus.TOO_MANY_REQUESTS, 3600),
    GateClosed: (HTTPStatus.SERVICE_UNAVAILABLE, 60),
    EngineClosed: (HTTPStatus.SERVICE_UNAVAILABLE, 10),
    StoreError: (HTTPStatus.SERVICE_UNAVAILABLE, 60),
    Exception: (HTTPStatus.INTERNAL_SERVER_ERROR, 0),
}
"""What an error is in HTTP, and in how many seconds to try again where the error does not know better."""


@attrs.define(eq=False)
class Service:
    """What the handlers share.

    Attributes:
        closing: Done when nothing more is to be streamed.
        answering: One future for each message whose events are being sent, done when they are.
    """

    engine: Engine
    closing: asyncio.Future[None] = attrs.field(factory=lambda: asyncio.get_running_loop().create_future())
    answering: set[asyncio.Future[None]] = attrs.Factory(set)

    async def finish(self) -> None:
        """Take nothing more, let running turns end and their ends be sent, then let spectators go."""
        await self.engine.drain()
        if self.answering:
            await asyncio.wait(self.answering, timeout=LAST_WORDS)
        self.closing.set_result(None)


class EventStream(StreamingResponse):
    """A response of server-sent events, which are closed when it ends, also when the client hangs up."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def post_message(request: Request) -> Response:
    """Accept a message and stream its events."""
    body = await json_of(request)
    text, message_id = body.get("text"), body.get("message_id", str(uuid.uuid4()))
    if not isinstance(text, str) or not isinstance(message_id, str):
        raise InvalidMessage('a request has a "text", and may have a "message_id", both texts')
    events = answer(request.app.state.service, channel_of(request), text, message_id, since(request))
    # What is refused is refused before the response begins.
    await anext(events)
    return EventStream(events, {"Message-Id": message_id})


async def watch_channel(request: Request) -> Response:
    """Stream what happens in a channel."""
    return EventStream(watch(request.app.state.service, channel_of(request), since(request)), {})


async def answer(
    service: Service, channel: str, text: str, message_id: str, since: str | None
) -> AsyncGenerator[bytes, None]:
    """Accept a message, and say so by a comment; then give its events, up to its end."""
    engine, sent = service.engine, asyncio.get_running_loop().create_future()
    async with engine.subscribe(channel, since=since) as events:
        message = (await engine.post(channel, text, message_id=message_id, trust=Trust.EXTERNAL)).message_id
        end = asyncio.ensure_future(engine.outcome(message))
        service.answering.add(sent)
        try:
            yield b": accepted\n\n"
            async with aclosing(paced(events, end)) as news:
                async for event in news:
                    if isinstance(event, Lagged) or (event is not None and event.message_id == message):
                        yield encoded(event)
                    if isinstance(event, TurnEnded) and event.message_id == message:
                        return
                    if event is None and end.done():
                        break
                    if event is None:
                        yield b": nothing new\n\n"
            # The event of its end was before this stream, or is lost.
            yield encoded(TurnEnded(channel=channel, message_id=message, outcome=await end))
        except EngineClosed:  # It ends in the next run.
            yield b": closing; send the same again later\n\n"
        finally:
            end.cancel()
            service.answering.discard(sent)
            sent.set_result(None)


async def watch(service: Service, channel: str, since: str | None) -> AsyncGenerator[bytes, None]:
    """A channel's events, until the service closes."""
    async with (
        service.engine.subscribe(channel, since=since) as events,
        aclosing(paced(events, service.closing)) as news,
    ):
        yield b": watching\n\n"
        async for event in news:
            if event is not None:
                yield encoded(event)
            elif service.closing.done():
                return
            else:
                yield b": nothing new\n\n"


async def paced(events: AsyncIterator[Event], end: asyncio.Future[Any]) -> AsyncGenerator[Event | None, None]:
    """Events as they come; None when there was none for a while, which is short once the end is there."""
    coming: asyncio.Future[Event | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events, None))
            over = end.done()
            waited_for = {coming} if over else {coming, end}
            done, _ = await asyncio.wait(
                waited_for, timeout=ON_ITS_WAY if over else HEARTBEAT, return_when=asyncio.FIRST_COMPLETED
            )
            if coming in done:
                event, coming = coming.result(), None
                if event is None:
                    return
                yield event
            elif not done:
                yield None
    finally:
        if coming is not None:
            coming.cancel()


def encoded(event: Event) -> bytes:
    """An event as one of the protocol's, whose id is the cursor."""
    cursor = f"id: {event.cursor}\n" if event.cursor else ""
    return f"{cursor}event: {type(event).__name__}\ndata: ".encode() + orjson.dumps(attrs.asdict(event)) + b"\n\n"


async def json_of(request: Request) -> dict[str, Any]:
    """The object in a request.

    Raises:
        HTTPException: It is too large.
        InvalidMessage: It is none.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidMessage(f"the request is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidMessage("the request is no JSON object")
    return value


def channel_of(request: Request) -> str:
    """The engine's name for the channel in the address."""
    return f"web:{request.path_params['channel']}"


def since(request: Request) -> str | None:
    """The cursor of the last event that the client has seen."""
    return request.headers.get("last-event-id")


async def refused(_: Request, error: Exception) -> Response:
    """An error of the engine's as a response."""
    kind = next((each for each in type(error).__mro__ if each in REFUSALS), Exception)
    status, seconds = REFUSALS[kind]
    seconds = math.ceil(getattr(error, "retry_after", seconds))
    headers = {"Retry-After": str(seconds)} if seconds else {}
    return JSONResponse({"error": type(error).__name__, "reason": str(error)}, status, headers)


async def not_understood(_: Request, error: Exception) -> Response:
    """An error of HTTP's as a response."""
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    return JSONResponse({"error": "HTTPException", "reason": error.detail}, error.status_code, error.headers)


def make_app(settings: Settings) -> Starlette:
    """The application, whose engine is open for as long as it runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_async_portal(settings) as engine:
            app.state.service = Service(engine)
            yield

    routes = [
        Route("/channels/{channel:path}/messages", post_message, methods=["POST"]),
        Route("/channels/{channel:path}/events", watch_channel),
    ]
    handlers = {EchoActorsError: refused, HTTPException: not_understood}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)


class Server(uvicorn.Server):
    """A server that drains the engine first. By itself it would wait for streams that wait for the engine."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close; new requests are refused meanwhile."""
        await self.config.app.state.service.finish()  # type: ignore[union-attr]
        await super().shutdown(sockets)


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--claude", action="store_true", help="talk to Claude")
    listening = socket.create_server(("127.0.0.1", parser.parse_args().port))
    print("http://{}:{}".format(*listening.getsockname()), flush=True)
    app = make_app(tryout_settings())
    # When it has closed, uvicorn raises the signal again that it was told to close by.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with suppress(KeyboardInterrupt):
        Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=10)).run(sockets=[listening])


if __name__ == "__main__":
    main()
