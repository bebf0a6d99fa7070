"""The engine's settings: plain values, from code and from ``ECHO_ACTORS_*`` variables.

``Settings(...)`` takes what it is given and nothing else. ``Settings.load(**overrides)`` takes the environment below
the overrides. An unknown name is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs
import orjson
import psutil

from echo_actors.errors import SettingsError
from echo_actors.models import FullPolicy, SessionConflict

PREFIX = "ECHO_ACTORS_"

DEFAULT_TOOLS = (
    *("Read", "Edit", "Write", "Glob", "Grep", "WebFetch", "WebSearch"),
    *("Bash(python3 *)", "Bash(pip *)", "Bash(pytest *)"),
    *(
        f"Bash(git {verb} *)"
        for verb in ("add", "commit", "push", "pull", "status", "diff", "log", "checkout", "branch", "stash")
    ),
    *("Bash(npm *)", "Bash(node *)", "Bash(npx *)", "Bash(systemctl --user *)", "Bash(trash *)"),
    *(f"Bash({name} *)" for name in ("mkdir", "cp", "mv", "ls", "cat", "chmod", "docker", "docker-compose")),
)
"""The tools that a turn may use without being asked, unless ``allowed_tools`` says otherwise."""

_DURATION = {"unit": "s"}


def _exactly(*kinds: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError
        return value

    return check


def _path(value: Any) -> Path:
    return Path(_exactly(str, Path)(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_exactly(str)(each) for each in _exactly(tuple, list)(value))


def _table(value: Any) -> dict[str, str]:
    return {_exactly(str)(name): _exactly(str)(each) for name, each in _exactly(dict)(value).items()}


_FORMS: Final[dict[Any, tuple[str, Callable[[Any], Any]]]] = {
    str: ("text", _exactly(str)),
    bool: ("true or false", _exactly(bool)),
    int: ("a whole number", _exactly(int)),
    float: ("a number", lambda value: float(_exactly(int, float)(value))),
    Path: ("a path", _path),
    Path | None: ("a path", lambda value: None if value is None else _path(value)),
    tuple[str, ...]: ("a list of texts (in a variable: JSON)", _texts),
    dict[str, str]: ("a table of texts (in a variable: JSON)", _table),
    FullPolicy: (", ".join(FullPolicy) + " (one of them)", FullPolicy),
    SessionConflict: (", ".join(SessionConflict) + " (one of them)", SessionConflict),
}
"""What a setting of each type is called, and what makes its value from what was given."""

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _coerce(value: Any, field: attrs.Attribute[Any]) -> Any:
    what, make = _FORMS[field.type]
    try:
        return make(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{field.name} must be {what}, not {value!r}.", field.name) from None


def _setting(default: Any, doc: str, **metadata: str | int) -> Any:
    converter = attrs.Converter(_coerce, takes_field=True)
    return attrs.field(default=default, converter=converter, metadata={"doc": doc, **metadata})


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class Settings:
    """All settings, with their defaults. Durations are in seconds; ``float("inf")`` is never, where it is allowed."""

    state_dir: Path = _setting(Path("state"), "Where the store, the audit log and prompt files are kept.")
    personality_dir: Path | None = _setting(
        None, "The persona's folder; else ./personality where there is one, else the one in the package."
    )
    audit_path: Path | None = _setting(None, "The audit log; else audit.jsonl in the state directory.")
    audit_content: bool = _setting(default=False, doc="Write message and reply texts into the audit log.")
    claude_bin: Path | None = _setting(None, "The CLI; else CLAUDE_BIN, else PATH, else the SDK wheel's.")
    model: str = _setting("sonnet", "The model of channels that have not chosen one; one of `models`.")
    models: tuple[str, ...] = _setting(("haiku", "sonnet", "opus"), "The models that may be chosen.")
    working_dir: Path = _setting(Path(), "The directory that the CLI and its tools run in.")
    allowed_tools: tuple[str, ...] = _setting(DEFAULT_TOOLS, "Tools that may be used without asking.")
    private_network: str = _setting(
        "", "An address, or the beginning of one, that tools may also reach by ssh, scp and rsync."
    )
    permission_mode: str = _setting("default", "The CLI's permission mode.")
    environment: dict[str, str] = _setting(
        attrs.Factory(dict), "Variables for the CLI besides those that the allowlist passes on."
    )
    pass_environment: tuple[str, ...] = _setting((), "Names of host variables to pass on besides the allowlist.")
    scrub_tool_environment: bool = _setting(
        default=False, doc="Hide credentials from the CLI's own tools; the CLI then needs bubblewrap."
    )
    cli_arguments: tuple[str, ...] = _setting((), "Further arguments for the CLI, as they are.")
    warm: bool = _setting(default=True, doc="Keep one CLI process per channel in use; else one per message.")
    session_conflict: SessionConflict = _setting(
        SessionConflict.WAIT, "What a turn does whose session another engine, a terminal or another program has open."
    )
    stream_deltas: bool = _setting(default=True, doc="Publish parts of a text block while it is written.")

    turn_slots: int = _setting(32, "How many turns may run at once.")
    max_residents: int = _setting(
        32, "How many CLI processes there may be; fewer than turn slots limit the turns too."
    )
    max_resident_memory: int = _setting(
        attrs.Factory(lambda: psutil.virtual_memory().total // 2),
        "How many bytes of private memory CLI processes and their tools may have before idle ones hibernate.",
    )
    recycle_above: int = _setting(
        2**30, "The bytes of private memory above which a channel's CLI ends after its turn; the next resumes."
    )
    spares: int = _setting(
        0, "How many CLI processes are started ahead, for channels that come; each takes a place.", least=0
    )
    start_slots: int = _setting(
        attrs.Factory(lambda: os.cpu_count() or 1), "How many CLI processes may start at once (a start is CPU-bound)."
    )
    mailbox_size: int = _setting(100, "How many messages may wait in one channel.")
    full_mailbox: FullPolicy = _setting(FullPolicy.REJECT, "What happens to a message that finds it full.")
    max_attempts: int = _setting(3, "How often a message is started before it becomes a dead letter.")
    max_message_bytes: int = _setting(1_000_000, "The longest message text, in bytes of UTF-8.")
    max_line_bytes: int = _setting(32 * 2**20, "The longest line read from the CLI; a longer one is skipped.")
    subscriber_buffer: int = _setting(1000, "How many events wait for one subscriber before it lags.")
    event_ring: int = _setting(10_000, "How many past events can be asked for with a cursor.")

    queue_timeout: float = _setting(3600.0, "For a message to wait until its turn starts.", **_DURATION)
    first_event_timeout: float = _setting(120.0, "For the CLI to begin a message it was given.", **_DURATION)
    start_timeout: float = _setting(60.0, "For a CLI process to start and take a message.", **_DURATION)
    idle_timeout: float = _setting(300.0, "Without a sign of life from a turn.", **_DURATION)
    total_timeout: float = _setting(3600.0, "For a whole turn; always finite.", **_DURATION)
    teardown_timeout: float = _setting(10.0, "For a process to be gone once its end was decided.", **_DURATION)
    interrupt_grace: float = _setting(2.0, "For a turn to end by itself after an interrupt.", **_DURATION)
    write_timeout: float = _setting(10.0, "For the CLI to take one message from its standard input.", **_DURATION)
    hibernate_after: float = _setting(600.0, "Idle time after which a channel's CLI process ends.", **_DURATION)
    passivate_after: float = _setting(60.0, "Idle time after which a channel's actor leaves memory.", **_DURATION)
    outcome_retention: float = _setting(
        7 * 86400.0, "For an outcome, and its idempotency key, to be kept.", **_DURATION
    )
    reply_retention: float = _setting(7 * 86400.0, "For the reply in an outcome to be kept.", **_DURATION)
    drain_timeout: float = _setting(30.0, "For running turns to end when the engine closes.", **_DURATION)

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
                values[name] = _from_text(_field(name, variable), text, variable)
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


def _from_text(field: attrs.Attribute[Any], text: str, shown: str) -> Any:
    """Read a variable's text: JSON for lists and tables, the plain value for everything else."""
    try:
        if typing.get_origin(field.type) in (tuple, dict):
            value = orjson.loads(text)
        elif field.type is bool:
            value = _WORDS[text.lower()]
        else:
            value = {int: int, float: float}.get(cast("type", field.type), str)(text)
        return _coerce(value, field)
    except (ValueError, KeyError) as problem:
        what, _ = _FORMS[field.type]
        raise SettingsError(f"{shown} must be {what}, not {text!r}.", field.name) from problem
