"""Options of channels and policies of trust: what may be said, and whose word holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import trio
from support import Gate, audit_records, opened, plain_settings

from echo_actors import (
    ChannelOptions,
    EngineClosed,
    InvalidMessage,
    MailboxFull,
    OptionChanges,
    OutcomeKind,
    Policy,
    SessionChanged,
    Settings,
    SettingsError,
    Trust,
)
from echo_actors.settings import NO_OPTIONS
from echo_actors.settings.layers import changed, for_trust, in_channel
from echo_actors.state.codec import make_codec
from echo_actors.state.records import SessionSnapshot
from echo_actors.testing.instant_driver import InstantDriver
from echo_actors.testing.store_kit import NOON

OPTIONS = attrs.fields_dict(ChannelOptions)


@pytest.mark.parametrize("name", sorted({*OPTIONS} - {"daily_budget_usd", "monthly_budget_usd"}))
def test_an_option_is_a_setting_that_a_channel_has_of_its_own(name: str) -> None:
    """By the same name, so that nobody has to learn two."""
    assert name in attrs.fields_dict(Settings)


def test_every_option_can_be_changed_and_is_documented() -> None:
    """The typed changes name the record's fields."""
    assert OptionChanges.__annotations__.keys() == OPTIONS.keys()
    assert all(field.metadata["doc"].endswith(".") for field in OPTIONS.values())


def test_a_channel_without_options_has_the_engines_very_settings() -> None:
    """Nothing is made anew for thousands of channels."""
    settings = Settings()
    assert in_channel(settings, "c") is settings
    assert for_trust(settings, Trust.OWNER) is for_trust(settings, Trust.MEMBER) is settings


def test_what_was_set_live_goes_before_the_table_and_that_before_the_settings() -> None:
    """Option by option."""
    settings = Settings(
        mailbox_size=1, idle_timeout=1, model="haiku", channels={"c": ChannelOptions(mailbox_size=2, idle_timeout=2)}
    )
    held = in_channel(settings, "c", ChannelOptions(mailbox_size=3))
    assert (held.mailbox_size, held.idle_timeout, held.model) == (3, 2, "haiku")
    assert in_channel(settings, "other").mailbox_size == 1


def test_policies_are_laid_over_each_other_field_by_field() -> None:
    """A channel that says one thing of strangers leaves the rest as it was."""
    settings = Settings(
        policies={Trust.EXTERNAL: Policy(model="haiku", permission_mode="plan"), Trust.MEMBER: Policy(model="haiku")},
        channels={"c": ChannelOptions(policies={Trust.EXTERNAL: Policy(permission_mode="dontAsk")})},
    )
    live = ChannelOptions(policies={Trust.EXTERNAL: Policy(allowed_tools=("Read",))})
    held = for_trust(in_channel(settings, "c", live), Trust.EXTERNAL)
    assert (held.model, held.permission_mode, held.tools) == ("haiku", "dontAsk", ("Read",))
    assert for_trust(in_channel(settings, "c", live), Trust.MEMBER).model == "haiku"
    assert for_trust(in_channel(settings, "c", live), Trust.OWNER).model == "sonnet"


@pytest.mark.parametrize("policies", [{}, {Trust.EXTERNAL: Policy(model="haiku")}, {Trust.OWNER: Policy()}])
def test_strangers_use_no_tool_unless_it_is_said_which(policies: dict[Trust, Policy]) -> None:
    """Whatever the channel allows, the private network included."""
    settings = Settings(permission_mode="bypassPermissions", private_network="10.0.", policies=policies)
    stranger = for_trust(in_channel(settings, "c", ChannelOptions(allowed_tools=("Bash",))), Trust.EXTERNAL)
    assert (stranger.tools, stranger.permission_mode) == ((), "default")
    assert "Bash(ssh *10.0.*)" in for_trust(settings, Trust.MEMBER).tools


@pytest.mark.parametrize(
    ("settings", "says", "near"),
    [
        ({"policies": {"extrnal": {}}}, "policies: There is no 'extrnal'", "external"),
        ({"policies": {"external": {"modle": "haiku"}}}, "policies: external: There is no Policy 'modle'", "model"),
        ({"policies": {"external": {"model": 3}}}, "policies: external: model must be text", ""),
        ({"policies": {"external": {"model": "haik"}}}, "Unknown model 'haik'", "haiku"),
        ({"policies": ["external"]}, "policies must be a table", ""),
        ({"channels": {"c": {"mailbox_sise": 1}}}, "channels: c: There is no ChannelOptions", "mailbox_size"),
        ({"channels": {"c": {"mailbox_size": 0}}}, "channels: c: mailbox_size must be at least 1", ""),
        ({"channels": {"c": {"total_timeout": math.inf}}}, "total_timeout must be a positive and finite", ""),
        ({"channels": {"c": {"idle_timeout": 0}}}, "idle_timeout must be a positive", ""),
        ({"channels": {"c": {"permission_mode": "plam"}}}, "permission_mode must be one of", "plan"),
        ({"channels": {"c": {"daily_budget_usd": -1}}}, "daily_budget_usd must be an amount", ""),
        ({"channels": {"c": {"monthly_budget_usd": math.inf}}}, "monthly_budget_usd must be an amount", ""),
        ({"channels": {"c": {"monthly_budget_usd": math.nan}}}, "monthly_budget_usd must be an amount", ""),
        ({"channels": {"c": {"model": "opos"}}}, "Unknown model 'opos'", "opus"),
        ({"channels": {"c": {"policies": {"owner": {"model": "opos"}}}}}, "Unknown model 'opos'", "opus"),
        ({"permission_mode": "bypassPermission"}, "permission_mode must be one of", "bypassPermissions"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_where(settings: dict[str, Any], says: str, near: str) -> None:
    """With the nearest name."""
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert says in str(caught.value)
    assert caught.value.nearest == near


def test_changes_that_cannot_be_meant_change_nothing() -> None:
    """All or nothing."""
    wrong: dict[str, Any] = {"mailbox_size": 3, "modle": "opus"}
    with pytest.raises(SettingsError, match="modle"):
        changed(NO_OPTIONS, wrong)  # type: ignore[arg-type]  # as one who does not check types
    assert changed(ChannelOptions(mailbox_size=3), {"mailbox_size": None}) == NO_OPTIONS


def test_a_snapshot_of_the_first_format_keeps_its_model_as_the_channels_choice() -> None:
    """It was stored before there were options."""
    old = {"v": 1, "channel": "c", "session_id": "s", "model": "opus", "created_at": NOON, "last_message_at": NOON}
    snapshot = make_codec().snapshot.decode(orjson.dumps({**old, "persona_hash": "p"}))
    assert (snapshot.model, snapshot.persona_hash) == ("opus", "p")
    assert snapshot.options == ChannelOptions(model="opus")


def test_options_survive_the_way_to_bytes_and_back() -> None:
    """Paths, policies and numbers, also that of a clock which never runs out."""
    policies = {Trust.EXTERNAL: Policy(allowed_tools=(), model="haiku")}
    options = ChannelOptions(
        working_dir=Path("/w"),
        policies=policies,
        total_timeout=3,
        idle_timeout=math.inf,
        monthly_budget_usd=0.5,
    )
    snapshot = SessionSnapshot(
        channel="c", session_id=None, model="m", created_at=NOON, last_message_at=NOON, options=options
    )
    codec = make_codec().snapshot
    assert codec.decode(codec.encode(snapshot)) == snapshot


# -- in an engine


async def test_options_hold_from_the_next_turn_on_and_outlive_clearing_and_the_engine(tmp_path: Path) -> None:
    """As the chosen model does."""
    settings, driver = plain_settings(tmp_path), InstantDriver()
    (tmp_path / "place").mkdir()
    async with opened(settings, driver=driver) as engine:
        await engine.ask("c", "one")
        given = await engine.configure("c", working_dir=tmp_path / "place", permission_mode="plan", model="opus")
        await engine.ask("c", "two")
        assert await engine.clear("c")
        await engine.ask("other", "one")
    async with opened(settings, driver=driver) as engine:
        await engine.ask("c", "three")
        assert await engine.options("c") == given
        assert await engine.options("other") == NO_OPTIONS
        await engine.configure("c", model=None, working_dir=None, permission_mode=None)
        await engine.ask("c", "four")
    seen = [(each.launch.model, each.launch.permission_mode, each.launch.working_dir.name) for each in driver.requests]
    usual, own = ("sonnet", "default", Path.cwd().name), ("opus", "plan", "place")
    assert seen == [usual, own, usual, own, usual]


async def test_a_working_directory_stays_where_it_was_when_it_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run of the program may have another one of its own."""
    settings = plain_settings(tmp_path)
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.configure("c", working_dir="place")
    driver = InstantDriver()
    monkeypatch.chdir("/")
    async with opened(settings, driver=driver) as engine:
        await engine.ask("c", "one")
    assert [each.launch.working_dir for each in driver.requests] == [tmp_path / "place"]


async def test_a_change_waits_for_the_running_turn_and_is_announced_without_its_values(tmp_path: Path) -> None:
    """Values may hold secrets, and the log goes to many places."""
    gate, settings = Gate(), plain_settings(tmp_path)
    driver = InstantDriver(gate)
    async with opened(settings, driver=driver) as engine, engine.subscribe("c") as events:
        await engine.post("c", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: engine.configure("c", allowed_tools=["hush"]))
            await engine.post("c", "next")
            await trio.testing.wait_all_tasks_blocked()
            assert await engine.options("c") == NO_OPTIONS
            gate.open()
        await engine.ask("c", "last")
        changes = []
        async for event in events:
            if isinstance(event, SessionChanged) and event.reason.startswith("options"):
                changes.append(event.reason)
                break
    assert changes == ["options changed: allowed_tools"]
    assert driver.requests[0].launch.allowed_tools != driver.requests[-1].launch.allowed_tools == ("hush",)
    assert [each["options"] for each in audit_records(settings, "operator.configure")] == ["allowed_tools"]
    assert b"hush" not in settings.audit_file.read_bytes()


async def test_the_size_of_a_mailbox_changes_at_once(tmp_path: Path) -> None:
    """Also while a turn runs; and it holds after a restart."""
    gate, settings = Gate(), plain_settings(tmp_path, mailbox_size=2)
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: engine.configure("c", mailbox_size=1))
            await trio.testing.wait_all_tasks_blocked()
            await engine.post("c", "waits")
            with pytest.raises(MailboxFull) as caught:
                await engine.post("c", "one too many")
            assert (caught.value.depth, caught.value.limit) == (1, 1)
            gate.open()
    gate = Gate()
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        await engine.post("c", "waits")
        with pytest.raises(MailboxFull):
            await engine.post("c", "one too many")
        gate.open()


async def test_a_larger_mailbox_lets_those_in_who_wait_for_a_place(tmp_path: Path) -> None:
    """At once."""
    gate, settings = Gate(), plain_settings(tmp_path, mailbox_size=1, full_mailbox="wait")
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        await engine.post("c", "waits")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.post, "c", "wants in")
            await trio.testing.wait_all_tasks_blocked()
            assert engine.status().queued_messages == 1
            nursery.start_soon(lambda: engine.configure("c", mailbox_size=2))
            await trio.testing.wait_all_tasks_blocked()
            gate.open()


async def test_a_channel_has_its_own_clocks(tmp_path: Path) -> None:
    """Another channel's turn goes on."""
    gate, settings = Gate(), plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.configure("c", total_timeout=0.05)
        receipt = await engine.post("c", "hold")
        other = await engine.post("other", "hold")
        outcome = await engine.outcome(receipt.message_id)
        gate.open()
        assert (await engine.outcome(other.message_id)).kind is OutcomeKind.ANSWERED
    assert outcome.kind is OutcomeKind.TIMED_OUT
    assert "0.05 s" in outcome.reason


async def test_each_message_runs_under_the_policy_of_its_trust(tmp_path: Path) -> None:
    """In one channel, turn by turn."""
    settings = plain_settings(tmp_path, policies={Trust.MEMBER: Policy(model="haiku", allowed_tools=("Read",))})
    driver = InstantDriver()
    async with opened(settings, driver=driver) as engine:
        for trust in (Trust.OWNER, Trust.MEMBER, Trust.EXTERNAL, Trust.OWNER):
            await engine.ask("c", "hello", trust=trust)
        await engine.configure("c", policies={Trust.EXTERNAL: Policy(allowed_tools=("Glob",))})
        await engine.ask("c", "hello", trust=Trust.EXTERNAL)
    owner = ("sonnet", settings.tools)
    seen = [(each.launch.model, each.launch.allowed_tools) for each in driver.requests]
    assert seen == [owner, ("haiku", ("Read",)), ("sonnet", ()), owner, ("sonnet", ("Glob",))]
    assert [each["model"] for each in audit_records(settings, "turn.started")][:2] == ["sonnet", "haiku"]


async def test_options_that_cannot_be_used_are_refused_before_anything_is_kept(tmp_path: Path) -> None:
    """A directory that is not there, a name that is none, an engine that closes."""
    missing = tmp_path / "missing"
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(SettingsError, match=f"working_dir: {missing} is not a directory"):
            await engine.configure("c", working_dir=missing, mailbox_size=3)
        with pytest.raises(InvalidMessage):
            await engine.configure("", mailbox_size=3)
        with pytest.raises(SettingsError, match="opos"):
            await engine.configure("c", mailbox_size=3, policies={Trust.MEMBER: Policy(model="opos")})
        with pytest.raises(SettingsError, match="agents: a needs prompt"):
            await engine.configure("c", mailbox_size=3, agents={"a": {"description": "d"}})
        assert await engine.options("c") == NO_OPTIONS
    with pytest.raises(EngineClosed):
        await engine.configure("c", mailbox_size=3)


async def test_a_model_that_may_not_be_chosen_any_more_stays_where_it_was_chosen(tmp_path: Path) -> None:
    """The settings changed; the channel goes on, as do its policies."""
    driver = InstantDriver()
    async with opened(plain_settings(tmp_path, models=("sonnet", "mine")), driver=driver) as engine:
        policies = {Trust.OWNER: Policy(model="mine")}
        await engine.configure("c", model="mine", fallback_model="mine", policies=policies)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        await engine.ask("c", "one")
        await engine.ask("c", "two", trust=Trust.OWNER)
        with pytest.raises(SettingsError, match="mine"):
            await engine.configure("c", model="mine")
        await engine.configure("c", model=None)
        await engine.ask("c", "three")
    assert [each.launch.model for each in driver.requests] == ["mine", "mine", "sonnet"]


def test_bans_add_up_and_all_else_is_as_the_policy_says() -> None:
    """A policy may give its level more than the level above has, but for what is banned in the channel."""
    settings = Settings(
        allowed_tools=("Read",),
        disallowed_tools=("Bash",),
        policies={Trust.MEMBER: Policy(allowed_tools=("Write", "Bash"), disallowed_tools=("WebFetch",))},
    )
    member = for_trust(settings, Trust.MEMBER)
    assert (member.tools, member.disallowed_tools) == (("Write", "Bash"), ("Bash", "WebFetch"))
    assert for_trust(settings, Trust.OWNER) is settings
    assert for_trust(settings, Trust.EXTERNAL).available_tools == ()
    assert for_trust(settings, Trust.EXTERNAL).mcp_servers == {}
