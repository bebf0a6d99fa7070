"""Policies and options on the real CLI: what a tool may do for whom, and what a process takes over while it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from conftest import Host, residents

from echo_actors import Allow, Engine, PermissionAsked, Policy, Reply, ToolFinished, Trust, TurnEnded
from echo_actors.claude.session_lock import SessionLock, lock_session

pytestmark = pytest.mark.real_cli

TOUCH = '[[tool Bash {"command": "touch ran"}]]'

SERVER = """\
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    answers = {
        "initialize": {
            "protocolVersion": message.get("params", {}).get("protocolVersion"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "t", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "greet", "inputSchema": {"type": "object", "properties": {}}}]},
        "tools/call": {"content": [{"type": "text", "text": "greetings"}]},
    }
    if "id" in message:
        result = answers.get(message["method"], {})
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""
"""A server of one tool."""


async def used(
    engine: Engine, text: str, trust: Trust = Trust.MEMBER, channel: str = "c"
) -> tuple[ToolFinished, Reply]:
    """How the tool ended that a message makes the model use, and the reply."""
    async with engine.stream(channel, text, trust=trust) as turn:
        tools = [event async for event in turn if isinstance(event, ToolFinished)]
    assert len(tools) == 1
    return tools[0], turn.reply


async def test_a_stranger_is_denied_the_tool_that_the_owner_has_in_one_conversation(host: Host) -> None:
    """The model asks for it in both turns; the processes are warm, and each change of trust resumes the session."""
    async with host.engine(allowed_tools=("Bash",)) as engine:
        owners, first = await used(engine, TOUCH, Trust.OWNER)
        assert (host.work / "ran").exists()
        (host.work / "ran").unlink()
        pids = residents(engine)
        strangers, second = await used(engine, TOUCH, Trust.EXTERNAL)
        again, third = await used(engine, TOUCH, Trust.EXTERNAL)
        assert not (host.work / "ran").exists()
        assert residents(engine) != pids
        members, _ = await used(engine, TOUCH, Trust.MEMBER)
        assert (host.work / "ran").exists()
    assert [owners.is_error, strangers.is_error, again.is_error, members.is_error] == [False, True, True, False]
    assert "No such tool available: Bash" in strangers.text
    assert first.session_id == second.session_id == third.session_id
    assert len(host.audit("process.spawned")) == 3
    assert [call.tools == () for call in host.model.calls] == [False, False, True, True, True, True, False, False]
    assert len(host.model.calls[-1].history) == 3


async def test_a_stranger_has_nothing_that_a_permission_could_be_asked_for(host: Host) -> None:
    """With questions on, the CLI offers tools besides the usual ones; not to a stranger, though the model asks."""

    async def decide(question: PermissionAsked) -> Allow:
        await trio.lowlevel.checkpoint()
        asked.append(question)
        return Allow()

    asked: list[PermissionAsked] = []
    async with host.engine(permissions=decide, allowed_tools=()) as engine:
        strangers = [(await used(engine, text, Trust.EXTERNAL))[0] for text in (TOUCH, "[[tool EnterPlanMode {}]]")]
        assert asked == []
        members, _ = await used(engine, TOUCH, Trust.MEMBER)
    assert [tool.is_error for tool in (*strangers, members)] == [True, True, False]
    assert [question.trust for question in asked] == [Trust.MEMBER]
    assert host.model.calls[0].tools == ()


async def test_what_a_stranger_left_in_the_background_does_not_go_on_in_the_owner_s_permission_mode(
    host: Host,
) -> None:
    """A change of mode would be one for a sub-agent too; so its process ends before it could write."""
    write = f'[[delay 2]] [[tool Write {{"file_path": "{host.work}/ran", "content": ""}}]]'
    agent = {"description": "d", "prompt": write, "subagent_type": "general-purpose", "run_in_background": True}
    tools: dict[str, Any] = {"available_tools": ("Agent", "Write"), "allowed_tools": ("Agent",), "mcp_servers": {}}
    policies = {Trust.OWNER: Policy(permission_mode="acceptEdits"), Trust.EXTERNAL: Policy(**tools)}
    async with host.engine(policies=policies, **tools) as engine:
        started, _ = await used(engine, f"[[tool Agent {json.dumps(agent)}]]", Trust.EXTERNAL)
        strangers = psutil.Process(residents(engine)["c"])
        await engine.ask("c", "hello", trust=Trust.OWNER)
        await trio.to_thread.run_sync(strangers.wait, 10)
    assert not started.is_error
    assert not (host.work / "ran").exists()
    (record,) = host.audit("process.stopped", reason="it does not fit the next turn")
    assert record["channel"] == "c"


async def test_a_policy_may_leave_strangers_tools_that_still_need_a_permission(host: Host) -> None:
    """Nobody gives it, so the tool is denied."""
    policies = {Trust.EXTERNAL: Policy(available_tools=("Bash",))}
    async with host.engine(allowed_tools=("Bash",), policies=policies) as engine:
        tool, _ = await used(engine, TOUCH, Trust.EXTERNAL)
    assert tool.is_error
    assert "needs approval" in tool.text
    assert not (host.work / "ran").exists()
    assert "Bash" in host.model.calls[0].tools
    assert not {"Read", "Write", "WebFetch"} & set(host.model.calls[0].tools)


async def test_a_disallowed_tool_is_denied_to_everybody(host: Host) -> None:
    """Whatever is allowed besides."""
    async with host.engine(allowed_tools=("Bash",), disallowed_tools=("Bash(touch *)",)) as engine:
        tool, _ = await used(engine, TOUCH, Trust.OWNER)
    assert tool.is_error
    assert not (host.work / "ran").exists()


async def test_the_permission_mode_and_the_model_change_in_the_process_that_runs(host: Host) -> None:
    """At once, for the trust that has them, and back."""
    policies = {Trust.OWNER: Policy(permission_mode="acceptEdits", model="opus")}
    async with host.engine(allowed_tools=(), policies=policies) as engine:
        tools = [(await used(engine, TOUCH, trust))[0] for trust in (Trust.MEMBER, Trust.OWNER, Trust.MEMBER)]
        await engine.configure("c", permission_mode="acceptEdits")
        tools.append((await used(engine, TOUCH))[0])
    assert [tool.is_error for tool in tools] == [True, False, True, False]
    assert ["opus" in call.model for call in host.model.calls] == [False] * 2 + [True] * 2 + [False] * 4
    assert len(host.audit("process.spawned")) == 1


async def test_another_working_directory_takes_the_conversation_along(host: Host, tmp_path: Path) -> None:
    """There and back, also over a restart; the costs go on."""
    (tmp_path / "other").mkdir()
    where = '[[tool Bash {"command": "pwd"}]]'
    async with host.engine(allowed_tools=("Bash",)) as engine:
        here, first = await used(engine, where)
        await engine.configure("c", working_dir=tmp_path / "other")
        there, second = await used(engine, where)
    async with host.engine(allowed_tools=("Bash",)) as engine:
        still, third = await used(engine, where)
        await engine.configure("c", working_dir=None)
        back, fourth = await used(engine, where)
        session = await engine.session("c")
    assert [Path(tool.text) for tool in (here, there, still, back)] == [
        *(host.work, tmp_path / "other", tmp_path / "other", host.work)
    ]
    assert len({first.session_id, second.session_id, third.session_id, fourth.session_id}) == 1
    assert len(host.model.calls[-1].history) == 3
    assert session is not None
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)
    assert len(list(host.home.rglob(f"{first.session_id}.jsonl"))) == 1
    assert len(host.audit("session.moved")) == 2


async def test_a_copy_of_a_session_that_somebody_has_in_another_directory_leaves_it_where_it_is(
    host: Host, tmp_path: Path
) -> None:
    """Its transcript is the other's; the copy has the history and a place of its own."""
    (tmp_path / "other").mkdir()
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
    (theirs,) = host.home.rglob(f"{before.session_id}.jsonl")
    lock = lock_session(before.session_id, host.home / ".claude")
    assert isinstance(lock, SessionLock)
    try:
        async with host.engine(session_conflict="fork") as engine:
            await engine.configure("c", working_dir=tmp_path / "other")
            after = await engine.ask("c", "two")
    finally:
        lock.release()
    assert after.session_id != before.session_id
    assert host.model.calls[-1].history == ("one",)
    assert theirs.exists()
    assert len(list(host.home.rglob(f"{after.session_id}.jsonl"))) == 1


async def test_a_working_directory_that_is_gone_fails_the_turn_by_its_name(host: Host, tmp_path: Path) -> None:
    """It was there when it was chosen; the next turn works when it is back."""
    place = tmp_path / "other"
    place.mkdir()
    async with host.engine() as engine, engine.subscribe("c") as events:
        await engine.configure("c", working_dir=place)
        place.rmdir()
        receipt = await engine.post("c", "one")
        outcome = await engine.outcome(receipt.message_id)
        place.mkdir()
        assert (await engine.ask("c", "two")).text == "echo: two"
        async for event in events:
            if isinstance(event, TurnEnded):
                break
    assert outcome.error == "cli_failed"
    assert f"the working directory {place} is not a directory" in outcome.reason


async def test_servers_agents_hooks_and_a_further_prompt_work_and_are_in_no_process_list(
    host: Host, tmp_path: Path
) -> None:
    """Their files are for this user alone, and gone at the next start when nobody asks for them."""
    (tmp_path / "server.py").write_text(SERVER)
    server = {"command": sys.executable, "args": [str(tmp_path / "server.py")], "env": {"TOKEN": "hush-server"}}
    hook = {"type": "command", "command": f"touch {tmp_path}/hooked; : hush-hook"}
    async with host.engine(allowed_tools=("mcp__t__greet",)) as engine:
        await engine.configure(
            "c",
            mcp_servers={"t": server},
            agents={"reviewer": {"description": "hush-agent", "prompt": "Review."}},
            hooks={"PreToolUse": [{"matcher": "mcp__t__greet", "hooks": [hook]}]},
            append_system_prompt="Mind hush-prompt.",
        )
        tool, _ = await used(engine, "[[tool mcp__t__greet {}]]")
        cli = psutil.Process(residents(engine)["c"])
        seen = " ".join(part for each in (cli, *cli.children(recursive=True)) for part in each.cmdline())
        prompts = list((host.state / "prompts").iterdir())
        stranger, _ = await used(engine, "[[tool mcp__t__greet {}]]", Trust.EXTERNAL)
    assert (tool.is_error, "greetings" in tool.text) == (False, True)
    assert (stranger.is_error, "No such tool" in stranger.text) == (True, True)
    assert (tmp_path / "hooked").exists()
    assert "Mind hush-prompt." in host.model.calls[0].system
    assert b"hush-agent" in host.bodies[0]
    assert "--agents" in seen
    assert "hush" not in seen
    assert len(prompts) == 5
    assert {path.stat().st_mode & 0o777 for path in prompts} == {0o600}
    async with host.engine():
        assert len(list((host.state / "prompts").iterdir())) == 1


async def test_a_reply_has_what_the_schema_asked_for(host: Host) -> None:
    """Also the reply that is asked for again after a restart; a reply without it is a reply."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    async with host.engine() as engine:
        await engine.configure("c", json_schema=schema)
        receipt = await engine.post("c", '[[tool StructuredOutput {"name": "Ana"}]]')
        reply = (await engine.outcome(receipt.message_id)).reply
        plain = await engine.ask("other", "hello")
    async with host.engine() as engine:
        stored = (await engine.outcome(receipt.message_id)).reply
    assert reply is not None
    assert reply.structured_output == {"name": "Ana"}
    assert reply.text == '{"name":"Ana"}'
    assert stored == reply
    assert plain.structured_output is None


async def test_further_options_reach_the_cli(host: Host, tmp_path: Path) -> None:
    """A limit on requests ends a turn; a directory besides the working directory can be read."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "note").write_text("found it")
    read = f'[[tool Read {{"file_path": "{tmp_path}/beside/note"}}]]'
    async with host.engine(allowed_tools=()) as engine:
        denied, _ = await used(engine, read)
        await engine.configure("c", add_dirs=[str(tmp_path / "beside")], effort="low", setting_sources=[])
        tool, _ = await used(engine, read)
        await engine.configure("c", max_turns=1, fallback_model="haiku")
        receipt = await engine.post("c", read)
        outcome = await engine.outcome(receipt.message_id)
    assert (denied.is_error, tool.is_error) == (True, False)
    assert "found it" in tool.text
    assert (outcome.kind, outcome.error) == ("failed", "error_max_turns")
