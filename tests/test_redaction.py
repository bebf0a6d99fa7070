"""Masking secrets: which values are known as such, in which forms they are found, and that no audit line has one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from commands_program import Program
from conftest import Host
from hypothesis import given
from hypothesis import strategies as st
from support import asked, audit_records, scripted_engine, scripted_settings

from echo_actors import TurnFailed
from echo_actors.audit import log_files, verify
from echo_actors.errors import CLIFailed
from echo_actors.models import Author
from echo_actors.safety.redaction import masking, secrets_in

SECRET = 'tr0ub4dor&3/ "quoted" \\ grüße'  # noqa: S105 - nobody's
PLAIN = "Zk3vQ9xLw27TnB5y"
PEM = """-----BEGIN RSA PRIVATE KEY-----
MIIEowIBAAKCAQEAxGZ3kqT7yJb5v1c9e4Xo2mQw8R6sLk0p
f7D1hN3uVtYbA9zWcE5rIjKlMnOpQrStUvWxYz0123456789
-----END RSA PRIVATE KEY-----"""


SOUNDING = (
    "ANTHROPIC_API_KEY GITHUB_TOKEN githubtoken DB_PASSWORD MYSQL_PASS AWS_SECRET_ACCESS_KEY X_AUTH SENTRY_DSN "
    "SIGNING_KEYS PASSPHRASE SESSION_COOKIE OPENAI_APIKEY FTP_PW SERVICE_CREDENTIALS"
)


@pytest.mark.parametrize("name", SOUNDING.split())
def test_a_variable_that_sounds_like_a_secret_is_one(name: str) -> None:
    """By a part of its name."""
    assert secrets_in({name: PLAIN}) == {PLAIN: name}


@pytest.mark.parametrize("name", ["AUTHOR", "GIT_AUTHOR_NAME", "PWD", "KEYBOARD", "MONKEY", "PATH", "HOME", "COMPASS"])
def test_a_variable_that_does_not_is_none(name: str) -> None:
    """Unless the setting names it."""
    assert secrets_in({name: PLAIN}) == {}
    assert secrets_in({name: PLAIN}, [name]) == {PLAIN: name}


def test_what_is_too_short_or_names_a_file_is_no_secret(tmp_path: Path) -> None:
    """Half of a log would be masked; a file's name tells nothing of what is in it. A named one may be shorter."""
    variables = {"MY_TOKEN": "1234567", "OTHER_KEY": "on", "APPLICATION_CREDENTIALS": str(tmp_path)}
    assert secrets_in(variables) == {}
    assert secrets_in(variables, list(variables)) == {"1234567": "MY_TOKEN", str(tmp_path): "APPLICATION_CREDENTIALS"}


def test_the_password_in_a_url_is_a_secret_by_itself() -> None:
    """Whatever the variable is called, and as it is without its escapes too."""
    found = secrets_in({"DATABASE_URL": "postgres://app:s3cr%40t@db:5432/x", "PROXY": "http://proxy:3128"})
    assert found == {"s3cr%40t": "DATABASE_URL", "s3cr@t": "DATABASE_URL"}


FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "in JSON": lambda value: json.dumps({"a": value}),
    "in JSON without ASCII": lambda value: json.dumps({"a": value}, ensure_ascii=False),
    "in a path": quote,
    "in a query": quote_plus,
    "all quoted": lambda value: quote(value, safe=""),
    "in lower case": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
    "in base64": lambda value: base64.b64encode(value.encode()).decode(),
    "in base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "behind a name in base64": lambda value: base64.b64encode(b"user:" + value.encode()).decode(),
    "behind another in base64": lambda value: base64.b64encode(b"me:" + value.encode() + b"\n").decode(),
}


@pytest.mark.parametrize("value", [SECRET, PLAIN, PEM], ids=["odd", "plain", "of several lines"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_masked_in_each_form_that_it_takes_on_its_way(form: str, value: str) -> None:
    """What is left gives none of it away."""
    given = f"before {FORMS[form](value)} after"
    masked = masking({value: "NAME"})(given)
    assert "[secret NAME]" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert len(masked) < 60 or form.startswith(("in JSON", "behind"))
    for part in (value, FORMS[form](value), base64.b64encode(value.encode()).decode()[4:-4]):
        assert part not in masked


def test_a_line_of_a_longer_secret_is_one_too() -> None:
    """A key is often pasted, or quoted, in part."""
    line = PEM.splitlines()[1]
    assert masking({PEM: "NAME"})(f"> {line}") == "> [secret NAME]"


def test_a_field_that_is_the_hash_of_a_secret_alone_is_masked() -> None:
    """A message that is nothing but a short secret could be found by trying."""
    mask = masking({PLAIN: "NAME"})
    for text in (PLAIN, PLAIN + "\n"):
        assert mask(hashlib.sha256(text.encode()).hexdigest()) == "[secret NAME]"
    other = hashlib.sha256(b"other").hexdigest()
    assert mask(other) == other


def test_of_two_secrets_that_begin_alike_the_longer_one_is_found() -> None:
    """Nothing is left of it."""
    mask = masking({"abcd1234": "SHORT", "abcd1234efgh": "LONG"})
    assert mask("abcd1234efgh abcd1234 abcd1234ef") == "[secret LONG] [secret SHORT] [secret SHORT]ef"


def test_a_secret_that_looks_like_an_id_is_found_in_ids() -> None:
    """Texts of hexadecimal digits have a search of their own."""
    mask = masking({"0123456789abcdef": "HEX"})
    assert mask("ffff0123456789abcdefffff") == "ffff[secret HEX]ffff"
    assert mask("ffff-ffff") == "ffff-ffff"


@pytest.mark.parametrize(
    "text",
    [
        "sk-ant-api03-abcdefgh_12",
        "sk-proj-abcdefghijklmnopqrstu",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "glpat-abcdefghijklmnopqrst",
        "xoxb-123456789012-abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "Bearer abcdefghijklmnop.qrst",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
        PEM,
    ],
)
def test_what_has_the_form_of_a_secret_is_masked_though_nobody_knows_it(text: str) -> None:
    """With what kind it is."""
    masked = masking({})(f"a {text} b")
    assert masked.startswith("a [secret ")
    assert masked.endswith("] b")
    assert text not in masked


def test_the_user_of_a_url_is_masked_and_the_rest_stays() -> None:
    """Where it points is worth knowing."""
    masked = masking({})("cannot reach https://me:hunter2@host/path, see https://host:80/x@y")
    assert masked == "cannot reach https://[secret user of a URL]@host/path, see https://host:80/x@y"


@given(st.text(max_size=60))
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    """Also when it is asked for a second time."""
    mask = masking({PLAIN: "NAME"})
    if "://" not in text:
        assert mask(mask(text)) == text


@given(st.text(min_size=8, max_size=40), st.text(max_size=10), st.text(max_size=10))
def test_any_value_is_masked_wherever_it_is(value: str, before: str, after: str) -> None:
    """Whatever characters it has."""
    mask = masking({value: "NAME"})
    assert value not in mask(before + value + after).replace("[secret NAME]", "")


@pytest.mark.parametrize("piece", ["eyJ", "://", "Bearer ", "sk-ant-", "-----BEGIN ", "ghp_"])
def test_a_text_made_to_be_slow_is_not(piece: str) -> None:
    """Its time grows with its length and not with the square of that; else this would take minutes."""
    masking({PLAIN: "NAME"})(piece * 100_000)


def test_the_end_of_what_a_cli_said_begins_with_a_whole_word() -> None:
    """Half a secret would not be known as one."""
    failure = CLIFailed("it ended", 1, f"noise {PLAIN}{' x' * 246}")
    assert PLAIN[-8:] in failure.stderr_tail[-500:]
    assert PLAIN[-4:] not in str(failure)
    assert masking({PLAIN: "NAME"})(str(failure)) == str(failure)


# -- the whole way


def lines_with(audit: Path, secret: str) -> list[bytes]:
    """The lines of a log, in all its files, that have any of this text's forms."""
    forms = [secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), secret[:10]]
    lines = [line for file in log_files(audit) for line in file.read_bytes().splitlines()]
    return [line for line in lines if any(form.encode() in line for form in forms)]


async def test_a_secret_is_in_no_line_whatever_brought_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a channel's name, an author, a message, a tool's name, an error, what the CLI says when it dies."""
    monkeypatch.setenv("DEPLOY_TOKEN", PLAIN)
    settings = scripted_settings(tmp_path, audit_content=True, max_attempts=1, variables={"X_PASSWORD": SECRET})
    assert SECRET in settings.environment.values()
    encoded = base64.b64encode(f"me:{PLAIN}".encode()).decode()
    async with scripted_engine(settings) as engine:
        for text in (PLAIN, f"it is {PLAIN}!", encoded, SECRET, json.dumps(SECRET)):
            await engine.post("c", text)
        await engine.ask(f"channel {PLAIN}", "hello", author=Author(f"Ana {PLAIN}"))
        # It cannot read this number, and dies with a traceback that quotes it.
        with pytest.raises(TurnFailed, match=PLAIN):
            await engine.ask("d", f"[[exit {PLAIN}]]")
        with pytest.raises(TurnFailed):
            await engine.ask("d", f"[[is-error 400]] {PLAIN}")
        engine._services.record("tool.started", channel="c", message="m", tool=f"mcp__{PLAIN}__get")
        await engine.clear(f"channel {PLAIN}")
    assert any(PLAIN in text for text in asked(tmp_path))
    for secret in (PLAIN, SECRET):
        assert lines_with(settings.audit_file, secret) == []
    ends = audit_records(settings, "turn.ended")
    assert any("[secret DEPLOY_TOKEN]" in end.get("reason", "") for end in ends)
    written = settings.audit_file.read_text(encoding="utf-8")
    assert "[secret DEPLOY_TOKEN]" in written
    assert "[secret X_PASSWORD]" in written
    assert hashlib.sha256(PLAIN.encode()).hexdigest() not in written
    assert verify(log_files(settings.audit_file)).ok


async def test_a_named_variable_of_the_setting_is_masked(tmp_path: Path) -> None:
    """Its name alone says nothing."""
    settings = scripted_settings(tmp_path, audit_content=True, secrets=("CITY",), variables={"CITY": "Atlantis"})
    async with scripted_engine(settings) as engine:
        await engine.ask("c", "where is Atlantis?")
    assert "where is [secret CITY]?" in settings.audit_file.read_text(encoding="utf-8")


@pytest.mark.real_cli
async def test_a_secret_that_a_user_types_and_the_real_cli_echoes_is_in_no_line(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With content logging on; the model was asked for it and the reply has it."""
    monkeypatch.setenv("DEPLOY_TOKEN", PLAIN)
    async with host.engine(audit_content=True) as engine:
        reply = await engine.ask("c", f"my token is {PLAIN}, is it not?")
    assert PLAIN in reply.text
    assert host.asked(PLAIN)
    assert lines_with(host.state / "audit.jsonl", PLAIN) == []
    assert [record["reply"] for record in host.audit("turn.ended")] == [
        reply.text.replace(PLAIN, "[secret DEPLOY_TOKEN]")
    ]


async def test_a_secret_given_to_the_command_is_in_no_line(tmp_path: Path) -> None:
    """The command takes its settings and the host's environment as an engine does."""
    program = Program(tmp_path)
    finished = await program.run("send", "c", f"it is {PLAIN}", DEPLOY_TOKEN=PLAIN, ECHO_ACTORS_AUDIT_CONTENT="1")
    assert finished.out == f"echo: it is {PLAIN}\n"
    assert lines_with(program.state / "audit.jsonl", PLAIN) == []
    assert "it is [secret DEPLOY_TOKEN]" in program.audit()
