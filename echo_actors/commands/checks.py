"""What a doctor looks at. Each check gives findings and changes nothing but the text of a lock nobody holds."""

from __future__ import annotations

import enum
import os
import pwd
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

import attrs

from echo_actors.claude.locate import find_cli, read_version
from echo_actors.claude.residency import COMPOSED_SINCE
from echo_actors.commands.exits import Exit
from echo_actors.errors import CLINotFound, PersonalityError, StoreError, StoreLocked
from echo_actors.personality import PERSONALITY_FILES, build_system_prompt, default_personality_dir
from echo_actors.settings import Settings
from echo_actors.settings.sources import Gathered
from echo_actors.state.lock import lock_directory

ROOM: Final = 100 * 2**20
"""Free bytes below which the state directory counts as full: a store with its log, and some audit records."""


class Level(enum.StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@attrs.frozen
class Finding:
    """What was found about one thing.

    Attributes:
        remedy: What to do about it, empty where nothing is to be done.
        exit: The exit code that a problem asks for, 0 for what is none.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""
    exit: Exit = Exit.DONE

    @classmethod
    def ok(cls, subject: str, text: str) -> Self:
        """All is well."""
        return cls(Level.OK, subject, text)

    @classmethod
    def warning(cls, subject: str, text: str, remedy: str) -> Self:
        """It works, and could be better."""
        return cls(Level.WARNING, subject, text, remedy)

    @classmethod
    def problem(cls, subject: str, text: str, remedy: str, exit_code: Exit) -> Self:
        """It does not work."""
        return cls(Level.PROBLEM, subject, text, remedy, exit_code)


def check_settings(gathered: Gathered) -> Finding:
    """The settings file: which one is in use, or where there would be one."""
    if gathered.file is not None:
        count = len(gathered.file.values)
        return Finding.ok("settings", f"{gathered.file.path}, {count} setting{'' if count == 1 else 's'}")
    if gathered.searched is None:
        return Finding.ok("settings", "no file is read: ECHO_ACTORS_SETTINGS_FILE is empty")
    return Finding.ok("settings", f"no file; there would be one at {gathered.searched.absolute()}")


async def check_cli(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """The CLI: where it is, by which rule it was found, and what its version means."""
    try:
        path = find_cli(settings.claude_bin, environ)
        version = await read_version(path)
    except CLINotFound as problem:
        reason = " ".join((problem.reason, *(f"Looked in: {place}." for place in problem.searched)))
        remedy = "pip install 'echo-actors[claude]', or npm install -g @anthropic-ai/claude-code, or set CLAUDE_BIN"
        return [Finding.problem("cli", reason, remedy, Exit.NO_CLI)]
    found = Finding.ok("cli", f"{path}, found by {_rule(settings, environ)}")
    wanted = ".".join(map(str, COMPOSED_SINCE))
    if not version.text:
        remedy = f"try `{path} --version`, and install it again if that fails"
        return [found, Finding.problem("cli version", "it does not tell its version", remedy, Exit.NO_CLI)]
    line = version.text.splitlines()[0]
    if "Claude" not in line:
        return [found, Finding.warning("cli version", f"{line}: is that the Claude CLI?", "name it with CLAUDE_BIN")]
    if not version.at_least(*COMPOSED_SINCE):
        text = f"{line}: older than {wanted} or unknown, so `@` and a leading `/` in messages are defused"
        return [found, Finding.warning("cli version", text, f"install {wanted} or newer")]
    return [found, Finding.ok("cli version", line)]


def _rule(settings: Settings, environ: Mapping[str, str]) -> str:
    """The rule by which ``find_cli`` found it."""
    if settings.claude_bin is not None:
        return "the setting claude_bin"
    if environ.get("CLAUDE_BIN"):
        return "CLAUDE_BIN"
    return "PATH" if shutil.which("claude", path=environ.get("PATH", os.defpath)) else "the SDK's wheel"


def check_scrubbing(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Whether the CLI can hide its credentials from its tools, if it is to."""
    if not settings.scrub_tool_environment:
        return []
    found = shutil.which("bwrap", path=environ.get("PATH", os.defpath))
    if found is None:
        text = "scrub_tool_environment is on and there is no bubblewrap, without which the CLI does not start"
        return [Finding.problem("bubblewrap", text, "install bubblewrap, or unset the setting", Exit.NO_CLI)]
    return [Finding.ok("bubblewrap", found)]


def check_state(state_dir: Path) -> list[Finding]:
    """The state directory: whether it can be written, who holds it, and how much room there is."""
    path = state_dir.absolute()
    existing = next(each for each in (path, *path.parents) if each.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = "make it writable for this user, or choose another state_dir"
        text = f"{path}: {existing} is not a directory that this user can write to"
        return [Finding.problem("state", text, remedy, Exit.STORE)]
    findings = [_ownership(path) if existing == path else Finding.ok("state", f"{path} will be made")]
    free = shutil.disk_usage(existing).free
    if free < ROOM:
        remedy = "free some space, or choose another state_dir"
        return [*findings, Finding.problem("disk", f"{free / 2**20:.0f} MiB are free", remedy, Exit.STORE)]
    return [*findings, Finding.ok("disk", f"{free / 2**30:.1f} GiB are free")]


def _ownership(path: Path) -> Finding:
    try:
        lock_directory(path, now=datetime.now(UTC)).release()
    except StoreLocked as problem:
        return Finding.warning("state", str(problem), "nothing, if that is your engine")
    except StoreError as problem:
        return Finding.problem("state", str(problem), "see the text", Exit.STORE)
    return Finding.ok("state", f"{path}, of user {_user(path.stat().st_uid)}, not in use")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def check_personality(settings: Settings, cwd: Path) -> Finding:
    """The persona: whether a system prompt can be built, and of which files."""
    folder = settings.personality_dir or default_personality_dir(cwd)
    try:
        prompt = build_system_prompt(folder)
    except PersonalityError as problem:
        remedy = "correct the folder, or name another with personality_dir"
        return Finding.problem("personality", str(problem), remedy, Exit.USAGE)
    present = [name for name in PERSONALITY_FILES if (folder / name).is_file()]
    return Finding.ok("personality", f"{folder.absolute()}: {', '.join(present)}; {len(prompt)} characters")
