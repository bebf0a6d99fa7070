"""A program that was written for the old module runs with nothing but its import changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
from active_files import record, write
from echo_core_bot import bot, until

from echo_actors.claude.process_tree import marked
from echo_actors.simulator.cli import write_scripted_cli

OLD_IMPORT = "from bot import session_manager"
NEW_IMPORT = "from echo_actors import echo_core as session_manager"

PROGRAM = f'''
import asyncio
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor

{OLD_IMPORT}

logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s|%(message)s")


def commands(channel):
    """What the bot's slash commands do, in the thread of its loop."""
    session_manager.set_session_model(channel, "opus")
    record = session_manager.get_active_session(channel)
    return f"{{record['model']}} {{record['message_count']}} {{record['total_cost_usd']:.4f}}"


async def on_message(channel, text):
    """What the bot does with a message: the session manager blocks, so it has a thread."""
    parts = []
    try:
        answer = await asyncio.to_thread(
            session_manager.send_message, channel, text, model="haiku", timeout=60, on_text=parts.append
        )
    except TimeoutError:
        answer = "That took too long."
    except RuntimeError as error:
        answer = f"That went wrong: {{error}}"
    return answer, parts


async def main():
    found = {{"prompt": session_manager.build_system_prompt()}}
    found["before"] = sorted(session_manager.list_sessions())
    found["answers"] = await asyncio.gather(*(on_message(f"c{{n % 4}}", f"message {{n}}") for n in range(16)))
    found["failed"] = await on_message("c0", "[[exit 3]]")
    found["status"] = commands("c1")
    with ThreadPoolExecutor(4) as pool:
        started = pool.submit(session_manager.start_session, "new", "hello", "opus").result()
        resumed = pool.submit(session_manager.resume_session, started[1], "again").result()
    found["started"] = [started[0], resumed, session_manager.get_active_session("new")["session_id"] == started[1]]
    try:
        session_manager.send_message("c0", "hello", model="gpt-4")
    except ValueError as error:
        found["wrong"] = str(error)
    found["cleared"] = [session_manager.clear_session("new"), session_manager.clear_session("new")]
    found["sessions"] = session_manager.list_sessions()
    print(json.dumps(found))


asyncio.run(main())
'''


def test_a_program_for_the_old_module_runs_with_its_import_changed(tmp_path: Path) -> None:
    """In the folder where it always ran, with its personality, its configuration and its sessions; and it ends."""
    for name in ("personality", "home", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "personality" / "IDENTITY.md").write_text("I am Echo.")
    (tmp_path / "config.json").write_text('{"allowed_tools": ["Read"]}')
    sessions = write(tmp_path / "sessions" / "active.json", {"c1": record()})
    before = sessions.read_bytes()
    (tmp_path / "bot.py").write_text(PROGRAM.replace(OLD_IMPORT, NEW_IMPORT))
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    cli = write_scripted_cli(tmp_path / "bin")
    # The CLI gets this variable, so that what is left running can be found.
    mark = {"CLAUDE_CODE_USE_X_TEST": str(tmp_path)}
    environment = {**kept, **mark, "HOME": str(tmp_path / "home"), "CLAUDE_BIN": str(cli), "DISCORD_TOKEN": "hunter2"}
    done = subprocess.run(
        [sys.executable, "bot.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, marked(mark)) == (0, set()), done.stderr
    found = json.loads(done.stdout)
    assert found["prompt"].startswith("I am Echo.\n\n---\n\n## Security\n")
    assert found["before"] == ["c1"]
    assert found["answers"] == [[f"echo: message {number}", [f"echo: message {number}"]] for number in range(16)]
    assert found["failed"][0].startswith("That went wrong: ")
    # The old session counted three messages; its transcript is gone, and the counting goes on.
    assert found["status"] == "opus 7 0.0139"
    assert found["started"] == ["echo: hello", "echo: again", True]
    assert "valid ones are haiku, sonnet, opus" in found["wrong"]
    assert found["cleared"] == [True, False]
    models = {channel: each["model"] for channel, each in found["sessions"].items()}
    assert models == {"c0": "haiku", "c1": "opus", "c2": "haiku", "c3": "haiku"}
    assert sum(each["message_count"] for each in found["sessions"].values()) == 19
    lines = [line for line in done.stderr.splitlines() if line.startswith("echo-core.")]
    assert sum(line.startswith("echo-core.invoke|") for line in lines) == 19
    assert "DISCORD_TOKEN" in next(line for line in lines if line.startswith("echo-core.security|"))
    assert "hunter2" not in done.stderr
    assert sessions.read_bytes() == before
    audit = map(orjson.loads, (tmp_path / "state" / "audit.jsonl").read_bytes().splitlines())
    assert sorted(each["channel"] for each in audit if each["event"] == "process.spawned") == [
        *("c0", "c1", "c2", "c3", "new")
    ]


INTERRUPTED = """
import sys
from echo_actors import echo_core

try:
    echo_core.send_message("c", "[[blocks 2]] [[no-result]]", on_text=lambda text: print(text, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(echo_core.send_message("c", "and now"))
"""


def test_ctrl_c_ends_the_turn_that_is_waited_for(tmp_path: Path) -> None:
    """The program goes on, and so does the channel; nothing is left at the end."""
    for name in ("personality", "home", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "personality" / "IDENTITY.md").write_text("I am Echo.")
    mark = {"CLAUDE_CODE_USE_X_TEST": str(tmp_path)}
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    cli = write_scripted_cli(tmp_path / "bin")
    environment = {**kept, **mark, "HOME": str(tmp_path / "home"), "CLAUDE_BIN": str(cli)}
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("echo 1: ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, marked(mark)) == (0, set()), err
    assert out.splitlines()[-2:] == ["interrupted", "echo: and now"]


KILLED = """
import json
import sys
from echo_actors import echo_core

echo_core.configure(environment=json.loads(sys.argv[1]))
print(echo_core.send_message("c", "hello", timeout=60))
"""


def test_fault_12_a_message_that_a_crash_cut_comes_to_its_end(tmp_path: Path) -> None:
    """In its session, which is recorded although this was its first turn."""
    with bot(tmp_path) as place:
        fault = {"SCRIPTED_CLI_FAULT": "[[hold 600]]", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
        variables = {"HOME": str(place.home), "SCRIPTED_CLI_ASKED": str(tmp_path / "asked"), "X_TEST": place.marker}
        environment = {**os.environ, "CLAUDE_BIN": str(tmp_path / "bin" / "claude")}
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, json.dumps({**variables, **fault})], cwd=tmp_path, env=environment
        ) as process:
            until(lambda: bool(place.asked()) or process.poll() is not None)
            process.kill()
        (began,) = place.asked()
        until(lambda: place.core.get_active_session("c") is not None)
        found = place.core.list_sessions()["c"]
        assert (found["session_id"], found["message_count"]) == (began["session_id"], 1)
        assert place.core.send_message("c", "and now") == "echo: and now"
