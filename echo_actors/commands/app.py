"""The command line: which subcommands there are, and how a call of one begins and ends."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import partial

import structlog
from cyclopts import App, CycloptsError

from echo_actors._version import __version__
from echo_actors.commands.audit import audit
from echo_actors.commands.backup import backup
from echo_actors.commands.channel import channel
from echo_actors.commands.chat import chat
from echo_actors.commands.dead_letters import dead_letters
from echo_actors.commands.demo import demo
from echo_actors.commands.doctor import doctor
from echo_actors.commands.exits import Exit, abandon_output, report
from echo_actors.commands.export_sessions import export_sessions
from echo_actors.commands.history import history
from echo_actors.commands.import_sessions import import_sessions
from echo_actors.commands.prompt import prompt
from echo_actors.commands.restore import restore
from echo_actors.commands.run import run
from echo_actors.commands.send import send
from echo_actors.commands.sessions import sessions
from echo_actors.commands.settings import settings
from echo_actors.commands.signals import Ending, supervise
from echo_actors.commands.stats import stats
from echo_actors.commands.top import top
from echo_actors.commands.watch import watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, those of the process by default; return the exit code."""
    try:
        _prepare_streams()
        code = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - what is not expected is raised again by report
        code = report(error)
    abandon_output()
    return code


def _run(arguments: Sequence[str]) -> int:
    app = application()
    try:
        command, bound, injected = app.parse_args(list(arguments), exit_on_error=False)
    except CycloptsError:
        return Exit.USAGE  # it was printed
    if not injected:  # help and version
        command(*bound.args, **bound.kwargs)
        return Exit.DONE

    async def call(ending: Ending) -> int:
        values = dict.fromkeys(injected, ending)
        return int(await partial(command, *bound.args, **bound.kwargs)(**values))

    return supervise(call)


def application() -> App:
    """All subcommands."""
    app = App(
        name="echo-actors",
        help="One supervised Claude conversation per chat channel.",
        version=__version__,
        help_format="plaintext",
    )
    talking = (run, chat, send)
    looking = (top, watch, sessions, history, channel, dead_letters, audit, stats)
    keeping = (backup, restore)
    for command in (*talking, *looking, *keeping, prompt, settings, doctor, demo):
        app.command(command)
    app.command(import_sessions, name="import")
    app.command(export_sessions, name="export")
    return app


def _prepare_streams() -> None:
    """Keep standard output for what was asked for, and let no character be one that it cannot take."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def _open_closed_streams() -> None:
    """Have all three streams; whoever started this program without one gives nothing, or wants to see nothing.

    Python has None for such a stream, and whatever is opened next would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
