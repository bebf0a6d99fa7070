"""What is wrong with the Claude CLI."""

from __future__ import annotations

import re

import attrs

from echo_actors.errors.root import EchoActorsError


@attrs.define(slots=False, eq=False)
class CLINotFound(EchoActorsError, FileNotFoundError):
    """No usable Claude CLI. Not raised for a CLI that starts and then fails: that is ``CLIFailed``."""

    reason: str
    searched: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" Looked in: {', '.join(self.searched)}." if self.searched else ""
        return (
            f"{self.reason}{where} Install it with `pip install 'echo-actors[claude]'` or "
            "`npm install -g @anthropic-ai/claude-code`, or name it with CLAUDE_BIN."
        )


def _end_of(text: str, length: int = 500) -> str:
    """The last of a text, without the part of a word that it would begin with: half a secret is not known as one.

    What is one long word is no secret, and better than nothing.
    """
    end = text[-length:]
    return end if len(text) <= length else re.sub(r"^[\w+/=.~%-]+", "", end).lstrip() or end


@attrs.define(slots=False, eq=False)
class CLIFailed(EchoActorsError, RuntimeError):
    """The CLI ended, or stopped obeying, before it gave a result.

    Attributes:
        exit_code: Negative for a signal, None while the process had not ended.
        stderr_tail: The last of what it said on stderr.
    """

    reason: str
    exit_code: int | None = None
    stderr_tail: str = ""

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        said = _end_of(self.stderr_tail.strip())
        return f"{self.reason}{code}{': ' if said else ''}{said}"
