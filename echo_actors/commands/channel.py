"""``echo-actors channel``: one channel of an engine, looked at and steered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeAlias

import attrs
import orjson
from cyclopts import App, Parameter

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.reaching import running_engine
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import visible, write
from echo_actors.commands.values import shown
from echo_actors.engine.auditing import mask_of
from echo_actors.engine.intake import check_channel
from echo_actors.engine.remote import connect
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.errors import SettingsError
from echo_actors.safety.redaction import Mask
from echo_actors.settings import ChannelOptions
from echo_actors.settings.forms import checked_names, from_text
from echo_actors.state.records import SessionSnapshot

Channel: TypeAlias = Annotated[str, Parameter(help="The conversation's key.", allow_leading_hyphen=True)]
Reason: TypeAlias = Annotated[str | None, Parameter(name="--reason", help="Why, for the audit log.")]

channel = App(name="channel", help="Look at one channel of an engine, and steer it.")


@channel.command
async def show(name: Channel, /, *, json: Json = False, options: StoreOptions | None = None, ending: Running) -> int:
    """Show a channel's session, its own options and what it cost; from the store where no engine runs."""
    del ending
    check_channel(name)
    settings = (options or StoreOptions()).settings()
    mask = mask_of(settings)
    async with running_engine(settings.state_dir) as engine:
        if engine is not None:
            found = await _of_engine(engine, name, mask)
        else:
            async with opened_store(settings, owner="channel", instead=True) as store:
                found = _about(None if store is None else await store.snapshot(name), mask)
    if json:
        write(_json({"channel": name, **found}))
    else:
        lines = (f"{key}: {_plain(value)}\n" for key, value in found.items() if value not in (None, "", {}))
        write(f"channel: {visible(name)}\n" + "".join(lines))
    return Exit.DONE


@channel.command(name="set")
async def set_options(
    name: Channel,
    /,
    *changes: Annotated[str, Parameter(help="option=value, lists and tables as JSON; option= gives it back.")],
    json: Json = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Change a channel's own options, from its next turn on, such as `model=opus`; print those that it has then."""
    del ending
    given = dict(map(_change, changes))
    async with _engine(options) as engine:
        after = await engine.configure(name, **given)
    found = _given(after, mask_of((options or StoreOptions()).settings()))
    write(_json(found) if json else "".join(f"{key}: {_plain(value)}\n" for key, value in found.items()))
    return Exit.DONE


@channel.command
async def clear(name: Channel, /, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Forget a channel's conversation, once its running turn has ended."""
    del ending
    async with _engine(options) as engine:
        return _done(await engine.clear(name), "cleared", "there is no conversation")


@channel.command
async def interrupt(
    name: Channel, /, *, reason: Reason = None, options: StoreOptions | None = None, ending: Running
) -> int:
    """End a channel's running turn."""
    del ending
    async with _engine(options) as engine:
        return _done(await engine.interrupt(name, **_because(reason)), "interrupted", "no turn is running")


@channel.command
async def suspend(
    name: Channel, /, *, reason: Reason = None, options: StoreOptions | None = None, ending: Running
) -> int:
    """Let a channel take nothing, until it is resumed or the engine ends; a turn that runs goes on to its end."""
    del ending
    async with _engine(options) as engine:
        return _done(await engine.suspend(name, **_because(reason)), "suspended", "it was suspended already")


@channel.command
async def resume(name: Channel, /, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Lift a channel's suspension, whether by a person or after too many failures."""
    del ending
    async with _engine(options) as engine:
        return _done(await engine.resume(name), "resumed", "it was not suspended")


@channel.command
async def prewarm(name: Channel, /, *, options: StoreOptions | None = None, ending: Running) -> int:
    """Have a channel's CLI process ready before a message comes."""
    del ending
    async with _engine(options) as engine:
        warm = await engine.prewarm(name)
    write("ready\n" if warm else "not ready\n")
    return Exit.DONE if warm else Exit.FAILED


@asynccontextmanager
async def _engine(options: StoreOptions | None) -> AsyncIterator[RemoteEngine]:
    async with connect((options or StoreOptions()).settings().state_dir) as engine:
        yield engine


async def _of_engine(engine: RemoteEngine, name: str, mask: Mask) -> dict[str, Any]:
    spending, status = await engine.spending(name), await engine.status()
    return {
        "suspended": status.suspended.get(name),
        **_about(await engine.session(name), mask),
        "options": _given(await engine.options(name), mask),
        "today_usd": spending.today_usd,
        "month_usd": spending.month_usd,
    }


def _about(snapshot: SessionSnapshot | None, mask: Mask) -> dict[str, Any]:
    if snapshot is None:
        return {"session_id": None, "options": {}}
    fields = attrs.asdict(snapshot, recurse=False)
    return {name: value for name, value in fields.items() if name not in {"channel", "extra", "options"}} | {
        "options": _given(snapshot.options, mask)
    }


def _given(options: ChannelOptions, mask: Mask) -> dict[str, Any]:
    """The options that the channel has, without what may be a secret in them."""
    given = attrs.asdict(options, recurse=False)
    return {name: shown(name, value, mask) for name, value in given.items() if value is not None}


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"{text!r} is no change of an option; write option=value, or option= to give it back")
    checked_names(ChannelOptions, {name: None})
    return name, from_text(attrs.fields_dict(ChannelOptions)[name], value, name) if value else None


def _because(reason: str | None) -> dict[str, str]:
    return {} if reason is None else {"reason": reason}


def _done(changed: bool, what: str, otherwise: str) -> int:
    """Say what came of it; that nothing had to be done is no failure."""
    write(f"{what if changed else otherwise}\n")
    return Exit.DONE


def _plain(value: Any) -> str:
    return visible(value if isinstance(value, str) else _json(value, indent=False).strip().strip('"'))


def _json(value: Any, *, indent: bool = True) -> str:
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    return orjson.dumps(value, default=_plainer, option=option).decode()


def _plainer(value: Any) -> Any:
    return attrs.asdict(value) if attrs.has(type(value)) else str(value)
