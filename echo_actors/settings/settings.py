"""The engine's settings: plain values, from code and from ``ECHO_ACTORS_*`` variables.

``Settings(...)`` takes what it is given and nothing else. ``Settings.load(**overrides)`` takes the environment below
the overrides. An unknown name is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from echo_actors.errors import SettingsError
from echo_actors.models import FullPolicy, SessionConflict
from echo_actors.settings.forms import from_text, setting
from echo_actors.settings.machine import usable_memory
from echo_actors.settings.tools import DEFAULT_TOOLS

PREFIX = "ECHO_ACTORS_"

_DURATION = {"unit": "s"}


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class Settings:
    """All settings, with their defaults. Durations are in seconds; ``float("inf")`` is never, where it is allowed."""

    state_dir: Path = setting(Path("state"), "Where the store, the audit log and prompt files are kept.")
    personality_dir: Path | None = setting(
        None, "The persona's folder; else ./personality where there is one, else the one in the package."
    )
    audit_path: Path | None = setting(None, "The audit log; else audit.jsonl in the state directory.")
    audit_content: bool = setting(default=False, doc="Write message and reply texts into the audit log.")
    telemetry: bool = setting(
        default=False, doc="Make spans of messages, turns and tools, and count them for metrics."
    )
    claude_bin: Path | None = setting(None, "The CLI; else CLAUDE_BIN, else PATH, else the SDK wheel's.")
    model: str = setting("sonnet", "The model of channels that have not chosen one; one of `models`.")
    models: tuple[str, ...] = setting(("haiku", "sonnet", "opus"), "The models that may be chosen.")
    working_dir: Path = setting(Path(), "The directory that the CLI and its tools run in.")
    allowed_tools: tuple[str, ...] = setting(DEFAULT_TOOLS, "Tools that may be used without asking.")
    private_network: str = setting(
        "", "An address, or the beginning of one, that tools may also reach by ssh, scp and rsync."
    )
    permission_mode: str = setting("default", "The CLI's permission mode.")
    environment: dict[str, str] = setting(
        attrs.Factory(dict), "Variables for the CLI besides those that the allowlist passes on."
    )
    pass_environment: tuple[str, ...] = setting((), "Names of host variables to pass on besides the allowlist.")
    scrub_tool_environment: bool = setting(
        default=False, doc="Hide credentials from the CLI's own tools; the CLI then needs bubblewrap."
    )
    cli_arguments: tuple[str, ...] = setting((), "Further arguments for the CLI, as they are.")
    warm: bool = setting(default=True, doc="Keep one CLI process per channel in use; else one per message.")
    session_conflict: SessionConflict = setting(
        SessionConflict.WAIT, "What a turn does whose session another engine, a terminal or another program has open."
    )
    stream_deltas: bool = setting(default=True, doc="Publish parts of a text block while it is written.")

    turn_slots: int = setting(32, "How many turns may run at once.")
    max_residents: int = setting(32, "How many CLI processes there may be; fewer than turn slots limit the turns too.")
    max_resident_memory: int = setting(
        attrs.Factory(lambda: usable_memory() // 2),
        "How many bytes of private memory CLI processes and their tools may have before idle ones hibernate.",
    )
    recycle_above: int = setting(
        2**30, "The bytes of private memory above which a channel's CLI ends after its turn; the next resumes."
    )
    spares: int = setting(
        0, "How many CLI processes are started ahead, for channels that come; each takes a place.", least=0
    )
    start_slots: int = setting(
        attrs.Factory(lambda: os.cpu_count() or 1), "How many CLI processes may start at once (a start is CPU-bound)."
    )
    mailbox_size: int = setting(100, "How many messages may wait in one channel.")
    full_mailbox: FullPolicy = setting(FullPolicy.REJECT, "What happens to a message that finds it full.")
    max_attempts: int = setting(3, "How often a message is started before it becomes a dead letter.")
    max_message_bytes: int = setting(1_000_000, "The longest message text, in bytes of UTF-8.")
    max_line_bytes: int = setting(32 * 2**20, "The longest line read from the CLI; a longer one is skipped.")
    subscriber_buffer: int = setting(1000, "How many events wait for one subscriber before it lags.")
    event_ring: int = setting(10_000, "How many past events can be asked for with a cursor.")

    queue_timeout: float = setting(3600.0, "For a message to wait until its turn starts.", **_DURATION)
    first_event_timeout: float = setting(120.0, "For the CLI to begin a message it was given.", **_DURATION)
    start_timeout: float = setting(60.0, "For a CLI process to start and take a message.", **_DURATION)
    idle_timeout: float = setting(300.0, "Without a sign of life from a turn.", **_DURATION)
    total_timeout: float = setting(3600.0, "For a whole turn; always finite.", **_DURATION)
    teardown_timeout: float = setting(10.0, "For a process to be gone once its end was decided.", **_DURATION)
    interrupt_grace: float = setting(2.0, "For a turn to end by itself after an interrupt.", **_DURATION)
    write_timeout: float = setting(10.0, "For the CLI to take one message from its standard input.", **_DURATION)
    hibernate_after: float = setting(600.0, "Idle time after which a channel's CLI process ends.", **_DURATION)
    passivate_after: float = setting(60.0, "Idle time after which a channel's actor leaves memory.", **_DURATION)
    outcome_retention: float = setting(
        7 * 86400.0, "For an outcome, and its idempotency key, to be kept.", **_DURATION
    )
    reply_retention: float = setting(7 * 86400.0, "For the reply in an outcome to be kept.", **_DURATION)
    drain_timeout: float = setting(30.0, "For running turns to end when the engine closes.", **_DURATION)

    def __attrs_post_init__(self) -> None:
        """Check what types alone do not say."""
        for field in attrs.fields(Settings):
            value = getattr(self, field.name)
            if "unit" in field.metadata:
                finite_only = field.name == "total_timeout"
                if not value > 0 or math.isnan(value) or (finite_only and math.isinf(value)):
                    raise SettingsError(
                        f"{field.name} must be a positive{' and finite' if finite_only else ''} number of seconds, "
                        f"not {value!r}.",
                        field.name,
                    )
            elif type(value) is int and value < (least := field.metadata.get("least", 1)):
                raise SettingsError(f"{field.name} must be at least {least}, not {value!r}.", field.name)
        self.check_model(self.model)
        if not re.fullmatch(r"[\w.:-]*", self.private_network):
            raise SettingsError(
                f"private_network must be an address or the beginning of one, not {self.private_network!r}.",
                "private_network",
            )

    def check_model(self, model: str) -> str:
        """Give the model back if it may be chosen.

        Raises:
            SettingsError: It may not; the text lists those that may.
        """
        if model not in self.models:
            nearest = difflib.get_close_matches(model, self.models, n=1)
            raise SettingsError(
                f"Unknown model {model!r}; valid ones are {', '.join(self.models)}.",
                "model",
                nearest[0] if nearest else "",
            )
        return model

    @property
    def tools(self) -> tuple[str, ...]:
        """All tools that may be used without asking, those for the private network included."""
        if not self.private_network:
            return self.allowed_tools
        reach = tuple(f"Bash({program} *{self.private_network}*)" for program in ("ssh", "scp", "rsync"))
        return (*self.allowed_tools, *reach)

    @property
    def audit_file(self) -> Path:
        """Where the audit log is written."""
        return self.audit_path or self.state_dir / "audit.jsonl"

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, /, **overrides: Any) -> Settings:
        """Build settings from the environment, with the overrides above it.

        Args:
            environ: The variables to read; those of this process by default.
            **overrides: Settings by name.

        Raises:
            SettingsError: A name is unknown, or a value cannot be used.
        """
        values: dict[str, Any] = {}
        for variable, text in sorted((os.environ if environ is None else environ).items()):
            if variable.startswith(PREFIX):
                name = variable.removeprefix(PREFIX).lower()
                values[name] = from_text(_field(name, variable), text, variable)
        for name, value in overrides.items():
            _field(name, name)
            values[name] = value
        return cls(**values)


def _field(name: str, shown: str) -> attrs.Attribute[Any]:
    fields = attrs.fields_dict(Settings)
    if name not in fields:
        nearest = difflib.get_close_matches(name, fields, n=1)
        spelled = PREFIX + nearest[0].upper() if nearest and shown.startswith(PREFIX) else "".join(nearest)
        raise SettingsError(f"There is no setting {shown}.", shown, spelled)
    return fields[name]
