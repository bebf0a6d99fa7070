"""The environment that a CLI is started with: an allowlist.

Lists of what to withhold leak, because nobody knows every variable of a host. So only what is named here, or by
setting, reaches the CLI. What reaches the CLI reaches its tools too: it strips nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

RUN_VARIABLE: Final = "ECHOACTORS_RUN"
PROCESS_VARIABLE: Final = "ECHOACTORS_PROCESS"

ALLOWED: Final[Mapping[str, str]] = {
    "HOME": "the CLI keeps its credentials and transcripts there",
    "USER": "tools ask who they run as",
    "PATH": "tools are found on it",
    "TMPDIR": "temporary files go where the host wants them",
    "TERM": "tools ask what a terminal could show",
    "LANG": "locale",
    "LANGUAGE": "locale",
    "LC_*": "locale",
    "HTTP_PROXY": "the way to the API",
    "HTTPS_PROXY": "the way to the API",
    "ALL_PROXY": "the way to the API",
    "NO_PROXY": "the way to the API",
    "http_proxy": "the way to the API, as older tools spell it",
    "https_proxy": "the way to the API, as older tools spell it",
    "all_proxy": "the way to the API, as older tools spell it",
    "no_proxy": "the way to the API, as older tools spell it",
    "SSL_CERT_FILE": "certificates of the host's network",
    "SSL_CERT_DIR": "certificates of the host's network",
    "NODE_EXTRA_CA_CERTS": "certificates of the host's network",
    "REQUESTS_CA_BUNDLE": "certificates of the host's network, for tools in Python",
    "CURL_CA_BUNDLE": "certificates of the host's network, for curl",
    "ANTHROPIC_*": "the account, the endpoint and the models",
    "CLAUDE_CONFIG_DIR": "where the CLI keeps its state if not in HOME",
    "CLAUDE_CODE_OAUTH_TOKEN": "the account of a subscription",
    "CLAUDE_CODE_USE_*": "which cloud serves the models",
    "CLAUDE_CODE_DISABLE_*": "what the operator turned off in the CLI",
    "DISABLE_*": "what the operator turned off in the CLI",
}
"""Names, or beginnings of names that end in ``*``, and why they pass."""

NEVER: Final = frozenset({"CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT"})
"""What one CLI sets for its own children: inherited, it makes the next one believe that it is nested."""

_ALWAYS: Final[Mapping[str, str]] = {"CLAUDE_CODE_DISABLE_FILE_MENTIONS": "1"}  # else "@path" in a message reads files


@attrs.frozen
class ProcessMark:
    """Names a CLI process in the environment of everything it starts, so that it can be found outside the tree.

    Attributes:
        run_id: The run of the engine.
        process_id: The process, as a UUID in hexadecimal; pids are used again, this is not.
    """

    run_id: str
    process_id: str

    def variables(self) -> dict[str, str]:
        """Return the mark as environment variables."""
        return {RUN_VARIABLE: self.run_id, PROCESS_VARIABLE: self.process_id}


@attrs.frozen
class ChildEnvironment:
    """What a CLI is started with.

    Attributes:
        variables: The whole environment. Its representation is left out, because values are secrets.
        withheld: The names, sorted, that the host has and the CLI does not get.
    """

    variables: Mapping[str, str] = attrs.field(repr=False)
    withheld: tuple[str, ...]


def child_environment(
    host: Mapping[str, str], *, extra: Mapping[str, str], passthrough: Collection[str], mark: ProcessMark
) -> ChildEnvironment:
    """Choose the variables for a CLI.

    Args:
        host: The environment of this program.
        extra: Variables to set, whatever the host has.
        passthrough: More names, or beginnings of names that end in ``*``, to pass on.
        mark: What the new process is known by.
    """
    rules = (*ALLOWED, *passthrough)
    inherited = {name: value for name, value in host.items() if _matches(name, rules)}
    wanted = {name: value for name, value in {**inherited, **extra}.items() if name not in NEVER}
    variables = {**wanted, **_ALWAYS, **mark.variables()}
    withheld = {*host, *extra} - variables.keys()
    return ChildEnvironment(variables, tuple(sorted(withheld)))


def _matches(name: str, rules: Collection[str]) -> bool:
    return any(name.startswith(rule[:-1]) if rule.endswith("*") else name == rule for rule in rules)
