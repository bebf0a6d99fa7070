"""``echo-actors doctor``: whether an engine could work here, and what to do if not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import attrs
from cyclopts import Parameter
from rich.text import Text

from echo_actors.commands.checks import (
    Finding,
    Level,
    check_cli,
    check_personality,
    check_scrubbing,
    check_settings,
    check_state,
)
from echo_actors.commands.exits import Exit
from echo_actors.commands.options import EngineOptions, Running
from echo_actors.commands.terminal import console, visible, write
from echo_actors.commands.values import SettingValue, as_json, setting_values, show_values
from echo_actors.errors import SettingsError
from echo_actors.settings import Settings

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}


async def doctor(
    *, json: Annotated[bool, Parameter(negative=())] = False, options: EngineOptions | None = None, ending: Running
) -> int:
    """Check the CLI, the settings, the state directory and the persona; nothing is changed.

    Args:
        json: Print the findings and settings as JSON.
        options: The settings that every engine takes.
        ending: How the command may be ended before its time.
    """
    del ending
    options = options or EngineOptions()
    findings: list[Finding] = []
    values: list[SettingValue] = []
    try:
        gathered = options.gathered()
        settings = gathered.build(Settings)
    except SettingsError as problem:
        # Without settings there is nothing more to look at.
        findings.append(Finding.problem("settings", str(problem), "correct or unset it", Exit.USAGE))
    else:
        values = setting_values(settings, gathered)
        findings.append(check_settings(gathered))
        findings += await check_cli(settings, os.environ)
        findings += check_scrubbing(settings, os.environ)
        findings += check_state(settings.state_dir)
        findings.append(check_personality(settings, Path.cwd()))
    if json:
        write(as_json({"findings": list(map(attrs.asdict, findings)), "settings": list(map(attrs.asdict, values))}))
    else:
        _show(findings, values)
    # The codes are in the order in which the things are needed.
    return min((finding.exit for finding in findings if finding.exit), default=Exit.DONE)


def _show(findings: list[Finding], values: list[SettingValue]) -> None:
    screen = console()
    for finding in findings:
        line = Text(f"{finding.level:<8}", style=_STYLES[finding.level])
        line.append(f" {finding.subject:<12} ", style="bold").append(visible(finding.text), style="default")
        screen.print(line, soft_wrap=True)
        if finding.remedy:
            screen.print(Text(f"{'':22}→ {visible(finding.remedy)}"), soft_wrap=True)
    if values:
        screen.print(Text("\nsettings", style="bold"))
    show_values(values, indent="  ")
