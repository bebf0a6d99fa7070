"""What the command line and the environment ask of one run."""

from __future__ import annotations

import os

NEWEST = "2.1.330"
"""The version whose frames are imitated."""

MODERN = (2, 1, 248)
"""The first version that names messages in its frames; an older or unreadable one is simulated as old."""


class Options:
    """The flags that change the behaviour; all others are accepted and ignored, as a newer CLI's would be."""

    def __init__(self, argv: list[str]) -> None:
        self.resume = _value(argv, "--resume") or _value(argv, "-r")
        self.session_id = self.resume or _value(argv, "--session-id")
        self.model = model_id(_value(argv, "--model") or "sonnet")
        self.permission_mode = _value(argv, "--permission-mode") or "default"
        self.partial = "--include-partial-messages" in argv
        self.asks_host = _value(argv, "--permission-prompt-tool") == "stdio"
        self.asks_version = "--version" in argv or "-v" in argv
        self.version = os.environ.get("SCRIPTED_CLI_VERSION", NEWEST)
        self.asked = os.environ.get("SCRIPTED_CLI_ASKED")

    @property
    def modern(self) -> bool:
        """Whether the simulated version stamps messages, announces capabilities and ignores duplicates."""
        try:
            return tuple(int(part) for part in self.version.split(".")) >= MODERN
        except ValueError:
            return False


def model_id(name: str) -> str:
    """The full name of a model alias; any other name stands for itself."""
    return f"claude-{name}-5-5" if name in {"sonnet", "opus", "haiku"} else name


def _value(argv: list[str], flag: str) -> str | None:
    for position, argument in enumerate(argv):
        if argument == flag and position + 1 < len(argv):
            return argv[position + 1]
        if argument.startswith(flag + "="):
            return argument[len(flag) + 1 :]
    return None
