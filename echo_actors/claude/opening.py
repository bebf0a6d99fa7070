"""Opening the driver: all that keeps CLI processes and runs turns on them, and nothing of it left at the end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio

from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.command import BUDGET_SINCE
from echo_actors.claude.driver import Launch
from echo_actors.claude.locate import find_cli, read_version
from echo_actors.claude.memory import Memory
from echo_actors.claude.ownership import Ownership
from echo_actors.claude.residency import COMPOSED_SINCE, Residency
from echo_actors.claude.roster import Roster
from echo_actors.claude.session_users import SessionUsers
from echo_actors.claude.spares import Spares
from echo_actors.claude.spawning import Spawner
from echo_actors.claude.transcript import config_dir
from echo_actors.claude.vitals import Vitals
from echo_actors.errors import SettingsError
from echo_actors.settings import Settings


@asynccontextmanager
async def open_residency(
    settings: Settings, run_id: str, record: Record, launch: Launch, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Residency]:
    """Open the driver for the block; at its end every process is ended.

    Args:
        settings: Of the engine.
        run_id: Its run.
        record: Takes audit records.
        launch: How spares run.
        environ: The variables of this program, as they are by default.

    Raises:
        CLINotFound: There is no usable CLI.
        SettingsError: It cannot limit what a turn costs, and shall.
    """
    environ = os.environ if environ is None else environ
    cli = find_cli(settings.claude_bin, environ)
    version = await read_version(cli)
    record("cli.found", path=str(cli), version=version.text, defused=not version.at_least(*COMPOSED_SINCE))
    if settings.turn_budget_usd is not None and not version.at_least(*BUDGET_SINCE):
        needed = ".".join(map(str, BUDGET_SINCE))
        raise SettingsError(
            f"turn_budget_usd needs a CLI of version {needed} or newer; {cli} says {version.text!r}.",
            "turn_budget_usd",
        )
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        roster = Roster(settings.max_residents, settings.hibernate_after, record, nursery)
        memory = Memory(roster, settings.max_resident_memory, settings.recycle_above)
        spawner = Spawner(
            settings=settings,
            run_id=run_id,
            record=record,
            cli=cli,
            version=version,
            environ=environ,
            nursery=nursery,
            starts=Slots(settings.start_slots),
            vacate=roster.vacate,
        )
        config = config_dir({**environ, **settings.environment})
        ownership = Ownership(settings.session_conflict, record, SessionUsers(config, run_id), config)
        spares = Spares(settings.spares, launch, settings.start_timeout, roster, spawner, ownership, memory, record)
        roster.on_change = spares.nudge
        nursery.start_soon(roster.hibernate_idle)
        nursery.start_soon(memory.watch)
        nursery.start_soon(spares.keep)
        nursery.start_soon(Vitals(roster.watched).watch, min(2.0, settings.idle_timeout / 5))
        try:
            yield Residency(settings, spawner, roster, ownership, spares, memory)
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - raised again below, outside of the nursery's exception group
            error = caught
        finally:
            with trio.CancelScope(shield=True):
                await spares.close()
                await roster.let_all_go("the engine closed")
            nursery.cancel_scope.cancel()
    if error is not None:
        raise error
