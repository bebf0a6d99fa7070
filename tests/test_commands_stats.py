"""``echo-actors stats``: its table, its columns, its JSON and its picture, of a log that rests or is being written."""

from __future__ import annotations

import errno
import importlib.util
import os
import signal
import struct
import xml.etree.ElementTree as ET
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from commands_program import Program, plain
from support import until

from echo_actors.audit import Keeping, open_audit
from echo_actors.commands.exits import Exit
from echo_actors.commands.stats_picture import Plot
from echo_actors.commands.stats_table import _number, _time
from echo_actors.errors import SettingsError
from echo_actors.statistics.figures import Figures
from echo_actors.statistics.ledger import Ledger
from echo_actors.statistics.picture import MOST_CHANNELS, draw

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
SPENT = {"cost_usd": 0.25, "input_tokens": 1_000, "output_tokens": 20, "cache_read_tokens": 300}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def write_log(program: Program, *, keeping: Keeping | None = None) -> Path:
    """A log: two answers of ``discord:a`` on two days, and of ``b`` one that failed and one over its budget."""
    path, now = program.state / "audit.jsonl", NOW
    log = open_audit(path, run_id="run-1", clock=lambda: now, keeping=keeping or Keeping())

    def record(second: float, event: str, channel: str, message: str, **fields: Any) -> None:
        nonlocal now
        now = NOW + timedelta(seconds=second)
        log.record(event, channel=channel, message=message, **fields)
        trio.run(log.flush)
        trio.run(log.flush)

    for begin, channel, message, took in (
        (0, "discord:a", "1", {"outcome": "answered", "first_output_ms": 500.0}),
        (100, "b", "2", {"outcome": "failed", "error": "cli_failed"}),
        (86_400, "discord:a", "3", {"outcome": "answered", "first_output_ms": 700.0}),
    ):
        record(begin, "message.accepted", channel, message)
        record(begin + 0.25, "turn.started", channel, message, attempt=1)
        record(begin + 1, "tool.started", channel, message, tool="Bash")
        record(begin + 65 + begin / 86_400, "turn.ended", channel, message, turn=message, **SPENT, **took)
    record(86_500, "turn.ended", "b", "4", outcome="failed", error="budget_exceeded")
    log.close()
    return path


async def written(program: Program, *, keeping: Keeping | None = None) -> Path:
    """The same, from a test that is running."""
    return await trio.to_thread.run_sync(lambda: write_log(program, keeping=keeping))


async def told(program: Program, *arguments: str) -> dict[str, Any]:
    """What the command says as JSON."""
    finished = await program.run("stats", "--json", *arguments)
    assert (finished.code, finished.err) == (0, "")
    found: dict[str, Any] = orjson.loads(finished.out)
    return found


async def test_a_script_gets_all_figures_as_json(program: Program) -> None:
    """Of each row, and of all together; through all files."""
    await written(program, keeping=Keeping(max_bytes=300))
    found = await told(program)
    a, b = "discord:a", "b"
    assert (found["by"], [row["channel"] for row in found["rows"]]) == (["channel"], [b, a])
    assert found["rows"][1] == {
        "channel": a,
        "messages": 2,
        "answered": 2,
        "turns": 2,
        "retried": 0,
        "cut": 0,
        "cost_usd": 0.5,
        "errors": dict.fromkeys(found["total"]["errors"], 0),
        "input_tokens": 2000,
        "output_tokens": 40,
        "cache_read_tokens": 600,
        "cache_creation_tokens": 0,
        "wait_s": {"count": 2, "median": 0.25, "p95": 0.25, "p99": 0.25},
        "first_output_s": {"count": 2, "median": 0.5, "p95": 0.7, "p99": 0.7},
        "turn_s": {"count": 2, "median": 64.75, "p95": 65.75, "p99": 65.75},
    }
    assert {kind: count for kind, count in found["rows"][0]["errors"].items() if count} == {
        "failed": 1,
        "over_budget": 1,
    }
    assert found["rows"][0]["first_output_s"] is None
    assert (found["total"]["messages"], found["total"]["turns"], found["total"]["cost_usd"]) == (4, 3, 0.75)
    assert (found["unended_messages"], found["broken_lines"]) == (0, 0)
    by_both = (await told(program, "--by", "channel,day"))["rows"]
    assert [(row["channel"], row["day"], row["messages"]) for row in by_both] == [
        (b, "2026-01-02", 1),
        (b, "2026-01-03", 1),
        (a, "2026-01-02", 1),
        (a, "2026-01-03", 1),
    ]
    assert [row["day"] for row in (await told(program, "--by", "day"))["rows"]] == ["2026-01-02", "2026-01-03"]


async def test_time_and_channels_choose(program: Program) -> None:
    """In the forms of the command audit; several channels, and patterns."""
    await written(program)

    async def ended(*arguments: str) -> int:
        return int((await told(program, *arguments))["total"]["messages"])

    assert await ended("--since", "2026-01-03") == 2
    assert await ended("--until", "2026-01-03T01:00+01:00") == 2
    assert await ended("--since", "1h") == 0
    assert await ended("--channel", "discord:*") == 2
    assert await ended("--channel", "discord:*", "--channel", "b", "--since", "2026-01-02T12:01:30") == 3


async def test_a_pipe_gets_columns(program: Program) -> None:
    """A head, and as many cells in every line; no sum, which would be counted twice."""
    await written(program)
    finished = await program.run("stats", "--by", "channel,day")
    head, *lines = [line.split("\t") for line in finished.out.splitlines()]
    assert {len(line) for line in lines} == {len(head)}
    assert len(lines) == 4
    row = dict(zip(head, lines[2], strict=True))
    assert (row["channel"], row["day"], row["turns"], row["cost_usd"]) == ("discord:a", "2026-01-02", "1", "0.250000")
    assert (row["wait_median_s"], row["turn_p99_s"], row["failed"]) == ("0.250", "64.750", "0")
    assert dict(zip(head, lines[1], strict=True))["turn_median_s"] == ""


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("by", ["channel", "day", "channel,day"])
async def test_people_get_a_table_in_the_width_of_their_terminal(program: Program, columns: int, by: str) -> None:
    """With a sum and the kinds of error; every line fits."""
    await written(program)
    async with program.terminal("stats", "--by", by, columns=columns) as running:
        pass
    lines = [line.rstrip() for line in plain(running.written).splitlines()]
    assert all(len(line) <= columns for line in lines)
    (whole,) = [line.split() for line in lines if line.startswith("total")]
    assert whole[-1] == "0.7500"
    assert "1m05s" in whole
    assert "2" in whole
    assert "errors: 1 failed, 1 over budget" in "\n".join(lines)
    assert ("retried" in "".join(lines)) == (columns == 160)


async def test_a_long_table_keeps_its_figures_in_80_columns(program: Program) -> None:
    """A long name of a channel is folded; large figures are short."""
    name = "slack:" + "n" * 70
    now = NOW
    log = open_audit(program.state / "audit.jsonl", run_id="r", clock=lambda: now)
    for event, seconds in (("message.accepted", 0), ("turn.started", 4_000), ("turn.ended", 90_000)):
        now = NOW + timedelta(seconds=seconds)
        spent = {"cost_usd": 123_456.78, "input_tokens": 10**12, "first_output_ms": 59_960.0}
        log.record(event, channel=name, message="m", attempt=1, turn="m", outcome="answered", **spent)
    await log.aclose()
    async with program.terminal("stats", "--by", "channel,day") as running:
        pass
    lines = plain(running.written).splitlines()
    assert all(len(line) <= 80 for line in lines)
    (whole,) = [line for line in lines if line.startswith("total")]
    assert whole.split()[1:] == ["1", "0", "1h06m", "1m00s", "23h53m", "123,456.78"]


async def test_no_stranger_controls_the_terminal_and_colour_can_be_off(program: Program) -> None:
    """A channel's name is shown and not obeyed; as JSON, it is as it is."""
    name = "\x1b[31m[b]\u202ey\nz\t"
    await program.run("send", name, "hello")
    finished = await program.run("stats")
    assert finished.out.splitlines()[1].startswith("\\x1b[31m[b]\\u202ey\\nz\\t\t1\t1\t1\t")
    assert (await told(program))["rows"][0]["channel"] == name
    async with program.terminal("stats", NO_COLOR="1") as running:
        pass
    assert b"\x1b[3" not in running.written
    assert "\x1b[31m" not in running.written.decode().replace("\\x1b[31m", "")


async def test_the_figures_of_a_run_are_those_of_its_sessions(program: Program) -> None:
    """Of the real command, on the scripted CLI."""
    for text in ("one", "two"):
        await program.run("send", "c", text)
    await program.run("send", "c", "[[exit 3]]")
    (row,) = (await told(program))["rows"]
    (session,) = orjson.loads((await program.run("sessions", "--json")).out)
    assert (row["messages"], row["answered"], row["errors"]["failed"]) == (3, 2, 1)
    assert row["cost_usd"] == pytest.approx(session["total_cost_usd"])
    assert (row["input_tokens"], row["output_tokens"]) == (
        session["total_input_tokens"],
        session["total_output_tokens"],
    )
    assert (row["wait_s"]["count"], row["first_output_s"]["count"], row["turn_s"]["count"]) == (3, 2, 3)


async def test_nothing_to_count_is_said_and_is_no_error(program: Program) -> None:
    """Without a log, and without what was asked for; nothing is made."""
    finished = await program.run("stats")
    assert (finished.code, len(finished.out.splitlines())) == (Exit.DONE, 1)
    assert "no message that is asked for has ended" in finished.err
    assert not program.state.exists()
    await written(program)
    async with program.terminal("stats", "--channel", "nobody") as running:
        pass
    assert "no message that is asked for has ended" in " ".join(plain(running.written).split())
    assert running.process.returncode == Exit.DONE
    assert (await told(program, "--channel", "nobody"))["rows"] == []


async def test_broken_lines_are_counted_and_told(program: Program) -> None:
    """Nothing stops for them; another command says what is wrong."""
    path = await written(program)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], b"\xff\x00 no record\n", b"{}\n", *lines[3:]]))
    finished = await program.run("stats")
    assert (finished.code, len(finished.out.splitlines())) == (Exit.DONE, 3)
    assert finished.err == "echo-actors: 2 lines of the log are no records; see echo-actors audit verify\n"


async def test_a_log_that_an_engine_writes_is_read_meanwhile(program: Program) -> None:
    """The lock on the state directory is not in the way; what runs is told to be without an end."""
    async with program.start("send", "c", "[[delay 900]]") as running:
        await until(lambda: "turn.started" in program.audit())
        finished = await program.run_beside("stats")
        running.process.send_signal(signal.SIGINT)
    assert finished.code == Exit.DONE
    assert "without an end in the log so far: 1 message\n" in finished.err


async def test_a_log_that_cannot_be_read_is_a_store_error(program: Program) -> None:
    """Exit code 4, and one line."""
    (program.state / "audit.jsonl").mkdir(parents=True)
    finished = await program.run("stats")
    assert (finished.code, finished.out, finished.err.count("\n")) == (Exit.STORE, "", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "soon"), "'soon' is no time"),
        (("--plot", "p.gif"), "only .png and .svg"),
        (("--plot", "p"), "only .png and .svg"),
        (("--plot", "nowhere/p.svg"), "there is no directory nowhere"),
        (("--plot", "work.svg"), "that cannot be written"),
    ],
    ids=" ".join,
)
async def test_what_cannot_be_meant_is_wrong_usage(program: Program, arguments: tuple[str, str], words: str) -> None:
    """With a line that says what could be, before the log is read."""
    (program.root / "work.svg").mkdir()
    (program.state / "audit.jsonl").mkdir(parents=True)
    finished = await program.run("stats", *arguments)
    assert (finished.code, finished.out, finished.err.count("\n")) == (Exit.USAGE, "", 1)
    assert words in finished.err


def test_without_matplotlib_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the log is read."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'echo-actors\[plot\]'"):
        Plot.at(tmp_path / "p.svg")


async def test_matplotlib_is_not_imported_without_a_picture(program: Program) -> None:
    """It takes long, and may not be there."""
    (program.root / "matplotlib.py").write_text("raise SystemExit('imported')\n")
    await written(program)
    assert (await program.run("stats", PYTHONPATH=str(program.root))).code == Exit.DONE


async def test_a_named_pipe_in_the_place_of_the_log_is_a_store_error(program: Program) -> None:
    """It is not waited for either."""
    program.state.mkdir()
    os.mkfifo(program.state / "audit.jsonl")
    finished = await program.run("stats")
    assert (finished.code, "no regular file" in finished.err) == (Exit.STORE, True)


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody may ever read it, and no signal ends the wait of a thread."""
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(SettingsError, match="cannot be written"):
        Plot.at(tmp_path / "x.png")


def test_a_file_that_fails_while_it_is_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a word of the system's."""
    plot = Plot.at(tmp_path / "p.svg")

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(SettingsError, match="Input/output error"):
        plot.draw(Ledger())


# -- the picture


async def test_the_command_draws_a_picture_of_the_log(program: Program) -> None:
    """An SVG with the channels' names, the same each time, and a PNG; beside the table."""
    await written(program)
    for name in ("one.svg", "two.SVG", "three.png"):
        finished = await program.run("stats", "--plot", name)
        assert (finished.code, len(finished.out.splitlines())) == (Exit.DONE, 3)
    one, two, three = ((program.root / name).read_bytes() for name in ("one.svg", "two.SVG", "three.png"))
    assert one == two
    assert {"discord:a", "b", "2026-01-02", "2026-01-03", "turns", " 0.5000"} <= set(words_in(one))
    check_png(three)


@pytest.mark.parametrize("kind", ["svg", "png"])
@pytest.mark.parametrize("number", [0, 1, 500])
def test_any_number_of_channels_and_days_can_be_drawn(kind: str, number: int) -> None:
    """None, and more than there is room for: the dearest are named."""
    days = {date(2026, 1, 1) + timedelta(each): figures(each) for each in range(number)}
    channels = {f"channel-{each:03}": figures(each) for each in range(number)}
    content = draw(days, channels, kind)
    if kind == "png":
        check_png(content)
    else:
        named = [word for word in words_in(content) if word.startswith("channel-")]
        assert named == [f"channel-{each:03}" for each in reversed(range(number))][:MOST_CHANNELS]


def test_a_name_is_neither_formula_nor_markup_and_needs_no_sign_in_the_font() -> None:
    """It is drawn as it is, but for its length."""
    names = ["$x^2$", "a$b", "<b>&amp;", "_hidden", "日本語", "😀", "long" * 20]
    content = draw({}, {name: figures(place) for place, name in enumerate(names)}, "svg")
    assert {*names[:-1], "long" * 7 + "lon…"} <= set(words_in(content))
    check_png(draw({}, {name: figures(1) for name in names}, "png"))


@pytest.mark.parametrize(
    ("number", "short"),
    [(0, "0"), (9_999, "9,999"), (10_000, "10.0k"), (123_456, "123k"), (999_999, "1000k"), (10**6, "1.00M")],
)
def test_large_numbers_are_short(number: int, short: str) -> None:
    """At most six characters."""
    assert _number(number) == short


@pytest.mark.parametrize(
    ("seconds", "short"),
    [
        *((0.0, "0ms"), (0.0004, "0ms"), (0.9994, "999ms"), (0.9996, "1.0s"), (59.94, "59.9s"), (59.96, "1m00s")),
        *((3599.4, "59m59s"), (3599.6, "1h00m"), (90_000.0, "25h00m")),
    ],
)
def test_times_are_short(seconds: float, short: str) -> None:
    """Rounded once, so that no minute has sixty seconds."""
    assert _time(seconds) == short


def figures(number: int) -> Figures:
    """Some figures, more of them and dearer with the number."""
    found = Figures(messages=number, turns=number, cost_usd=float(number))
    found.errors["failed"] = number // 2
    found.durations.extend(float(each) for each in range(number))
    return found


def words_in(svg: bytes) -> list[str]:
    """The texts of a picture."""
    root = ET.fromstring(svg)  # noqa: S314 - made by this test
    assert root.tag == f"{SVG}svg"
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def check_png(content: bytes) -> None:
    """See that it is a whole picture: every part has its checksum, and the pixels are as many as it says."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    place, pixels, size = 8, b"", (0, 0)
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack_from(">I", content, place + 8 + length)
        assert zlib.crc32(kind + data) == checksum
        size = struct.unpack_from(">II", data) if kind == b"IHDR" else size
        pixels += data if kind == b"IDAT" else b""
        place += 12 + length
    assert kind == b"IEND"
    assert len(zlib.decompress(pixels)) == size[1] * (size[0] * 4 + 1)
