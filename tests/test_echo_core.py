"""Echo-Core's functions on the engine: results, errors, loggers and settings, with the scripted CLI."""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from active_files import record, write
from echo_core_bot import PERSONA, Bot, at_once, bot, heard, until

from echo_actors import echo_core
from echo_actors.echo_core.core import EchoCore
from echo_actors.errors import BudgetExceeded, CLINotFound, EngineClosed, SettingsError, StoreLocked, TurnOverBudget
from echo_actors.settings.tools import DEFAULT_TOOLS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Bot]:
    """A program on the scripted CLI."""
    with bot(tmp_path) as found:
        yield found


def test_the_module_has_the_old_functions() -> None:
    """And few others; their arguments and defaults are the old ones."""
    assert echo_core.__all__ == sorted(
        [
            *("build_system_prompt", "start_session", "resume_session", "send_message", "clear_session"),
            *("get_active_session", "set_session_model", "list_sessions", "configure", "close", "wrap_external"),
        ]
    )
    assert echo_core.start_session.__self__.__class__ is EchoCore  # type: ignore[attr-defined]


# -- answers


def test_a_session_starts_and_goes_on(place: Bot) -> None:
    """The answer and the session's id; then answers in the same session."""
    text, session_id = place.core.start_session("c", "hello")
    assert text == "echo: hello"
    assert place.core.send_message("c", "again") == "echo: again"
    assert place.core.resume_session(session_id, "and again") == "echo: and again"
    assert {each["session_id"] for each in place.asked()} == {session_id}
    assert list(place.core.list_sessions()) == ["c"]


def test_a_start_takes_the_place_of_the_channels_session(place: Bot) -> None:
    """The record begins anew, with the model asked for."""
    _, first = place.core.start_session("c", "hello")
    _, second = place.core.start_session("c", "hello", model="haiku")
    found = place.core.get_active_session("c")
    assert found is not None
    assert first != second
    assert (found["session_id"], found["message_count"], found["model"]) == (second, 1, "haiku")


def test_all_text_blocks_are_the_answer(place: Bot) -> None:
    """Joined by a blank line; on_text gets each, in order, in the thread that called."""
    got: list[tuple[str, int]] = []
    text = "[[blocks 3]]"
    answer = place.core.send_message("c", text, on_text=lambda part: got.append((part, threading.get_ident())))
    assert answer == "\n\n".join(f"echo {number}: {text}" for number in (1, 2, 3))
    assert got == [(f"echo {number}: {text}", threading.get_ident()) for number in (1, 2, 3)]


def test_on_text_gets_a_block_before_the_turn_has_ended(place: Bot) -> None:
    """This one never ends by itself, and the callback has had its blocks."""
    got: list[str] = []
    with pytest.raises(TimeoutError):
        place.core.send_message("c", "[[blocks 2]] [[no-result]]", timeout=2, on_text=got.append)
    assert len(got) == 2


def test_what_on_text_raises_is_logged_and_ends_nothing(place: Bot) -> None:
    """The other blocks still come."""
    got: list[str] = []

    def on_text(part: str) -> None:
        got.append(part)
        raise KeyError(part)

    with heard("echo-core.invoke") as lines:
        answer = place.core.send_message("c", "[[blocks 2]]", on_text=on_text)
    assert answer.count("echo") == len(got) == 2
    assert [line for line in lines if "on_text failed" in line] == ["on_text failed; the turn goes on"] * 2


def test_a_slow_on_text_holds_up_nobody_else(place: Bot) -> None:
    """Another channel's message, and the same channel's next one, are answered while it is at it."""
    inside, go_on = threading.Event(), threading.Event()

    def on_text(_: str) -> None:
        inside.set()
        go_on.wait(30)

    slow = threading.Thread(target=lambda: place.core.send_message("c", "hello", on_text=on_text))
    slow.start()
    assert inside.wait(30)
    assert place.core.send_message("other", "hello") == "echo: hello"
    assert place.core.send_message("c", "next") == "echo: next"
    assert slow.is_alive()
    go_on.set()
    slow.join()


def test_a_session_that_no_channel_has_runs_in_a_channel_of_its_own(place: Bot) -> None:
    """Begun by another program: its transcript is there, and it goes on."""
    _, session_id = place.core.start_session("c", "hello")
    place.core.clear_session("c")
    assert place.core.resume_session(session_id, "again") == "echo: again"
    assert place.asked()[-1]["session_id"] == session_id
    found = place.core.list_sessions()
    assert list(found) == [f"session:{session_id}"]
    assert found[f"session:{session_id}"]["session_id"] == session_id
    at_once([lambda: place.core.resume_session(session_id, "more")] * 4)
    assert place.core.list_sessions()[f"session:{session_id}"]["message_count"] == 5


# -- records


def test_a_record_has_the_old_fields(place: Bot) -> None:
    """Sums over the session's turns; times in UTC."""
    assert place.core.get_active_session("c") is None
    place.core.start_session("c", "hello")
    place.core.send_message("c", "again")
    found = place.core.get_active_session("c")
    assert found is not None
    assert place.core.list_sessions() == {"c": found}
    assert list(found) == [
        *("session_id", "model", "created_at", "last_message_at", "message_count", "total_input_tokens"),
        *("total_output_tokens", "total_cost_usd", "duration_ms", "context_tokens"),
    ]
    assert (found["message_count"], found["total_input_tokens"], found["total_output_tokens"]) == (2, 200, 40)
    assert found["created_at"].endswith("+00:00")
    assert found["created_at"] < found["last_message_at"]


def test_clear_forgets_the_session_and_says_whether_there_was_one(place: Bot) -> None:
    """The next message begins a new one, with the model that it asks for."""
    assert place.core.clear_session("c") is False
    _, before = place.core.start_session("c", "hello", model="opus")
    assert place.core.clear_session("c") is True
    assert (place.core.get_active_session("c"), place.core.list_sessions()) == (None, {})
    place.core.send_message("c", "hello", model="haiku")
    found = place.core.get_active_session("c")
    assert found is not None
    assert found["session_id"] != before
    assert found["model"] == "haiku"


def test_a_session_keeps_its_model(place: Bot) -> None:
    """What a message says of it is for one that begins a session; set_session_model says it of this one."""
    assert place.core.set_session_model("c", "opus") is False
    place.core.start_session("c", "hello", model="haiku")
    place.core.send_message("c", "again", model="opus")
    assert place.core.list_sessions()["c"]["model"] == "haiku"
    assert place.core.set_session_model("c", "opus") is True
    assert place.core.list_sessions()["c"]["model"] == "opus"


def test_messages_at_once_in_a_new_channel_share_the_session_of_the_first(place: Bot) -> None:
    """And its model; none of the others waits for that turn before it has its place."""
    first = threading.Thread(target=lambda: place.core.send_message("c", "[[delay 1]]", model="haiku"))
    first.start()
    until(lambda: len(place.asked()) == 1)
    at_once([lambda n=n: place.core.send_message("c", f"m{n}", model="opus") for n in range(3)])  # type: ignore[misc]
    first.join()
    place.core.close()
    ended = [each["time"] for each in place.audit("turn.ended")]
    accepted = [each["time"] for each in place.audit("message.accepted")]
    assert max(accepted) < min(ended)
    found = place.core.list_sessions()["c"]
    assert (found["model"], found["message_count"]) == ("haiku", 4)


def test_starts_at_once_each_begin_a_session_with_their_own_model(place: Bot) -> None:
    """No other message comes between the beginning and its first turn."""
    models = ["haiku", "sonnet", "opus"] * 3
    found = at_once([lambda m=m: place.core.start_session("c", m, model=m) for m in models])  # type: ignore[misc]
    place.core.close()
    assert [text for text, _ in found] == [f"echo: {model}" for model in models]
    assert len({session_id for _, session_id in found}) == 9
    asked = {each["session_id"]: each["text"] for each in place.asked()}
    used = {each["session"]: each["model"] for each in place.audit("turn.started")}
    assert used == asked


def test_changes_do_not_wait_for_a_turn_that_runs(place: Bot) -> None:
    """They show at once, and hold from the next turn on."""
    _, before = place.core.start_session("c", "hello")
    thread = threading.Thread(target=lambda: place.core.send_message("c", "[[delay 3]]"))
    thread.start()
    until(lambda: len(place.asked()) == 2)
    assert place.core.set_session_model("c", "opus") is True
    assert place.core.list_sessions()["c"]["model"] == "opus"
    assert place.core.clear_session("c") is True
    assert place.core.get_active_session("c") is None
    assert thread.is_alive()
    assert place.core.send_message("c", "after it", model="haiku") == "echo: after it"
    thread.join()
    found = place.core.get_active_session("c")
    assert found is not None
    assert found["session_id"] != before
    assert (found["message_count"], found["model"]) == (1, "haiku")


def test_a_change_that_a_close_cuts_off_is_logged(place: Bot) -> None:
    """Nobody waits for it any more, and it must not be lost without a word."""
    place.configure(drain_timeout=0.2)
    place.core.start_session("c", "hello")
    errors: list[BaseException] = []

    def cut() -> None:
        try:
            place.core.send_message("c", "[[hold 60]]")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=cut)
    thread.start()
    until(lambda: len(place.asked()) == 2)
    with heard("echo-core.sessions") as lines:
        assert place.core.set_session_model("c", "opus") is True
        place.core.close()
        thread.join()
        until(lambda: bool(lines))
    assert lines[0].startswith("a change of a session was not made: ")
    assert "the engine closed" in str(errors[0])


# -- errors


def test_old_handlers_tell_the_errors_apart(place: Bot) -> None:
    """Whatever the order of their clauses: no error is two of the four builtins."""
    kinds = (ValueError, FileNotFoundError, TimeoutError, RuntimeError)

    def caught(call: Callable[[], object]) -> list[type[Exception]]:
        with pytest.raises(kinds) as found:
            call()
        return [kind for kind in kinds if isinstance(found.value, kind)]

    send = place.core.send_message
    assert caught(lambda: send("c", "[[exit 3]]")) == [RuntimeError]
    assert caught(lambda: send("c", "[[hold 60]]", timeout=0.5)) == [TimeoutError]
    assert caught(lambda: send("c", "hello", model="gpt")) == [ValueError]
    place.core.close()
    (place.root / "personality").rename(place.root / "away")
    assert caught(lambda: send("c", "hello")) == [FileNotFoundError]
    assert caught(place.core.build_system_prompt) == [FileNotFoundError]


def test_a_clock_of_the_engines_is_a_timeout_too(place: Bot) -> None:
    """It names its seconds as well."""
    place.configure(idle_timeout=0.5)
    with pytest.raises(TimeoutError, match=r"the idle clock ran out after 0\.5 s"):
        place.core.send_message("c", "[[no-result]]")


def test_a_budget_that_is_used_up_is_a_runtime_error_that_says_which(place: Bot) -> None:
    """For the message that finds it so and for the next one, which is refused at once; also after a restart."""
    place.configure(daily_budget_usd=1e-9)
    send = place.core.send_message
    assert send("c", "hello") == "echo: hello"
    place.core.close()
    for kind in (TurnOverBudget, BudgetExceeded):
        with pytest.raises(RuntimeError, match="daily_budget_usd") as caught:
            send("c", "hello")
        assert type(caught.value) is kind
        assert isinstance(caught.value, BudgetExceeded)


def test_a_suspended_channel_can_begin_anew(place: Bot) -> None:
    """The old functions have none to lift a suspension, so the one that begins a session does."""
    place.core.start_session("c", "hello")
    supervisor = place.core._keeper.opened().conversations.engine._supervisor
    supervisor.suspend("c", "it crashed")
    with pytest.raises(RuntimeError, match="'c' is suspended: it crashed"):
        place.core.send_message("c", "hello")
    assert place.core.start_session("c", "hello")[0] == "echo: hello"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[exit 3]]", r"exit code 3\)$"),
        ("[[stderr 70000]] [[exit 3]]", r"exit code 3\): e{500}$"),
        ("[[no-result-exit 2]]", r"exit code 2\): echo: "),
        ("[[blocks 5]] [[no-result-exit 2]]", r"exit code 2\): echo 3: .*\necho 4: .*\necho 5: [^\n]*$"),
        ("[[no-result-exit]]", "there was no result line"),
        ("[[empty]]", "the result is empty"),
        ("[[is-error 400]]", "API Error: 400"),
        ("[[die]]", "exit code -9"),
    ],
)
def test_a_failure_is_a_runtime_error_that_says_which(place: Bot, text: str, said: str) -> None:
    """With the exit code and the end of standard error, else of the last three text blocks."""
    with pytest.raises(RuntimeError, match=said) as caught:
        place.core.send_message("c", text)
    assert len(str(caught.value)) < 800
    assert place.core.send_message("c", "and now") == "echo: and now"


def test_the_timeout_is_the_turns_and_names_its_seconds(place: Bot) -> None:
    """To wait for another turn is not counted; the channel goes on afterwards."""
    place.core.start_session("c", "hello")
    errors: list[BaseException] = []

    def late() -> None:
        try:
            place.core.send_message("c", "[[hold 60]]", timeout=1.5)
        except TimeoutError as error:
            errors.append(error)

    thread = threading.Thread(target=late)
    thread.start()
    until(lambda: len(place.asked()) == 2)
    # This one waits longer than its own timeout, and is answered.
    assert place.core.send_message("c", "patient", timeout=1.4) == "echo: patient"
    thread.join()
    assert [str(each) for each in errors] == ["the turn took longer than 1.5 seconds"]


def test_wrong_arguments_are_value_errors(place: Bot) -> None:
    """They name what is right, and nothing is asked."""
    for call in (
        lambda: place.core.send_message("c", "hello", model="gpt"),
        lambda: place.core.start_session("c", "hello", model="gpt"),
        lambda: place.core.set_session_model("c", "gpt"),
    ):
        with pytest.raises(ValueError, match="'gpt'; valid ones are haiku, sonnet, opus"):
            call()
    with pytest.raises(ValueError, match="a positive number of seconds, not 0"):
        place.core.send_message("c", "hello", timeout=0)
    with pytest.raises(ValueError, match=r"UUID in small letters, not '\.\./x'"):
        place.core.resume_session("../x", "hello")
    with pytest.raises(ValueError, match="the message is empty"):
        place.core.send_message("c", " ")
    assert place.asked() == []


def test_a_missing_cli_is_a_file_that_is_not_found(place: Bot) -> None:
    """With the hint how to install it; when it is there, the next call finds it."""
    missing = place.root / "nowhere" / "claude"
    place.configure(claude_bin=missing)
    with pytest.raises(FileNotFoundError, match="npm install -g @anthropic-ai/claude-code"):
        place.core.send_message("c", "hello")
    missing.parent.mkdir()
    (place.root / "bin" / "claude").rename(missing)
    assert place.core.send_message("c", "hello") == "echo: hello"
    place.core.clear_session("c")
    missing.unlink()
    with pytest.raises(CLINotFound, match="npm install -g @anthropic-ai/claude-code"):
        place.core.send_message("c", "hello")


def test_a_state_directory_in_use_is_an_error_that_says_by_whom(place: Bot) -> None:
    """Two programs in one place cannot both have the sessions."""
    place.core.send_message("c", "hello")
    other = EchoCore()
    other.configure(place.root)
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        other.list_sessions()


# -- the system prompt and the settings


def test_the_system_prompt_is_the_files_and_the_rules(place: Bot) -> None:
    """In their order, joined as ever; without the folder it is an error that names it."""
    (place.root / "personality" / "TOOLS.md").write_text("Tools.\n")
    (place.root / "personality" / "SOUL.md").write_text("\nSoul.")
    (place.root / "personality" / "OTHER.md").write_text("Not this.")
    parts = place.core.build_system_prompt().split("\n\n---\n\n")
    assert parts[:3] == [PERSONA, "Soul.", "Tools."]
    assert len(parts) == 4
    assert parts[3].startswith("## Security\n")
    place.configure(personality_dir=place.root / "missing")
    with pytest.raises(FileNotFoundError, match=str(place.root / "missing")):
        place.core.build_system_prompt()
    with pytest.raises(FileNotFoundError, match=str(place.root / "missing")):
        place.core.send_message("c", "hello")


@pytest.mark.parametrize(
    ("config", "tools"),
    [
        (None, DEFAULT_TOOLS),
        ('{"allowed_tools": ["Read", "Bash(ls *)"]}', ("Read", "Bash(ls *)")),
        ('{"allowed_tools": []}', DEFAULT_TOOLS),
        ('{"allowed_tools": "Read"}', DEFAULT_TOOLS),
        ('{"other": 1}', DEFAULT_TOOLS),
    ],
)
def test_the_allowed_tools_are_those_of_the_config(place: Bot, config: str | None, tools: tuple[str, ...]) -> None:
    """A list with something in it; otherwise the built-in one."""
    if config is not None:
        (place.root / "config.json").write_text(config)
    assert place.core._keeper.settings().allowed_tools == tools


@pytest.mark.parametrize(
    "config",
    [
        *("{", '{"allowed_tools": ["Read", 3]}', "\ud800", "[" * 100_000),
        *('{"allowed_tools": ["Read"], "allowed_tools": ["Bash"]}', '{"allowed_tools": NaN}'),
        '{"allowed_tools": ["Read\\ud800"]}',
    ],
)
def test_a_config_that_cannot_be_read_allows_nothing(place: Bot, config: str) -> None:
    """The built-in list may allow more than was meant."""
    (place.root / "config.json").write_text(config, errors="surrogatepass")
    with pytest.raises(SettingsError, match=r"config\.json"):
        place.core.send_message("c", "hello")


def test_a_config_that_is_no_file_is_not_waited_for(place: Bot) -> None:
    """A pipe that nobody writes into, say."""
    os.mkfifo(place.root / "config.json")
    with pytest.raises(SettingsError, match="no regular file"):
        place.core.list_sessions()


def test_settings_come_from_configure_then_the_environment_then_the_place(
    place: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order."""
    (place.root / "config.json").write_text('{"allowed_tools": ["Read"]}')
    monkeypatch.setenv("ECHO_ACTORS_ALLOWED_TOOLS", '["Write"]')
    monkeypatch.setenv("ECHO_ACTORS_TOTAL_TIMEOUT", "7")
    assert place.core._keeper.settings().allowed_tools == ("Write",)
    assert place.core._keeper.settings().total_timeout == 7
    place.configure(allowed_tools=["Grep"])
    assert place.core._keeper.settings().allowed_tools == ("Grep",)


def test_a_settings_file_comes_below_the_environment_and_above_the_place(
    place: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is beside the state directory, which is in the root."""
    (place.root / "config.json").write_text('{"allowed_tools": ["Read"]}')
    (place.root / "echo_actors.toml").write_text('allowed_tools = ["Write"]\ntotal_timeout = 7\nspares = 1')
    monkeypatch.setenv("ECHO_ACTORS_TOTAL_TIMEOUT", "8")
    settings = place.core._keeper.settings()
    assert (settings.allowed_tools, settings.total_timeout, settings.spares) == (("Write",), 8, 1)
    assert settings.state_dir == place.root / "state"


def test_configure_comes_before_the_first_call(place: Bot) -> None:
    """Afterwards it is an error, until the functions are closed."""
    place.core.list_sessions()
    with pytest.raises(SettingsError, match=r"before the first call of another function, or after close\(\)"):
        place.configure()
    place.core.close()
    place.configure(models=["sonnet", "tiny"])
    assert place.core.send_message("c", "hello", model="tiny") == "echo: hello"
    with pytest.raises(SettingsError, match="no setting"):
        EchoCore().configure(no_such_setting=1)


# -- sessions of the old program


def test_the_old_sessions_go_on(place: Bot) -> None:
    """The file is read when the store is new; what it counts is where the counting goes on."""
    _, session_id = place.core.start_session("c", "hello")
    place.core.clear_session("c")
    place.core.close()
    (place.root / "state").rename(place.root / "state-of-before")
    old = {"c": record(session_id=session_id, title="kept"), "bad": record(message_count="three")}
    path = write(place.root / "sessions" / "active.json", old)
    before = path.read_bytes()
    with heard("echo-core.sessions") as lines:
        assert place.core.send_message("c", "again") == "echo: again"
    found = place.core.list_sessions()
    assert list(found) == ["c"]
    assert (found["c"]["session_id"], found["c"]["message_count"], found["c"]["title"]) == (session_id, 4, "kept")
    assert lines == [
        f"1 sessions imported from {path}",
        f"channel 'bad' was not imported from {path}: message_count is no number: 'three'",
    ]
    assert path.read_bytes() == before


def test_the_old_sessions_are_taken_once(place: Bot) -> None:
    """Later the store is what counts, also where there was no file at first."""
    place.core.send_message("c", "hello")
    place.core.close()
    write(place.root / "sessions" / "active.json", {"d": record()})
    assert list(place.core.list_sessions()) == ["c"]


# -- loggers


def test_each_turn_has_its_line(place: Bot) -> None:
    """With the channel, the model, the duration, the tokens and the session, or why there was no answer."""
    with heard("echo-core.invoke") as lines:
        _, session_id = place.core.start_session("c\n", "hello")
        place.core.resume_session(session_id, "hello")
        with pytest.raises(RuntimeError):
            place.core.send_message("d", "[[exit 3]]")
    assert len(lines) == 3
    assert lines[0].startswith(r"channel='c\n' outcome=answered model=claude-sonnet-5-5 duration_ms=")
    assert lines[0].endswith(f" input_tokens=100 output_tokens=20 session={session_id}")
    assert lines[1].startswith(r"channel='c\n' outcome=answered")
    assert lines[2].startswith("channel='d' outcome=failed reason='failed: the CLI exited with status 3")


def test_the_names_of_withheld_variables_are_logged_and_never_their_values(
    place: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All eight of old among them; again only when they have changed."""
    names = [
        *("CLAUDECODE", "CLAUDE_CODE_SSE_PORT", "CLAUDE_CODE_ENTRYPOINT", "CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS"),
        *("DISCORD_TOKEN", "BOT_TOKEN", "API_KEY", "SECRET"),
    ]
    for name in names:
        monkeypatch.setenv(name, "hunter2")
    with heard("echo-core.security") as lines:
        place.core.send_message("c", "hello")
        place.core.send_message("c", "hello")
        assert len(lines) == 1
        monkeypatch.setenv("ONE_MORE", "hunter2")
        place.core.send_message("c", "hello")
    assert set(names) <= set(lines[0].partition(": ")[2].split(", "))
    assert ("ONE_MORE" in lines[1], len(lines)) == (True, 2)
    assert "hunter2" not in "".join(lines)


# -- threads, loops and processes


def test_the_first_calls_at_once_open_one_engine(place: Bot) -> None:
    """Each of sixteen threads finds it open, and every message is counted."""
    at_once([lambda n=n: place.core.send_message(f"c{n % 4}", f"m{n}") for n in range(16)])  # type: ignore[misc]
    place.core.close()
    assert len(place.audit("engine.started")) == 1
    assert sum(each["message_count"] for each in place.core.list_sessions().values()) == 16


def test_the_functions_work_in_the_thread_of_an_asyncio_loop(place: Bot) -> None:
    """A bot looks at records there, and has messages sent by threads."""

    async def main() -> tuple[str, object]:
        answer = await asyncio.to_thread(place.core.send_message, "c", "hello")
        return answer, place.core.get_active_session("c")

    answer, found = asyncio.run(main())
    assert answer == "echo: hello"
    assert found == place.core.list_sessions()["c"]


def test_a_forked_process_is_told_that_the_engine_is_elsewhere(place: Bot) -> None:
    """At once, instead of waiting for a thread that it does not have."""
    place.core.send_message("c", "hello")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            place.core.send_message("c", "hello")
        except EngineClosed as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    assert said.startswith(f"this process was forked from process {os.getpid()}, which has the engine")
    assert place.core.send_message("c", "still here") == "echo: still here"


def test_an_id_that_was_never_one_begins_a_session(place: Bot) -> None:
    """As one whose transcript is gone does."""
    place.core.start_session("c", "hello")
    unknown = str(uuid.uuid4())
    assert place.core.resume_session(unknown, "hello") == "echo: hello"
