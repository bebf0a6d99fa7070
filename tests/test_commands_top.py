"""The command ``top``: what is on the screen, what keys do, and how it leaves the terminal."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import trio
from commands_program import Program, Running, plain
from hypothesis import given
from hypothesis import strategies as st
from support import plain_settings, until

from echo_actors import Engine, open_engine
from echo_actors.claude.driver import TurnRequest
from echo_actors.commands.cells import cut, padded, width_of
from echo_actors.commands.exits import Exit
from echo_actors.commands.terminal import visible
from echo_actors.commands.top import figures
from echo_actors.commands.top.choices import Choices, Mode, Order, Verb, press, settled
from echo_actors.commands.top.columns import layout
from echo_actors.commands.top.keys import Key, Keyboard
from echo_actors.commands.top.rows import Column, Row, in_order, matching, of_engine
from echo_actors.commands.top.scene import Scene
from echo_actors.commands.top.view import frame, page
from echo_actors.engine.channels import ChannelState
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
_COLOUR = re.compile(rb"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38)[0-9;]*m")


def row(channel: str, state: str = "idle", **fields: object) -> Row:
    """A row of the table."""
    known = {"model": "sonnet", "last_event": "TurnEnded", "last_event_at": NOW - timedelta(seconds=3), **fields}
    return Row(channel=channel, name=visible(channel), state=state, **known)  # type: ignore[arg-type]


def scene(rows: Sequence[Row], width: int = 80, height: int = 24, **choices: object) -> Scene:
    """A moment without an engine's figures."""
    made = Choices(**choices)  # type: ignore[arg-type]
    return Scene(
        now=NOW, width=width, height=height, choices=made, rows=rows, total=len(rows), sight=None, trouble="gone"
    )


# -- figures


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (9_960, "10k"), (99_900, "100k"), (999_700, "1.0M"), (5.6e9, "5.6G")],
)
def test_an_amount_has_at_most_five_characters(number: float, shown: str) -> None:
    """Also where rounding makes it one longer."""
    assert figures.amount(number) == shown


def test_sizes_costs_and_ages_say_their_unit() -> None:
    """And a dash where there is nothing."""
    assert [figures.memory(size) for size in (0, 2**20, 3 * 2**30)] == ["-", "1.0M", "3.0G"]
    assert [figures.money(usd) for usd in (0, 0.00042, 12.3456, 4321)] == ["-", "0.0004", "12.35", "4321"]
    ages = [figures.age(NOW - timedelta(seconds=each), NOW) for each in (-3, 0, 59, 61, 7300, 200_000)]
    assert ages == ["0s", "0s", "59s", "1m", "2h", "2d"]
    assert figures.age(None, NOW) == "-"


# -- cells


@given(st.text(), st.integers(0, 30), st.booleans())
def test_what_is_cut_and_padded_fills_its_cells(text: str, width: int, middle: bool) -> None:
    """Whatever is in it: wide characters, combining ones, none."""
    found = cut(visible(text), width, middle=middle)
    assert width_of(found) <= width
    assert width_of(padded(found, width)) == width


def test_a_name_is_cut_in_its_middle() -> None:
    """Both ends tell channels apart."""
    assert cut("discord:1190425601345773568", 12, middle=True) == "discor…73568"
    assert cut("日本語のお客様", 8) == "日本語…"
    assert cut("日本語", 6) == "日本語"


# -- keys


def test_keys_come_out_of_what_a_terminal_sends() -> None:
    """In both forms that terminals have, and characters of more than one byte."""
    keyboard = Keyboard()
    assert keyboard.feed(b"\x1b[A\x1bOB\x1b[5~\x1b[1~\x1b[F\x1b[1;5C") == [
        *(Key.UP, Key.DOWN, Key.PAGE_UP, Key.HOME, Key.END, Key.RIGHT)
    ]
    assert keyboard.feed("qü\r\x7f\x15".encode()) == ["q", "ü", Key.ENTER, Key.BACKSPACE, Key.ERASE_LINE]
    assert keyboard.feed(b"\x1bx\x1b[99~\x1b[200~") == [Key.OTHER] * 3


def test_keys_may_come_in_pieces_and_escape_is_told_from_them_by_time() -> None:
    """A slow connection cuts sequences; a lone escape is one when nothing follows."""
    keyboard = Keyboard()
    assert [keyboard.feed(bytes([byte])) for byte in b"\x1b[6~"] == [[], [], [], [Key.PAGE_DOWN]]
    assert [keyboard.feed(bytes([byte])) for byte in "ü".encode()] == [[], ["ü"]]
    assert keyboard.feed(b"\x1b") == []
    assert (keyboard.waits, keyboard.settle()) == (True, [Key.ESCAPE])
    assert not keyboard.waits
    assert keyboard.feed(b"\x1b\x1b[A") == [Key.ESCAPE, Key.UP]


@given(st.lists(st.binary(max_size=6)))
def test_no_bytes_are_more_than_keys(chunks: list[bytes]) -> None:
    """Nothing is raised, and nothing is kept for ever."""
    keyboard = Keyboard()
    for chunk in chunks:
        assert all(len(key) == 1 or isinstance(key, Key) for key in keyboard.feed(chunk))
    keyboard.settle()
    assert not keyboard.waits


# -- rows


def test_rows_come_in_the_order_of_a_column() -> None:
    """States by what goes on, figures from the greatest on; the name decides between equals, both ways round."""
    rows = [
        row("b", cost_usd=1.0, queued=1),
        row("a", cost_usd=1.0, state="running"),
        row("c", cost_usd=2.0, state="suspended", last_event_at=None),
        row("d", state="queued", queued=9, last_event_at=NOW),
    ]
    orders = {column: "".join(each.channel for each in in_order(rows, column)) for column in Column}
    assert orders == {
        Column.CHANNEL: "abcd",
        Column.STATE: "adcb",
        Column.QUEUE: "dbac",
        Column.MODEL: "abcd",
        Column.MEMORY: "abcd",
        Column.TOKENS: "abcd",
        Column.COST: "cabd",
        Column.LAST: "dabc",
    }
    assert "".join(each.channel for each in in_order(rows, Column.COST, reverse=True)) == "dabc"


def test_all_words_of_a_filter_are_in_what_is_shown() -> None:
    """In the channel, the state or the model, whatever their case."""
    rows = [row("discord:1", model="opus"), row("slack:1", "running", model="opus"), row("discord:2", "running")]
    assert [each.channel for each in matching(rows, "OPUS running")] == ["slack:1"]
    assert [each.channel for each in matching(rows, "disc")] == ["discord:1", "discord:2"]
    assert matching(rows, "") == rows


def test_a_suspended_channel_is_shown_also_when_it_is_not_live() -> None:
    """One has to see it to resume it."""
    (found,) = of_engine((), {"away\x1b[2J": "for tests"})
    assert (found.name, found.state, found.suspended) == ("away\\x1b[2J", ChannelState.SUSPENDED, "for tests")


# -- choices


def test_the_mark_follows_its_channel_once_it_was_moved() -> None:
    """And stays at the top, whatever comes there, until then."""
    choices, _ = press(Choices(), Key.DOWN, ["a", "b", "c"], 10)
    assert (choices.index, choices.selected) == (1, "b")
    assert settled(choices, ["b", "c", "a"], 10).index == 0
    assert settled(choices, ["a", "c"], 10).selected == "c"
    assert settled(Choices(), ["c", "a", "b"], 10).selected is None
    assert settled(choices, [], 10).selected is None


@given(st.lists(st.sampled_from([*Key, *"jkgGqisryno/?<>x"])), st.integers(0, 30), st.integers(1, 12))
def test_whatever_keys_come_the_mark_is_on_the_screen(keys: list[str], count: int, size: int) -> None:
    """Within the table, and within the part of it that is shown."""
    names = [f"c{number:02}" for number in range(count)]
    choices = settled(Choices(), names, size)
    for key in keys:
        choices, order = press(choices, key, names, size)
        choices = settled(choices, names, size)
        assert choices.first <= choices.index < choices.first + size
        assert choices.index < max(1, count)
        assert order is None or order.channel in (*names, "")


def test_what_cannot_be_taken_back_is_asked_first() -> None:
    """Only y does it; the channel is the one that was marked when the key was pressed."""
    for key, verb in (("i", Verb.INTERRUPT), ("s", Verb.SUSPEND)):
        asked, order = press(Choices(), key, ["a", "b"], 10)
        assert (asked.mode, order) == (Mode.CONFIRM, None)
        assert press(asked, "y", ["b", "a"], 10)[1] == Order(verb, "a")
        for other in ("n", Key.ENTER, Key.ESCAPE, key, "q"):
            after, order = press(asked, other, ["a"], 10)
            assert (after.mode, order) == (Mode.LIST, None)
    assert press(Choices(), "r", ["a"], 10)[1] == Order(Verb.RESUME, "a")
    assert press(Choices(), "i", [], 10) == (Choices(), None)


def test_a_filter_is_typed_and_dropped() -> None:
    """Letters that are keys elsewhere are letters there."""
    choices = Choices()
    for key in ["/", "q", "i", "x", Key.BACKSPACE, Key.UP]:
        choices, order = press(choices, key, ["a"], 10)
        assert order is None
    assert (choices.mode, choices.filter) == (Mode.FILTER, "qi")
    kept, _ = press(choices, Key.ENTER, ["a"], 10)
    assert (kept.mode, kept.filter) == (Mode.LIST, "qi")
    assert press(kept, Key.ESCAPE, ["a"], 10)[0].filter == ""
    assert press(choices, Key.ESCAPE, ["a"], 10)[0].filter == ""


def test_the_sort_goes_round() -> None:
    """To the right and to the left, and the other way round."""
    choices = Choices(sort=Column.LAST)
    assert press(choices, ">", [], 1)[0].sort is Column.CHANNEL
    assert press(choices, Key.LEFT, [], 1)[0].sort is Column.COST
    assert press(choices, "o", [], 1)[0].reverse


# -- frames

NAMES = ["discord:1190425601345773568", "日本語のお客様", "🎉 party 🎉", "e\u0301\u0301 combined", "\x1b[2J\u202e", ""]


@pytest.mark.parametrize("count", [0, 3, 500])
@pytest.mark.parametrize("width", [1, 7, 20, 40, 79, 80, 100, 160, 300])
@pytest.mark.parametrize("height", [1, 2, 5, 24, 50])
def test_a_frame_fills_the_screen_and_no_more(count: int, width: int, height: int) -> None:
    """Whatever is shown, in whatever size of terminal."""
    rows = [row(f"{NAMES[place % len(NAMES)]}{place}", queued=place) for place in range(count)]
    for choices in ({}, {"mode": Mode.HELP}, {"mode": Mode.FILTER, "filter": "日本" * 40}, {"opened": "x"}):
        lines = frame(scene(rows, width, height, **choices))
        assert len(lines) == height
        assert max(width_of(line.plain) for line in lines) <= width
        assert not any("\n" in line.plain or "\x1b" in line.plain for line in lines)


@pytest.mark.parametrize(("height", "rows"), [(4, 1), (5, 2), (8, 4), (24, 20)])
def test_a_low_screen_shows_channels_before_all_of_the_header(height: int, rows: int) -> None:
    """As many as a page is said to have."""
    now = scene([row(f"c{place:03}") for place in range(30)], 80, height)
    assert sum(bool(re.search(r"c\d{3}", line.plain)) for line in frame(now)) == page(now) == rows


def test_columns_align_beneath_wide_characters() -> None:
    """Each state begins in the same cell."""
    rows = [row(name, "running") for name in NAMES]
    lines = [line.plain for line in frame(scene(rows)) if " running " in line.plain]
    assert len(lines) == len(rows)
    assert len({width_of(line[: line.index("running")]) for line in lines}) == 1


def test_of_500_channels_as_many_are_made_into_lines_as_fit() -> None:
    """From the first one on that is shown; the mark needs no colour to be seen, and neither do states."""
    rows = [row(f"c{place:03}", "running") for place in range(500)]
    now = scene(rows, first=100, index=101)
    lines = [line.plain for line in frame(now) if re.search(r"c\d{3}", line.plain)]
    assert len(lines) == page(now)
    assert lines[0].startswith("  c100 ")
    assert lines[1].startswith("> c101 ")
    assert all("running" in line for line in lines)


def test_a_narrow_terminal_keeps_the_names_and_a_wide_one_shows_all() -> None:
    """In 80 columns, a name of Discord's is whole."""
    rows = [row(NAMES[0])]
    assert set(layout(rows, 16, NOW).widths) == {Column.CHANNEL}
    assert set(layout(rows, 78, NOW).widths) == set(Column)
    assert layout(rows, 78, NOW).widths[Column.CHANNEL] >= len(NAMES[0])
    texts = [line.plain for line in frame(scene(rows, 160))]
    assert any("TurnEnded   3s" in text for text in texts)


# -- the program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def driver_that_waits() -> InstantDriver:
    """A driver whose turns go on until they are interrupted, where the message says so."""

    async def answer(request: TurnRequest) -> Answer:
        if request.content == "wait":
            await trio.sleep_forever()
        return echo(request)

    return InstantDriver(answer)


@asynccontextmanager
async def engine_of(program: Program, channels: int = 0) -> AsyncIterator[Engine]:
    """An engine on the program's state directory, in this process, with so many channels."""
    settings = attrs.evolve(plain_settings(program.root, state_dir=program.state), passivate_after=900.0)
    async with open_engine(settings, driver=driver_that_waits()) as engine:
        for place in range(channels):
            await engine.ask(f"c{place:03}", "hello")
        yield engine


@asynccontextmanager
async def top(program: Program, *arguments: str, **environ: Any) -> AsyncIterator[Running]:
    """The command on a terminal, once it has seen an engine."""
    async with program.terminal("top", "--interval", "0.1", *arguments, **environ) as running:
        await running.see("turns ")
        yield running


def terminal_settings(running: Running) -> list[object]:
    """How the terminal treats its keys."""
    assert isinstance(running.keyboard, trio.lowlevel.FdStream)
    return termios.tcgetattr(running.keyboard.fileno())


async def test_the_terminal_is_as_it_was_however_one_leaves(program: Program) -> None:
    """By key, by signal; the cursor is there again, and nothing is said."""
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)
    ways: dict[str | signal.Signals, Exit] = {
        "q": Exit.DONE,
        "\x03": Exit.INTERRUPTED,
        signal.SIGTERM: Exit.TERMINATED,
    }
    async with engine_of(program, 3):
        for way, code in ways.items():
            async with top(program) as running:
                assert terminal_settings(running) != before
                if isinstance(way, str):
                    await running.type(way)
                else:
                    running.process.send_signal(way)
                await running.see("\x1b[?25h\x1b[?1049l")
                await running.process.wait()
                assert terminal_settings(running) == before
            assert running.process.returncode == code
            assert plain(running.written).strip() == ""


async def test_it_ends_with_its_terminal(program: Program) -> None:
    """And the engine goes on."""
    async with engine_of(program, 1) as engine:
        async with top(program) as running:
            await running.hang_up()
        assert running.process.returncode == Exit.TERMINATED
        assert (await engine.ask("c000", "still there?")).text == "echo: still there?"


async def test_ctrl_z_with_nobody_to_go_back_to_is_nothing(program: Program) -> None:
    """The screen is drawn again, and keys still work."""
    async with engine_of(program, 1):
        async with top(program) as running:
            await running.type("\x1a")
            await running.see("\x1b[?1049l")
            await running.see("\x1b[?1049h")
            await running.see("turns ")
            await running.type("q")
        assert running.process.returncode == Exit.DONE


async def test_keys_steer_the_channel(program: Program) -> None:
    """Interrupt and suspend ask first; the engine does it, and the screen says so."""
    async with engine_of(program) as engine:
        receipt = await engine.post("c", "wait")
        await until(lambda: engine.status().running_turns == 1)
        async with top(program) as running:
            await running.see("running")
            await running.type("i")
            await running.see("Interrupt c?")
            await running.type("n")
            await running.see("q quit")
            await running.type("i")
            await running.see("Interrupt c?")
            assert engine.status().running_turns == 1
            await running.type("y")
            await running.see("Interrupted c")
            assert (await engine.outcome(receipt.message_id)).kind == "cancelled"
            await running.type("s")
            await running.see("Suspend c?")
            assert engine.status().suspended == {}
            await running.type("y")
            await running.see("suspended")
            assert list(engine.status().suspended) == ["c"]
            await running.type("r")
            await running.see("Resumed c")
            assert engine.status().suspended == {}
            await running.type("r")
            await running.see("Not suspended: c")
            await running.type("q")


async def test_an_open_channel_shows_its_events_as_they_come(program: Program) -> None:
    """Those that were before, too; escape goes back."""
    async with engine_of(program, 2) as engine:
        async with top(program, "--sort", "channel") as running:
            await running.type("\x1b[B\r")
            await running.see(" c001")
            await running.see("TurnEnded")
            await engine.ask("c001", "once \x1b[2J more")
            await running.see("echo: once \\x1b[2J more")
            await running.type("\x1b")
            await running.see("c000")
            await running.type("q")
        assert engine.status().events_lost == 0


async def test_a_filter_is_typed_at_the_screen(program: Program) -> None:
    """And says how many are left; the help is there too."""
    async with engine_of(program, 12), top(program) as running:
        await running.see("1-12 of 12")
        await running.type("/011\r")
        await running.see("1-1 of 1")
        await running.type("?")
        await running.see("Any key goes back")
        await running.type(" \x1b")
        await running.see("1-12 of 12")
        await running.type("q")


async def test_500_channels_fit(program: Program) -> None:
    """The screen shows a part of them, from the first to the last, and follows the terminal's size."""
    async with engine_of(program, 500), top(program, "--sort", "channel") as running:
        await running.see("1-19 of 500")
        await running.see("c018")
        await running.type("\x1b[6~")
        await running.see("2-20 of 500")
        await running.type("\x1b[F")
        await running.see("482-500 of 500")
        await running.see("c499")
        assert isinstance(running.keyboard, trio.lowlevel.FdStream)
        fcntl.ioctl(running.keyboard.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        await running.see("456-500 of 500")
        await running.see("TurnEnded")
        await running.type("q")


async def test_an_engine_may_go_and_come_back(program: Program) -> None:
    """What was seen last stays on the screen; orders say that nobody takes them."""
    close, closed = trio.Event(), trio.Event()

    async def first(task_status: trio.TaskStatus[None]) -> None:
        async with engine_of(program, 1):
            task_status.started()
            await close.wait()
        closed.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(first)
        async with top(program) as running:
            await running.see("c000")
            close.set()
            await running.see("the engine has gone; trying again")
            await running.type("r")
            await running.see("no engine is running")
            await closed.wait()
            async with engine_of(program, 2):
                await running.see("1-2 of 2")
                await running.type("q")
                await running.process.wait()
        assert running.process.returncode == Exit.DONE


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_colour_is_left_out_where_it_is_not_wanted(
    program: Program, environ: dict[str, Any], coloured: bool
) -> None:
    """The states are words either way."""
    async with engine_of(program, 1) as engine:
        await engine.post("c000", "wait")
        async with program.terminal("top", **environ) as running:
            await until(lambda: b"running" in running.written)
            await running.type("q")
            await running.process.wait()
            assert bool(_COLOUR.search(running.written)) == coloured
        await engine.interrupt("c000")


async def test_where_no_cursor_can_be_moved_the_table_is_printed_once(program: Program) -> None:
    """On a dumb terminal without a single sequence, and on any with --once."""
    async with engine_of(program, 2):
        ways: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (((), {"TERM": "dumb"}), (("--once",), {}))
        for arguments, environ in ways:
            async with program.terminal("top", *arguments, **environ) as running:
                await running.see("c001")
            assert running.process.returncode == Exit.DONE
            assert b"\x1b[?" not in running.written


async def test_a_pipe_gets_lines_and_a_script_gets_json(program: Program) -> None:
    """Sorted and filtered as on the screen, and all figures as they are."""
    async with engine_of(program, 3) as engine:
        await engine.suspend("c001", reason="for tests")
        piped = await program.run("top", "--sort", "channel", "--reverse", "--filter", "c00")
        assert [line.split("\t")[:3] for line in piped.out.splitlines()] == [
            ["channel", "state", "queue"],
            ["c002", "idle", "0"],
            ["c001", "suspended", "0"],
            ["c000", "idle", "0"],
        ]
        assert piped.err == ""
        found = orjson.loads((await program.run("top", "--json")).out)
        assert found["engine"]["run_id"] == engine.status().run_id
        assert (found["engine"]["ready"], found["engine"]["live_channels"]) == (True, 3)
        assert [(each["channel"], each["tokens"], each["suspended"]) for each in found["channels"]] == [
            ("c001", 120, "for tests"),
            ("c002", 120, ""),
            ("c000", 120, ""),
        ]


async def test_without_an_engine_it_shows_the_store_and_says_so(program: Program) -> None:
    """And where there is no store either, it fails as the commands do that need an engine."""
    nothing = await program.run("top")
    assert (nothing.code, nothing.out) == (Exit.NOT_RUNNING, "")
    assert "no engine is running" in nothing.err
    async with engine_of(program, 2):
        pass
    stored = await program.run("top", "--json")
    assert "this is from its store" in stored.err
    found = orjson.loads(stored.out)
    assert found["engine"] is None
    assert {(each["channel"], each["state"], each["tokens"]) for each in found["channels"]} == {
        ("c000", "stored", 120),
        ("c001", "stored", 120),
    }
    async with program.terminal("top") as running:
        await running.see("stored")
    assert running.process.returncode == Exit.DONE
