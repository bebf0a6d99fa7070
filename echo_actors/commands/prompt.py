"""``echo-actors prompt``: the system prompt."""

from __future__ import annotations

from pathlib import Path

import trio

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import PersonalityDir, Running, SettingsFile, loaded
from echo_actors.commands.terminal import write
from echo_actors.personality import build_system_prompt, default_personality_dir


async def prompt(
    *, personality_dir: PersonalityDir = None, settings_file: SettingsFile = None, ending: Running
) -> int:
    """Print the system prompt, exactly as it is sent."""
    del ending
    await trio.lowlevel.checkpoint()
    settings = loaded(settings_file, personality_dir=personality_dir)
    write(build_system_prompt(settings.personality_dir or default_personality_dir(Path.cwd())))
    return Exit.DONE
