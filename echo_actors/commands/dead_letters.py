"""``echo-actors dead-letters``: messages that were started too often, to be looked at, run again or dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypeAlias
from uuid import UUID

import attrs
import orjson
from cyclopts import App, Parameter

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.reaching import running_engine
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import harmless, visible, write
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.errors import InvalidMessage
from echo_actors.state.records import StoredMessage
from echo_actors.state.sqlite import SQLiteStore

_PAGE = 500
_COLUMNS = ("message", "channel", "attempts", "ended", "reason")

MessageId: TypeAlias = Annotated[UUID, Parameter(help="The message's id, as `list` shows it.")]

dead_letters = App(
    name="dead-letters",
    help="Look at messages that were started too often; run them again, or drop them; also while an engine runs.",
)


@dead_letters.command(name="list")
async def list_all(*, json: Json = False, options: StoreOptions | None = None, ending: Running) -> int:
    """List the dead letters, oldest first."""
    del ending
    async with _letters(options) as letters:
        found = [each async for each in _all(letters)]
    if json:
        write(_json([_fields(each) for each in found]))
    else:
        write("".join("\t".join(row) + "\n" for row in (_COLUMNS, *map(_row, found))))
    return Exit.DONE


@dead_letters.command
async def show(
    message_id: MessageId, *, json: Json = False, options: StoreOptions | None = None, ending: Running
) -> int:
    """Print one dead letter with its text."""
    del ending
    async with _dead_letter(message_id, options) as (_, found):
        pass
    if json:
        write(_json(_fields(found)))
        return Exit.DONE
    about = zip(_COLUMNS, _row(found), strict=True)
    write("".join(f"{name}: {value}\n" for name, value in about) + "\n" + harmless(found.message.text) + "\n")
    return Exit.DONE


@dead_letters.command
async def resend(message_id: MessageId, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Let a dead letter run again, now or when an engine starts, as if it had not been started yet."""
    del ending
    async with _dead_letter(message_id, options) as (letters, found):
        await letters.revive(found.message.message_id)
    return Exit.DONE


@dead_letters.command
async def drop(message_id: MessageId, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Drop a dead letter for good."""
    del ending
    async with _dead_letter(message_id, options) as (letters, found):
        await letters.discard(found.message.message_id)
    return Exit.DONE


@asynccontextmanager
async def _letters(options: StoreOptions | None) -> AsyncIterator[RemoteEngine | SQLiteStore | None]:
    """Who has the dead letters: the engine that runs, or else the store; None where there is neither."""
    settings = (options or StoreOptions()).settings()
    async with running_engine(settings.state_dir) as engine:
        if engine is not None:
            yield engine
            return
    async with opened_store(settings, owner="dead-letters", instead=True) as store:
        yield store


async def _all(letters: RemoteEngine | SQLiteStore | None) -> AsyncIterator[StoredMessage]:
    after = 0
    while letters is not None and (page := await letters.dead_letters(after=after, limit=_PAGE)):
        for stored in page:
            yield stored
        after = page[-1].message.sequence


@asynccontextmanager
async def _dead_letter(
    message_id: UUID, options: StoreOptions | None
) -> AsyncIterator[tuple[RemoteEngine | SQLiteStore, StoredMessage]]:
    async with _letters(options) as letters:
        found = [each async for each in _all(letters) if each.message.message_id == str(message_id)]
        if letters is None or not found:
            raise InvalidMessage(f"no message {message_id} is a dead letter")
        yield letters, found[0]


def _row(stored: StoredMessage) -> tuple[str, ...]:
    outcome = stored.outcome
    return (
        stored.message.message_id,
        visible(stored.message.channel),
        str(stored.attempts),
        f"{stored.ended_at:%Y-%m-%d %H:%M:%S}Z" if stored.ended_at else "",
        visible(outcome.reason) if outcome else "",
    )


def _fields(stored: StoredMessage) -> dict[str, object]:
    message, outcome = stored.message, stored.outcome
    return {
        **attrs.asdict(message),
        "attempts": stored.attempts,
        "session_id": stored.session_id,
        "ended_at": stored.ended_at,
        "reason": outcome.reason if outcome else "",
        "error": outcome.error if outcome else None,
    }


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"
