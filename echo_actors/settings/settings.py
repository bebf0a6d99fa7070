"""The engine's settings: plain values, from code, from ``ECHO_ACTORS_*`` variables and from a file.

``Settings(...)`` takes what it is given and nothing else. ``Settings.load(**overrides)`` takes the environment below
the overrides, and the settings file below that. An unknown name is an error that names the nearest known one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from echo_actors.errors import SettingsError
from echo_actors.models import FullPolicy, SessionConflict, Trust
from echo_actors.settings.arguments import cli_arguments
from echo_actors.settings.checks import amount, effort, permission_mode, price, setting_sources, share
from echo_actors.settings.forms import nearest, setting
from echo_actors.settings.machine import usable_memory
from echo_actors.settings.options import ChannelOptions, Policy
from echo_actors.settings.sources import gather
from echo_actors.settings.tables import agents, cli_settings, hooks, json_schema, mcp_servers
from echo_actors.settings.tools import DEFAULT_TOOLS


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
    control_socket: bool = setting(
        default=True, doc="Listen on a socket in the state directory, for the commands of the same user."
    )
    audit_max_bytes: int = setting(64 * 2**20, "The bytes above which the audit log goes on in a new file.")
    audit_max_age: float = setting(
        86400.0, "For the audit log's first record to be in a file before it goes on in a new one.", unit="s"
    )
    audit_keep_files: int = setting(100, "How many full files of the audit log are kept; the log records what goes.")
    audit_keep_for: float = setting(
        90 * 86400.0, "For a full file of the audit log to be kept after its last record.", unit="s"
    )
    audit_sync: bool = setting(
        default=False,
        doc="Have the audit log on the disk before a turn's end is announced, if that takes at most 5 s.",
    )
    secrets: tuple[str, ...] = setting(
        (), "Names of variables whose values the audit log must not have, besides those that sound like it (API_KEY)."
    )
    telemetry: bool = setting(
        default=False, doc="Make spans of messages, turns and tools, and count them for metrics."
    )
    claude_bin: Path | None = setting(None, "The CLI; else CLAUDE_BIN, else PATH, else the SDK wheel's.")
    model: str = setting("sonnet", "The model of channels that have not chosen one; one of `models`.")
    models: tuple[str, ...] = setting(("haiku", "sonnet", "opus"), "The models that may be chosen.")
    working_dir: Path = setting(Path(), "The directory that the CLI and its tools run in.")
    allowed_tools: tuple[str, ...] = setting(
        DEFAULT_TOOLS, "Tools that may be used without asking.", shown=f"{len(DEFAULT_TOOLS)} tools"
    )
    available_tools: tuple[str, ...] | None = setting(
        None, "The CLI's own tools that there are at all; [] for none, else all that it has.", shown="all"
    )
    disallowed_tools: tuple[str, ...] = setting((), "Tools that may not be used, whatever else is said.")
    private_network: str = setting(
        "", "An address, or the beginning of one, that tools may also reach by ssh, scp and rsync."
    )
    permission_mode: str = setting("default", "The CLI's permission mode.", permission_mode)
    permission_questions: bool = setting(
        default=False,
        doc="Ask whether tools may be used that are not allowed; else the CLI denies them. A callback turns this on.",
    )
    policies: dict[Trust, Policy] = setting(
        attrs.Factory(dict), "What each level of trust may do; strangers have no tools unless it says so."
    )
    channels: dict[str, ChannelOptions] = setting(
        attrs.Factory(dict), "Options that channels have of their own; what was set live goes before them."
    )
    mcp_servers: dict[str, Any] | None = setting(
        None, "MCP servers by name, and no others; {} for none, else those that the CLI knows.", mcp_servers
    )
    hooks: dict[str, Any] = setting(attrs.Factory(dict), "Hooks by event, as in the CLI's settings.", hooks)
    agents: dict[str, Any] = setting(attrs.Factory(dict), "Agents that the model may call, by name.", agents)
    json_schema: dict[str, Any] | None = setting(
        None, "The JSON Schema of what replies then have as `structured_output`.", json_schema
    )
    append_system_prompt: str = setting("", "Text after the persona in the system prompt.")
    add_dirs: tuple[str, ...] = setting((), "Directories that tools may use besides the working directory.")
    max_turns: int | None = setting(None, "How many requests to the model one message may lead to.")
    effort: str | None = setting(
        None, "How hard the model thinks: low, medium, high, xhigh or max.", effort, shown="the CLI's"
    )
    fallback_model: str | None = setting(None, "The model for when the other is overloaded; one of `models`.")
    cli_settings: dict[str, Any] = setting(
        attrs.Factory(dict), "More of the CLI's own settings, but hooks.", cli_settings
    )
    setting_sources: tuple[str, ...] | None = setting(
        None,
        "Which of the CLI's own settings hold: user, project, local; [] for none, else all.",
        setting_sources,
        shown="all",
    )
    environment: dict[str, str] = setting(
        attrs.Factory(dict), "Variables for the CLI besides those that the allowlist passes on."
    )
    pass_environment: tuple[str, ...] = setting((), "Names of host variables to pass on besides the allowlist.")
    scrub_tool_environment: bool = setting(
        default=False, doc="Hide credentials from the CLI's own tools; the CLI then needs bubblewrap."
    )
    cli_arguments: tuple[str, ...] = setting((), "Further arguments for the CLI, as they are.", cli_arguments)
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
        shown="half of the machine's, or of its container's limit",
    )
    recycle_above: int = setting(
        2**30, "The bytes of private memory above which a channel's CLI ends after its turn; the next resumes."
    )
    spares: int = setting(
        0, "How many CLI processes are started ahead, for channels that come; each takes a place.", least=0
    )
    start_slots: int = setting(
        attrs.Factory(lambda: os.cpu_count() or 1),
        "How many CLI processes may start at once (a start is CPU-bound).",
        shown="the machine's cores",
    )
    mailbox_size: int = setting(100, "How many messages may wait in one channel.")
    full_mailbox: FullPolicy = setting(FullPolicy.REJECT, "What happens to a message that finds it full.")
    max_attempts: int = setting(3, "How often a message is started before it becomes a dead letter.")
    max_message_bytes: int = setting(1_000_000, "The longest message text, in bytes of UTF-8.")
    max_line_bytes: int = setting(32 * 2**20, "The longest line read from the CLI; a longer one is skipped.")
    subscriber_buffer: int = setting(1000, "How many events wait for one subscriber before it lags.")
    event_ring: int = setting(10_000, "How many past events can be asked for with a cursor.")

    daily_budget_usd: float | None = setting(
        None, "What each channel may cost in a day of UTC, in US dollars.", amount
    )
    monthly_budget_usd: float | None = setting(None, "The same for a calendar month.", amount)
    overall_daily_budget_usd: float | None = setting(
        None, "What all channels together may cost in a day of UTC, in US dollars.", amount
    )
    overall_monthly_budget_usd: float | None = setting(None, "The same for a calendar month.", amount)
    budget_warning_share: float = setting(0.8, "The share of a budget at which a warning is published.", share)
    turn_budget_usd: float | None = setting(
        None, "What one turn may cost before the CLI ends it, in US dollars.", price
    )

    queue_timeout: float = setting(3600.0, "For a message to wait until its turn starts.", unit="s")
    first_event_timeout: float = setting(120.0, "For the CLI to begin a message it was given.", unit="s")
    start_timeout: float = setting(60.0, "For a CLI process to start and take a message.", unit="s")
    idle_timeout: float = setting(300.0, "Without a sign of life from a turn.", unit="s")
    total_timeout: float = setting(3600.0, "For a whole turn; always finite.", finite=True, unit="s")
    permission_timeout: float = setting(
        300.0, "For a permission question to be answered; then the tool is denied.", unit="s"
    )
    teardown_timeout: float = setting(10.0, "For a process to be gone once its end was decided.", unit="s")
    interrupt_grace: float = setting(2.0, "For a turn to end by itself after an interrupt.", unit="s")
    write_timeout: float = setting(10.0, "For the CLI to take one message from its standard input.", unit="s")
    hibernate_after: float = setting(600.0, "Idle time after which a channel's CLI process ends.", unit="s")
    passivate_after: float = setting(60.0, "Idle time after which a channel's actor leaves memory.", unit="s")
    outcome_retention: float = setting(7 * 86400.0, "For an outcome, and its idempotency key, to be kept.", unit="s")
    reply_retention: float = setting(7 * 86400.0, "For the reply in an outcome to be kept.", unit="s")
    drain_timeout: float = setting(30.0, "For running turns to end when the engine closes.", unit="s")

    def __attrs_post_init__(self) -> None:
        """Check what types alone do not say."""
        self._check_models(self, ())
        for channel, options in self.channels.items():
            self._check_models(options, ("channels", channel))
        if not re.fullmatch(r"[\w.:-]*", self.private_network):
            raise SettingsError(
                f"private_network must be an address or the beginning of one, not {self.private_network!r}.",
                "private_network",
            )

    def check_model(self, model: str | None, name: str = "model", within: tuple[str, ...] = ()) -> None:
        """Check that a model, if it is one, may be chosen.

        Args:
            model: The model.
            name: The setting that chooses it.
            within: The tables that this is in.

        Raises:
            SettingsError: It may not; the text lists those that may.
        """
        if model is not None and model not in self.models:
            raise SettingsError(
                f"Unknown model {model!r}; valid ones are {', '.join(self.models)}.",
                name,
                nearest(model, self.models),
                within,
            )

    def check_options(self, options: ChannelOptions) -> None:
        """Check that a channel may have these options.

        Raises:
            SettingsError: One of their models may not be chosen.
        """
        self._check_models(options, ())

    def _check_models(self, chooser: Settings | ChannelOptions, within: tuple[str, ...]) -> None:
        self.check_model(chooser.model, "model", within)
        self.check_model(chooser.fallback_model, "fallback_model", within)
        for trust, policy in (chooser.policies or {}).items():
            self.check_model(policy.model, "model", (*within, "policies", trust.value))

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
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        /,
        *,
        settings_file: Path | str | None = None,
        **overrides: Any,
    ) -> Settings:
        """Build settings from the settings file, with the environment above it, and the overrides above both.

        Args:
            environ: The variables to read; those of this process by default.
            settings_file: The file; else the one that ``ECHO_ACTORS_SETTINGS_FILE`` names (none if that is empty),
                else ``echo_actors.toml`` beside the state directory, if there is one.
            **overrides: Settings by name.

        Raises:
            SettingsError: A name is unknown, a value cannot be used, or the file cannot be read.
        """
        return gather(cls, os.environ if environ is None else environ, overrides, file=settings_file).build(cls)
