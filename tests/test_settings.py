"""The settings: plain values, the environment below the overrides, and errors for what cannot be meant."""

from __future__ import annotations

import enum
import math
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from cattrs.preconf.orjson import make_converter

from echo_actors import ChannelOptions, Policy, Settings, SettingsError, Trust
from echo_actors.settings import PREFIX

FIELDS = attrs.fields_dict(Settings)
DURATIONS = sorted(name for name, field in FIELDS.items() if "unit" in field.metadata)
COUNTS = sorted(name for name, field in FIELDS.items() if field.type is int)


TABLES: dict[str, Any] = {
    "permission_mode": "plan",
    "budget_warning_share": 0.5,
    **{name: 2.5 for name in FIELDS if name.endswith("_usd")},
    "available_tools": ("Read",),
    "mcp_servers": {"t": {"command": "server"}},
    "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]},
    "agents": {"reviewer": {"description": "d", "prompt": "p"}},
    "json_schema": {"type": "object"},
    "cli_settings": {"permissions": {"deny": ["Bash"]}},
    "max_turns": 3,
    "effort": "low",
    "fallback_model": "haiku",
    "setting_sources": ("user",),
    "cli_arguments": ("--betas", "x"),
    "policies": {Trust.EXTERNAL: Policy(model="haiku")},
    "channels": {
        "discord:42": ChannelOptions(mailbox_size=3, policies={Trust.MEMBER: Policy(allowed_tools=("Read",))})
    },
}


def other_value(name: str) -> Any:
    """A valid value that is not the default."""
    special: dict[str, Any] = {"model": "opus", "models": ("sonnet", "mine"), "environment": {"A": "1"}, **TABLES}
    if name in special:
        return special[name]
    match getattr(Settings(), name):
        case enum.Enum() as default:
            return next(member for member in type(default) if member is not default)
        case bool() as default:
            return not default
        case int() | float() as default:
            return default + 1
        case str() as default:
            return f"{default}x"
        case default:
            return ("x", "y") if isinstance(default, tuple) else Path("/elsewhere")


def given(name: str, value: Any) -> Settings:
    """Settings with this one given in code."""
    values: dict[str, Any] = {name: value}
    return Settings(**values)


def as_variable(value: Any) -> str:
    """The value as it is written in the environment."""
    plain = make_converter().unstructure(value)
    return orjson.dumps(plain).decode() if isinstance(value, tuple | dict) else str(value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_given_in_the_environment(name: str) -> None:
    """Lists and tables as JSON, everything else as plain text."""
    value = other_value(name)
    assert value != getattr(Settings(), name)
    loaded = Settings.load({PREFIX + name.upper(): as_variable(value)})
    assert getattr(loaded, name) == value
    assert type(getattr(loaded, name)) is type(value)


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_has_a_documented_meaning(name: str) -> None:
    """It is what help texts are made of."""
    assert FIELDS[name].metadata["doc"].endswith(".")


def as_toml(value: Any) -> str:
    """The value as it is written in a settings file, on one line."""
    plain = orjson.loads(make_converter().dumps(value))
    return _toml({name: each for name, each in plain.items() if each} if isinstance(plain, dict) else plain)


def _toml(value: Any) -> str:
    match value:
        case dict():
            each = (
                f"{orjson.dumps(name).decode()} = {_toml(part)}" for name, part in value.items() if part is not None
            )
            return f"{{{', '.join(each)}}}"
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case _:
            return orjson.dumps(value).decode()


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_can_be_given_in_a_file(name: str, tmp_path: Path) -> None:
    """In the form that TOML has for it."""
    file = tmp_path / "some.toml"
    file.write_text(f"{name} = {as_toml(other_value(name))}\n", encoding="utf-8")
    loaded = getattr(Settings.load({}, settings_file=file), name)
    value = other_value(name)
    assert loaded == (tmp_path / value if isinstance(value, Path) else value)
    assert type(loaded) is type(value)


def test_overrides_go_before_the_environment() -> None:
    """And the environment before the defaults."""
    environment = {"ECHO_ACTORS_MODEL": "opus", "ECHO_ACTORS_TURN_SLOTS": "3"}
    loaded = Settings.load(environment, model="haiku")
    assert (loaded.model, loaded.turn_slots, loaded.mailbox_size) == ("haiku", 3, Settings().mailbox_size)


def test_the_constructor_does_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``load`` does, of this process by default; other variables are nobody's business."""
    monkeypatch.setenv("ECHO_ACTORS_MODEL", "opus")
    monkeypatch.setenv("OTHER_MODEL", "x")
    assert Settings().model == "sonnet"
    assert Settings.load().model == "opus"


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [("ECHO_ACTORS_MODLE", "ECHO_ACTORS_MODEL"), ("ECHO_ACTORS_IDLE_TIME_OUT", "ECHO_ACTORS_IDLE_TIMEOUT")],
)
def test_an_unknown_variable_is_an_error_with_the_nearest_name(variable: str, nearest: str) -> None:
    """A slip of the pen is not silently without effect."""
    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.load({variable: "x"})
    assert caught.value.nearest == nearest
    assert f"Did you mean '{nearest}'?" in str(caught.value)


def test_an_unknown_override_is_an_error_with_the_nearest_name() -> None:
    """As it is written in code."""
    with pytest.raises(SettingsError, match="modle") as caught:
        Settings.load({}, modle="opus")
    assert caught.value.nearest == "model"


def test_a_name_like_no_other_gets_no_hint() -> None:
    """A wrong hint is worse than none."""
    with pytest.raises(SettingsError) as caught:
        Settings.load({"ECHO_ACTORS_QQQQQQ": "1"})
    assert caught.value.nearest == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TURN_SLOTS", "many"),
        ("TURN_SLOTS", "1.5"),
        ("TURN_SLOTS", ""),
        ("IDLE_TIMEOUT", "5 minutes"),
        ("WARM", "perhaps"),
        ("MODELS", "sonnet,opus"),
        ("MODELS", '"sonnet"'),
        ("MODELS", "7"),
        ("MODELS", "null"),
        ("ENVIRONMENT", "A=1"),
        ("ENVIRONMENT", "[1]"),
        ("ALLOWED_TOOLS", '{"a": 1'),
    ],
)
def test_a_text_that_cannot_be_read_names_its_variable(name: str, text: str) -> None:
    """And shows the text, but not of lists and tables, in which there may be secrets."""
    with pytest.raises(SettingsError) as caught:
        Settings.load({PREFIX + name: text})
    assert PREFIX + name in str(caught.value)
    assert (repr(text) in str(caught.value)) == (name not in {"MODELS", "ENVIRONMENT", "ALLOWED_TOOLS"})
    assert caught.value.name == name.lower()


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("on", True), ("0", False), ("False", False)]
)
def test_several_words_say_yes_and_no(text: str, value: bool) -> None:
    """In any case."""
    assert Settings.load({"ECHO_ACTORS_WARM": text}).warm is value


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize("value", [0, -1.0, math.nan, -math.inf])
def test_a_duration_is_positive(name: str, value: float) -> None:
    """Every one of them."""
    with pytest.raises(SettingsError, match=name):
        given(name, value)


def test_the_total_clock_is_always_finite() -> None:
    """Every turn ends; the idle clock may be off."""
    with pytest.raises(SettingsError, match="finite"):
        Settings(total_timeout=math.inf)
    assert Settings(idle_timeout=math.inf).idle_timeout == math.inf


@pytest.mark.parametrize("name", sorted({*COUNTS} - {"spares"}))
def test_a_count_is_at_least_one(name: str) -> None:
    """Nothing would ever run with none."""
    with pytest.raises(SettingsError, match=name):
        given(name, 0)


def test_there_may_be_no_spares_but_not_fewer() -> None:
    """They only make the first turn of a channel faster."""
    assert given("spares", 0).spares == 0
    with pytest.raises(SettingsError, match="spares must be at least 0"):
        given("spares", -1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("idle_timeout", "soon"),
        ("turn_slots", "3"),
        ("turn_slots", None),
        ("turn_slots", 1.5),
        ("models", "sonnet"),
        ("state_dir", None),
        ("warm", "no"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_settings_error(name: str, value: Any) -> None:
    """Found at once, not by whatever uses it much later."""
    with pytest.raises(SettingsError, match=name):
        given(name, value)


def test_a_path_may_be_given_as_text() -> None:
    """As everybody writes it."""
    assert given("state_dir", "here").state_dir == Path("here")


def test_the_model_is_one_of_the_models() -> None:
    """The error lists the valid ones and the nearest."""
    with pytest.raises(SettingsError, match="haiku, sonnet, opus") as caught:
        Settings(model="sonet")
    assert caught.value.nearest == "sonnet"
    assert Settings(model="mine", models=("mine",)).model == "mine"


def test_the_audit_log_is_in_the_state_directory_unless_it_is_set() -> None:
    """Wherever that is."""
    assert Settings(state_dir=Path("/s")).audit_file == Path("/s/audit.jsonl")
    assert Settings(audit_path=Path("/a")).audit_file == Path("/a")


def test_settings_do_not_change() -> None:
    """An engine and its caller may share them."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Settings().model = "opus"  # type: ignore[misc]  # that it is frozen is what is tested


def test_a_private_network_adds_the_tools_that_reach_it() -> None:
    """Nothing reaches another machine unless its address is given."""
    assert not any(tool.startswith(("Bash(ssh", "Bash(scp", "Bash(rsync")) for tool in Settings().tools)
    tools = Settings(private_network="10.1.2.").tools
    assert tools[-3:] == ("Bash(ssh *10.1.2.*)", "Bash(scp *10.1.2.*)", "Bash(rsync *10.1.2.*)")
    assert tools[:-3] == Settings().allowed_tools


@pytest.mark.parametrize("network", ["10.0.0.1) Bash(*", "a b", "*"])
def test_a_private_network_that_is_no_address_is_refused(network: str) -> None:
    """It becomes a part of a rule for tools, which it must not break out of."""
    with pytest.raises(SettingsError, match="private_network"):
        Settings(private_network=network)


@pytest.mark.parametrize(
    ("policies", "complaint"),
    [
        ('{"external": {"allowed_tools": []}, "external": {"allowed_tools": ["Bash"]}}', "'external' is there more"),
        ('{"external": {"allowed_tools": [], "allowed_tools": ["Bash"]}}', "'allowed_tools' is there more than once"),
        ('{"external": {"allow_tools": []}}', "There is no Policy 'allow_tools'"),
        ('{"stranger": {"allowed_tools": []}}', "There is no 'stranger'"),
        ('{"external": {"allowed_tools": "Read"}}', "must be a list of texts"),
    ],
)
def test_policies_in_a_variable_that_could_be_misread_are_refused(policies: str, complaint: str) -> None:
    """To pass over a part of them without a word could allow more than was meant."""
    with pytest.raises(SettingsError, match=complaint):
        Settings.load({"ECHO_ACTORS_POLICIES": policies})
