"""What was said, read from transcripts of the real CLI; and conversations copied for it to go on from."""

from __future__ import annotations

import os

import pytest
import trio
from conftest import Host, MakeSettings, first
from engine_program import killed
from support import new_id, scripted_engine

from echo_actors import (
    Author,
    BusyPolicy,
    Engine,
    History,
    HistoryRole,
    Settings,
    TextDelta,
    ToolStarted,
    Trust,
    to_markdown,
)
from echo_actors.claude.forking import fork
from echo_actors.claude.transcript import Transcript
from echo_actors.simulator.model import ModelServer
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli

TOOL = '[[tool Bash {{"command": "{0}"}}]]'


def shown(history: History) -> list[str]:
    """The first letter of each role, with the text."""
    return [f"{entry.role[0]}:{entry.text}" for entry in history.entries]


async def run_cli(settings: Settings, *arguments: str) -> None:
    """Run the CLI by itself for one message, as a person may between two runs of an engine."""
    with trio.fail_after(30):
        await trio.run_process(
            [str(settings.claude_bin), "-p", *arguments],
            cwd=settings.working_dir,
            env={"PATH": os.environ["PATH"], **settings.environment},
            capture_stdout=True,
        )


async def ask_and_interrupt(engine: Engine, text: str, kind: type[TextDelta | ToolStarted]) -> None:
    """Interrupt a turn at its first event of a kind."""
    async with engine.subscribe("c") as events:
        receipt = await engine.post("c", text)
        await first(events, kind)
        await engine.interrupt("c")
        await engine.outcome(receipt.message_id)


async def test_everything_that_can_happen_in_a_turn_is_told(host: Host) -> None:
    """Tools and their errors, thinking, failed and interrupted turns, steered messages, a resumed session."""
    message_id = new_id()
    async with host.engine(allowed_tools=("Bash(echo:*)",)) as engine:
        await engine.ask("c", "hi\nthere", author=Author("Ana", "42"), trust=Trust.EXTERNAL, message_id=message_id)
        await engine.ask("c", f"tools [[thinking]] {TOOL.format('echo a')} {TOOL.format('rm x')}")
        fails = await engine.post("c", "fails [[status 400]]")
        await engine.outcome(fails.message_id)
        async with engine.subscribe("c") as events:
            slow = await engine.post("c", f"slow {TOOL.format('echo started; sleep 1; echo done')}")
            await first(events, ToolStarted)
            running = await engine.history("c")
            while len(running.entries) < 8:  # the CLI writes a moment after it says so
                running = await engine.history("c")
            await engine.ask("c", "joins", busy=BusyPolicy.STEER)
            await engine.outcome(slow.message_id)
        await ask_and_interrupt(engine, "cut [[stall 5]]", TextDelta)
    async with host.engine() as engine:
        await engine.ask("c", "resumed")
        history = await engine.history("c")
    told = shown(history)
    assert told[0] == "u:hi\nthere"
    asked, tools = history.entries[0], history.entries[3]
    assert (asked.author, asked.trust, asked.message_id) == (Author("Ana", "42"), Trust.EXTERNAL, message_id)
    assert tools.tool_calls[0].result == "a"
    assert "approval" in (tools.tool_calls[1].result or "")
    assert [call.is_error for call in tools.tool_calls] == [False, True]
    assert "thinking" in {block.kind for block in tools.blocks}
    assert (tools.usage.input_tokens, tools.usage.output_tokens) == (300, 60)
    assert told[4:6] == ["u:fails [[status 400]]", "n:API Error: 400 simulated 400"]
    assert told[6].startswith("u:slow")
    assert told[7:10] == ["a:", "u:joins", "a:tool said: started\ndone\necho: joins"]
    assert [told[10], told[12]] == ["u:cut [[stall 5]]", "n:Request interrupted by user"]
    assert told[13:] == ["u:resumed", "a:echo: resumed"]
    assert shown(running) == [*told[:7], "a:"]
    assert running.entries[-1].tool_calls[0].result is None
    assert all(entry.message_id for entry in history.entries if entry.role is HistoryRole.USER)
    assert history.damaged == 0
    assert "[fence" not in to_markdown(history).partition("## 2.")[0]


@pytest.mark.parametrize("point", ["working", "unstored"])
async def test_what_was_said_before_a_kill_is_told_after_it(
    real_settings: MakeSettings, model: ModelServer, point: str
) -> None:
    """Whether the program was killed within a tool's use, which is then used again, or before it stored the answer."""
    text = f"work {TOOL.format('echo started; sleep 1; echo done')}"
    settings, message_id = real_settings(allowed_tools=("Bash",)), new_id()
    nth = 1 if point == "working" else 2
    await killed(settings, (new_id(), "c", "before"), (message_id, "c", text), at=point, nth=nth)
    async with scripted_engine(settings, seconds=40) as engine:
        await engine.outcome(message_id)
        history = await engine.history("c")
    assert model.by_text["before"] == 1
    assert shown(history)[:3] == ["u:before", "a:echo: before", f"u:{text}"]
    assert history.entries[2].message_id == message_id
    assert history.entries[-1].text == "tool said: started\ndone"
    assert history.entries[-1].tool_calls[0].result == "started\ndone"


async def test_what_was_said_before_a_summary_is_told_and_forked_with_it(host: Host) -> None:
    """The model goes on from the summary, in the fork too; people read all of it."""
    async with host.engine() as engine:
        reply = await engine.ask("c", "one")
    await run_cli(host.settings(), "--resume", reply.session_id, "/compact")
    async with host.engine() as engine:
        await engine.ask("c", "two")
        await engine.fork("c", "d")
        await engine.ask("d", "three")
        history, forked = await engine.history("c"), await engine.history("d")
    roles = [entry.role.value for entry in history.entries]
    assert shown(history)[:2] == ["u:one", "a:echo: one"]
    assert roles[2] == "summary"
    assert roles.count("summary") == 1
    assert shown(history)[-2:] == ["u:two", "a:echo: two"]
    assert set(roles[3:-2]) <= {"note"}
    assert shown(forked) == [*shown(history), "u:three", "a:echo: three"]
    summary, *rest = host.model.calls[-1].history
    assert (history.entries[2].text[:40] in summary, rest[-1]) == (True, "two")


async def test_after_a_fork_each_remembers_its_own(host: Host) -> None:
    """What was said before, with the tools; what was said after only in its own; each turn costs what it costs."""
    async with host.engine(allowed_tools=("Bash",)) as engine:
        await engine.set_model("a", "opus")
        await engine.ask("a", "one")
        await engine.ask("a", f"two {TOOL.format('echo hi')}")
        await engine.fork("a", "b")
        await engine.ask("a", "three")
        before = len(host.model.calls)
        in_copy = await engine.ask("b", "four")
        again = await engine.ask("b", f"five {TOOL.format('echo ho')}")
        assert [call.history for call in host.model.calls[before:][:2]] == [
            ("one", host.asked("two")[0]),
            ("one", host.asked("two")[0], "four"),
        ]
        await engine.ask("a", "six")
        assert host.model.calls[-1].history == ("one", host.asked("two")[0], "three")
        history = await engine.history("b")
    assert shown(history)[::2] == ["u:one", f"u:{host.asked('two')[0]}", "u:four", f"u:{host.asked('five')[0]}"]
    assert history.entries[3].tool_calls[0].result == "hi"
    assert in_copy.cost_usd == pytest.approx(cost_usd("opus"), abs=1e-9)
    assert again.cost_usd == pytest.approx(2 * cost_usd("opus"), abs=1e-9)
    async with host.engine() as engine:
        last = await engine.ask("b", "seven")
        session, origin = await engine.session("b"), await engine.session("a")
    assert last.cost_usd == pytest.approx(cost_usd("opus"), abs=1e-9)
    assert session is not None
    assert origin is not None
    assert session.total_cost_usd == pytest.approx(4 * cost_usd("opus"), abs=1e-9)
    assert session.total_cost_usd + origin.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)


async def test_a_fork_of_a_hibernated_channel_and_one_of_a_fork(host: Host) -> None:
    """A process is not needed for a copy, and a copy is a conversation like any other."""
    async with host.engine(warm=False) as engine:
        await engine.ask("a", "one")
        await engine.fork("a", "b")
        await engine.fork("b", "c")
        await engine.ask("c", "two")
        assert host.model.calls[-1].history == ("one",)
        await engine.ask("b", "three")
        assert host.model.calls[-1].history == ("one",)


async def test_a_copy_has_what_the_clis_own_copy_has(host: Host) -> None:
    """The same lines of the conversation, by the same names, under the new session."""
    async with host.engine() as engine:
        reply = await engine.ask("a", "one")
        await engine.ask("a", f"two {TOOL.format('echo hi')}")
    settings = host.settings()
    transcript = Transcript.of(reply.session_id, settings.working_dir, settings.environment)
    copy = Transcript(transcript.path.with_name(f"{fork(transcript)}.jsonl"))
    own = Transcript(transcript.path.with_name(f"{new_id()}.jsonl"))
    arguments = ["--resume", reply.session_id, "--fork-session", "--session-id", own.path.stem, "more"]
    await run_cli(settings, *arguments)
    names = [entry["uuid"] for entry in copy.entries()]
    assert [entry["uuid"] for entry in own.entries() if entry.get("uuid") in names] == names
    assert {entry["sessionId"] for entry in copy.entries()} == {copy.path.stem}
    assert copy.total_cost() == 0.0 < transcript.total_cost()
