"""The command that shows settings, and every command with a settings file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import orjson
import pytest
from commands_program import Program

from echo_actors.commands.masked import masked
from echo_actors.commands.values import SettingValue, as_text, setting_values
from echo_actors.safety.redaction import masking
from echo_actors.settings import Settings
from echo_actors.settings.example import example
from echo_actors.settings.reference import markdown
from echo_actors.settings.sources import gather

FILE = """\
model = "haiku"
max_turns = 3
idle_timeout = inf

[channels."discord:42"]
mailbox_size = 3

[channels."discord:42".mcp_servers.wiki]
command = "wiki"
args = ["--api-key=sekrit-1"]
env = { WIKI = "sekrit-2" }

[environment]
PLAIN = "sekrit-3"
"""

NO_FILE = {"ECHO_ACTORS_SETTINGS_FILE": ""}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own, with a settings file beside the state directory."""
    (tmp_path / "echo_actors.toml").write_text(FILE, encoding="utf-8")
    return Program(tmp_path)


async def test_every_value_is_shown_with_its_source(program: Program) -> None:
    """The default, the file and the line, the variable, the option."""
    finished = await program.run("settings", "--json", "--model", "opus", ECHO_ACTORS_TURN_SLOTS="3")
    assert (finished.code, finished.err) == (0, "")
    shown = {each["name"]: (each["value"], each["source"]) for each in orjson.loads(finished.out)}
    assert list(shown) == [field.name for field in Settings.__attrs_attrs__]
    file = program.root / "echo_actors.toml"
    assert shown["model"] == ("opus", "option")
    assert shown["max_turns"] == (3, f"{file}:2")
    assert shown["idle_timeout"] == ("inf", f"{file}:3")
    assert shown["turn_slots"] == (3, "ECHO_ACTORS_TURN_SLOTS")
    assert shown["mailbox_size"] == (100, "default")
    assert shown["channels"][0]["discord:42"]["mailbox_size"] == 3


async def test_people_see_a_line_for_each(program: Program) -> None:
    """One that is not set has no value."""
    lines = (await program.run("settings")).out.splitlines()
    assert f"model = haiku  ({program.root}/echo_actors.toml:1)" in lines
    assert "claude_bin = none  (default)" in lines
    assert len(lines) == len(Settings.__attrs_attrs__)


@pytest.mark.parametrize("command", ["settings", "doctor"])
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_no_secret_is_shown(program: Program, command: str, form: tuple[str, ...]) -> None:
    """Wherever in the settings it is; that there is one is no secret."""
    finished = await program.run(command, *form, ECHO_ACTORS_ENVIRONMENT='{"PLAIN": "sekrit-4", "X_TEST": "1"}')
    assert finished.code == 0
    assert "sekrit" not in finished.out + finished.err
    assert "PLAIN" in finished.out


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("environment", {"A": "x"}, {"A": "[secret A]"}),
        (
            "mcp_servers",
            {"s": {"url": "u", "headers": {"A": "x"}}},
            {"s": {"url": "u", "headers": {"A": "[secret A]"}}},
        ),
        ("cli_settings", {"x": "x", "api_key": "x"}, {"x": "x", "api_key": "[secret api_key]"}),
        (
            "cli_settings",
            {"githubToken": "x", "KEYBOARD": "x"},
            {"githubToken": "[secret githubToken]", "KEYBOARD": "x"},
        ),
        ("cli_settings", {"a": {"tokens": ["x", "y"]}}, {"a": {"tokens": ["[secret tokens]", "[secret tokens]"]}}),
        ("cli_arguments", ["--x", "sk-ant-" + "a" * 20], ["--x", "[secret Anthropic key]"]),
        (
            "cli_arguments",
            ["--api-key", "x", "y", "--token=z"],
            ["--api-key", "[secret api-key]", "y", "--token=[secret token]"],
        ),
        ("cli_arguments", ["--use-token", "--verbose", "x"], ["--use-token", "--verbose", "x"]),
        ("cli_arguments", ['{"env": {"A_KEY": "x"}, "a": "b"}'], ['{"env": {"A_KEY": "[secret A_KEY]"}, "a": "b"}']),
        (
            "hooks",
            {"c": "curl -H 'Authorization: Bearer x' u"},
            {"c": "curl -H 'Authorization: [secret Authorization]' u"},
        ),
        (
            "hooks",
            {"c": "API_KEY=x run --password 'y' z"},
            {"c": "API_KEY=[secret API_KEY] run --password '[secret password]' z"},
        ),
        (
            "mcp_servers",
            {"s": {"url": "https://h/?a=b&key=x&c=d"}},
            {"s": {"url": "https://h/?a=b&key=[secret key]&c=d"}},
        ),
        ("append_system_prompt", "at postgres://me:pass@host/x", "at postgres://[secret user of a URL]@host/x"),
        ("append_system_prompt", "Note: the password: x", "Note: the password: [secret password]"),
        ("append_system_prompt", "No token of thanks, no key idea.", "No token of thanks, no key idea."),
        ("private_network", "10.0.", "10.0."),
        ("max_turns", 3, 3),
        ("allowed_tools", ["Bash(git push *)"], ["Bash(git push *)"]),
    ],
)
def test_what_may_be_a_secret_is_hidden(name: str, value: object, shown: object) -> None:
    """By the table that it is in, by its name, or by its form."""
    assert masked({name: value}, masking({})) == {name: shown}


def test_the_shared_rules_say_what_a_secret_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the audit log must not have is not shown either: values of variables, wherever they stand."""
    monkeypatch.setenv("GITHUB_TOKEN", "open-sesame")
    monkeypatch.setenv("ODD", "7 dwarfs")
    given = gather(
        Settings,
        NO_FILE,
        {"cli_arguments": ["--x", "open-sesame"], "secrets": ["ODD"], "append_system_prompt": "I know 7 dwarfs."},
    )
    shown = {each.name: each.value for each in setting_values(given.build(Settings), given)}
    assert shown["cli_arguments"] == ["--x", "[secret GITHUB_TOKEN]"]
    assert shown["append_system_prompt"] == "I know [secret ODD]."
    assert shown["secrets"] == ["ODD"]


def test_names_of_secret_variables_are_no_secrets() -> None:
    """People must see which variables the setting names, though it is called what it is called."""
    given = gather(Settings, NO_FILE, {"secrets": ["MY_TOKEN", "OTHER"]})
    assert SettingValue("secrets", ["MY_TOKEN", "OTHER"], "option") in setting_values(given.build(Settings), given)


def test_no_default_is_taken_for_a_secret() -> None:
    """People must see what is in force."""
    given = gather(Settings, NO_FILE, {})
    for each in setting_values(given.build(Settings), given):
        assert "[secret" not in as_text(each.value)


@pytest.mark.parametrize("command", ["settings", "doctor"])
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_whatever_is_in_force_can_be_shown(program: Program, command: str, form: tuple[str, ...]) -> None:
    """A number that is longer than a machine's, a path that is no UTF-8."""
    finished = await program.run(
        *(command, *form),
        ECHO_ACTORS_TURN_SLOTS="9" * 30,
        ECHO_ACTORS_WORKING_DIR="\udcff",
        ECHO_ACTORS_ADD_DIRS='["é"]',
    )
    assert (finished.code, finished.err) == (0, "")
    for shown in ("9" * 30, "\\udcff", "é"):
        assert shown in finished.out
    if form:
        json.loads(finished.out)


async def test_an_example_and_the_reference_are_printed_whatever_is_set(program: Program) -> None:
    """Also where the file in use is wrong: it is then that one is needed."""
    (program.root / "echo_actors.toml").write_text("modle = 1", encoding="utf-8")
    printed = await program.run("settings", "--example")
    assert (printed.code, printed.out) == (0, example())
    printed = await program.run("settings", "--markdown")
    assert (printed.code, printed.out) == (0, markdown())


async def test_two_forms_at_once_are_a_wrong_call(program: Program) -> None:
    """There is one standard output."""
    assert (await program.run("settings", "--json", "--example")).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("settings",),
        ("doctor",),
        ("chat", "c"),
        ("send", "c", "Hello!"),
        ("sessions",),
        ("history", "c"),
        ("dead-letters", "list"),
        ("prompt",),
        ("export",),
        ("import", "sessions.json"),
        ("demo", "--cli", "scripted"),
    ],
    ids=lambda arguments: arguments[0],
)
async def test_no_command_goes_on_with_a_file_that_is_wrong(program: Program, arguments: tuple[str, ...]) -> None:
    """Exit code 2, the line, the nearest name, and nothing is started or made."""
    (program.root / "other.toml").write_text("\nmodle = 1", encoding="utf-8")
    finished = await program.run(*arguments, "--settings", "other.toml")
    assert finished.code == 2
    said = finished.out if arguments == ("doctor",) else finished.err
    assert "other.toml:2: There is no setting modle. Did you mean 'model'?" in said
    assert not program.state.exists()
    assert program.asked() == []


async def test_a_message_runs_under_the_settings_of_the_file(program: Program) -> None:
    """The channel's model is the file's."""
    assert (await program.run("send", "c", "Hello!")).out == "echo: Hello!\n"
    (session,) = orjson.loads((await program.run("sessions", "--json")).out)
    assert session["model"] == "haiku"


async def test_the_doctor_says_which_file_is_in_use(program: Program) -> None:
    """Or where there would be one, or that none is read."""
    file = program.root / "echo_actors.toml"
    assert f"settings     {file}, 5 settings" in (await program.run("doctor")).out
    assert "no file is read" in (await program.run("doctor", ECHO_ACTORS_SETTINGS_FILE="")).out
    file.unlink()
    assert f"no file; there would be one at {file}" in (await program.run("doctor")).out


def test_the_file_of_these_tests_is_as_it_says() -> None:
    """A wrong one would prove little."""
    assert len(tomllib.loads(FILE)) == 5
