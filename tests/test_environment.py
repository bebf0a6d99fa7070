"""What of the host's environment reaches the CLI."""

from __future__ import annotations

import pytest

from echo_actors.claude.environment import ChildEnvironment, ProcessMark, child_environment

MARK = ProcessMark("run", "process")


def child(
    host: dict[str, str], *, extra: dict[str, str] | None = None, passthrough: tuple[str, ...] = ()
) -> ChildEnvironment:
    """The environment of a child of this host."""
    return child_environment(host, extra=extra or {}, passthrough=passthrough, mark=MARK)


@pytest.mark.parametrize(
    "name",
    [
        "HOME", "USER", "PATH", "TMPDIR", "TERM", "LANG", "LC_ALL", "HTTPS_PROXY", "no_proxy",
        "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "CLAUDE_CONFIG_DIR",
        "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY",
    ],
)  # fmt: skip
def test_what_the_cli_needs_passes(name: str) -> None:
    """The allowlist lets it through and does not call it withheld."""
    environment = child({name: "value"})
    assert environment.variables[name] == "value"
    assert environment.withheld == ()


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "LD_PRELOAD", "HOMEBREW", "XANTHROPIC_API_KEY", "CLAUDE_CODE"],
)  # fmt: skip
def test_everything_else_is_withheld(name: str) -> None:
    """A variable nobody thought of does not leak; its name is told, its value is not."""
    environment = child({name: "hidden"})
    assert name not in environment.variables
    assert environment.withheld == (name,)
    assert "hidden" not in repr(environment)


def test_the_operator_passes_more_on() -> None:
    """By name, or by the beginning of names."""
    host = {"AWS_REGION": "eu", "AWS_PROFILE": "p", "GIT_DIR": "d", "GIT_DIRECTORY": "x"}
    environment = child(host, passthrough=("AWS_*", "GIT_DIR"))
    assert environment.variables.items() >= {"AWS_REGION": "eu", "AWS_PROFILE": "p", "GIT_DIR": "d"}.items()
    assert environment.withheld == ("GIT_DIRECTORY",)


def test_extra_variables_are_set_whatever_the_host_has() -> None:
    """They win over the host's."""
    assert (
        child({"HOME": "/a"}, extra={"HOME": "/b", "NEW": "1"}).variables.items() >= {"HOME": "/b", "NEW": "1"}.items()
    )


@pytest.mark.parametrize("name", ["CLAUDECODE", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_SSE_PORT"])
def test_a_cli_never_believes_that_it_is_nested(name: str) -> None:
    """Not even by setting."""
    environment = child({name: "1"}, extra={name: "1"}, passthrough=(name,))
    assert name not in environment.variables
    assert environment.withheld == (name,)


def test_file_mentions_are_always_off() -> None:
    """No setting turns reading files by ``@path`` in a message on again."""
    name = "CLAUDE_CODE_DISABLE_FILE_MENTIONS"
    assert child({name: "0"}, extra={name: ""}).variables[name] == "1"


def test_the_mark_is_always_the_own_one() -> None:
    """An engine that runs below another's CLI marks its own processes."""
    environment = child({"ECHOACTORS_RUN": "outer"}, extra={"ECHOACTORS_PROCESS": "outer"})
    assert environment.variables.items() >= MARK.variables().items()
    assert MARK.variables() == {"ECHOACTORS_RUN": "run", "ECHOACTORS_PROCESS": "process"}


def test_withheld_names_are_sorted() -> None:
    """So that two audit records of one host are alike."""
    assert child({"Z": "1", "A": "1", "HOME": "/"}).withheld == ("A", "Z")
