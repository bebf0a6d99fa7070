"""``echo-actors dead-letters``: messages that were started too often, to be looked at, run again or dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, TypeAlias
from uuid import UUID

import attrs
import orjson
from cyclopts import App, Parameter

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Running, StoreOptions
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import harmless, visible, write
from echo_actors.errors import InvalidMessage
from echo_actors.models import OutcomeKind
from echo_actors.state.records import StoredMessage
from echo_actors.state.sqlite import SQLiteStore

_PAGE = 500
_COLUMNS = ("message", "channel", "attempts", "ended", "reason")

Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]
MessageId: TypeAlias = Annotated[UUID, Parameter(help="The message's id, as `list` shows it.")]

dead_letters = App(
    name="dead-letters",
    help="Look at messages that were started too often; run them again, or drop them. No engine may be running.",
)


@dead_letters.command(name="list")
async def list_all(*, json: Json = False, options: StoreOptions | None = None, ending: Running) -> int:
    """List the dead letters, oldest first."""
    del ending
    async with _stored(options) as store:
        found = [] if store is None else [each async for each in _all(store)]
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
    """Let a dead letter run again, at the next start of an engine, as if it had not been started yet."""
    del ending
    async with _dead_letter(message_id, options) as (store, found):
        await store.revive(found.message.message_id)
    return Exit.DONE


@dead_letters.command
async def drop(message_id: MessageId, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Drop a dead letter for good."""
    del ending
    async with _dead_letter(message_id, options) as (store, found):
        await store.discard(found.message.message_id)
    return Exit.DONE


def _stored(options: StoreOptions | None) -> AbstractAsyncContextManager[SQLiteStore | None]:
    return opened_store((options or StoreOptions()).settings(), owner="dead-letters")


async def _all(store: SQLiteStore) -> AsyncIterator[StoredMessage]:
    after = 0
    while page := await store.dead_letters(after=after, limit=_PAGE):
        for stored in page:
            yield stored
        after = page[-1].message.sequence


@asynccontextmanager
async def _dead_letter(
    message_id: UUID, options: StoreOptions | None
) -> AsyncIterator[tuple[SQLiteStore, StoredMessage]]:
    async with _stored(options) as store:
        found = None if store is None else await store.message(str(message_id))
        outcome = None if found is None else found.outcome
        if store is None or found is None or outcome is None or outcome.kind is not OutcomeKind.DEAD_LETTERED:
            raise InvalidMessage(f"no message {message_id} is a dead letter")
        yield store, found


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
