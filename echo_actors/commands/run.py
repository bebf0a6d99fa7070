"""``echo-actors run``: the engine as a service, in the foreground."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter

from echo_actors.commands.options import EngineOptions, Running
from echo_actors.commands.service import feed_watchdog, holding_pid, notify
from echo_actors.commands.terminal import visible, write


async def run(
    *,
    pid_file: Annotated[Path | None, Parameter(name="--pid-file")] = None,
    options: EngineOptions | None = None,
    ending: Running,
) -> int:
    """Run an engine until it is asked to end, for the commands that talk to one.

    SIGTERM, SIGINT or SIGHUP lets running turns end within the setting drain_timeout; what is left runs at the next
    start. A second signal cuts them. Under systemd, this is a service of Type=notify.

    Args:
        pid_file: The file to keep the process's id in.
        options: The settings that every engine takes.
        ending: How the command may be ended before its time.
    """
    # Only a signal leads out of here, and cancels the command when the engine has drained.
    settings = (options or EngineOptions()).settings()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed_watchdog, os.environ)
        # The file comes when the engine takes messages, and goes when it has drained.
        with ExitStack() as after:
            async with ending.engine(settings):
                after.enter_context(holding_pid(pid_file))
                notify("READY=1", os.environ)
                write(f"running on {visible(str(settings.state_dir))}, process {os.getpid()}\n")
                try:
                    await trio.sleep_forever()
                finally:
                    notify("STOPPING=1", os.environ)
