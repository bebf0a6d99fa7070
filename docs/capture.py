"""Pictures of the commands that operators look at, as a terminal shows them.

    python docs/capture.py [NAME...]

It starts engines that need no account, runs the commands in tmux at two sizes, with and without colour, and piped, and
writes what is on the screen to ``docs/captures/*.txt``, and a picture of ``top`` to ``docs/top.svg``. With names, only
captures in whose name one of them is are made, and the picture with the name ``picture``.
"""

from __future__ import annotations

import io
import os
import random
import re
import shlex
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from echo_actors import Author, Engine, Settings, open_engine
from echo_actors.claude.driver import Processes, ProcessStatus, TurnRequest, TurnResult
from echo_actors.models import Spent, Usage
from echo_actors.testing.instant_driver import InstantDriver, echo

DOCS: Final = Path(__file__).parent
SIZES: Final = ((80, 24), (160, 50))
_PICTURE: Final = (108, 30)
"""The terminal of the picture; as wide as the table."""

COUNTS: Final = (0, 3, 500)

_MODELS: Final = ("sonnet", "sonnet", "sonnet", "opus", "haiku")
_TEXTS: Final = (
    "Which of these three plans is the cheapest?",
    "Summarise the incident of last night.",
    "Why does the export fail with a timeout?",
    "Please translate this for our customers in Kyoto.",
)
_FEW: Final = ("discord:1190425601345773568", "slack:T024BE7LD/C061EG9SL", "telegram:-1001482937465")
_LATER: Final = ("support:日本語のお客様", "discord:🎉 release party 🎉", "web:a name that\nis\ttwo lines")
"""Names of strangers, among many."""

_THEME: Final = TerminalTheme(
    (22, 24, 29),
    (222, 222, 222),
    [
        (40, 42, 48),
        (240, 90, 90),
        (110, 200, 120),
        (230, 190, 90),
        (100, 150, 240),
        (200, 130, 220),
        (90, 200, 210),
        (222, 222, 222),
    ],
)

_SVG: Final = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -10 WIDTH HEIGHT" role="img" \
aria-label="echo-actors top in a terminal">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
{lines}
</defs>
<rect fill="#16181d" x="-12" y="-10" width="WIDTH" height="HEIGHT" rx="8"/>
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</svg>
"""
_CELL: Final = (12.2, 24.4)
"""Width and height of a character in there."""
"""Rich's own form asks another server for a font."""


@attrs.define(eq=False)
class PretendingDriver(InstantDriver):
    """Answers at once, but for those that are asked to take their time; says that there are processes."""

    pids: dict[str, int] = attrs.Factory(dict)

    def process(self, channel: str) -> ProcessStatus | None:
        """One for every channel that had a turn."""
        pid = self.pids.get(channel)
        return None if pid is None else ProcessStatus(pid, 150_000_000 + pid % 97 * 2_100_000)

    def processes(self) -> Processes:
        """All of them."""
        known = [self.process(channel) for channel in self.pids]
        return Processes(residents=len(known), spares=2, memory=sum(each.memory for each in known if each))


@attrs.define(eq=False)
class Script:
    """What the turns of the engine take; the same in every run."""

    chance: random.Random = attrs.Factory(lambda: random.Random(6))  # noqa: S311 - a picture, no secret
    driver: PretendingDriver = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the driver."""
        self.driver = PretendingDriver(self._answer, requests=[])

    async def _answer(self, request: TurnRequest) -> TurnResult:
        self.driver.pids.setdefault(request.channel, 20_000 + len(self.driver.pids) * 7)
        if "slowly" in request.content:
            await trio.sleep_forever()
        tokens = int(self.chance.lognormvariate(7, 1.2))
        usage = Usage(tokens, tokens // 6 + 1, tokens * 5, tokens // 2)
        cost = 3e-6 * tokens + 15e-6 * (tokens // 6)
        spent = Spent(usage=usage, cost_usd=cost, duration_ms=1800, context_tokens=tokens * 6)
        return attrs.evolve(echo(request, "The second one; it has no fee in the first year."), spent=spent)


def names_of(count: int) -> list[str]:
    """So many channels."""
    chance = random.Random(6)  # noqa: S311 - as above
    made = [f"{chance.choice(('discord', 'slack', 'web'))}:{chance.randrange(10**17, 10**18)}" for _ in range(count)]
    return [*_FEW, *(_LATER if count > len(_FEW) else ()), *made][:count]


@asynccontextmanager
async def busy_engine(state: Path, count: int) -> AsyncIterator[Engine]:
    """An engine with so many channels, of which some run, some wait, and some are suspended."""
    script = Script()
    settings = Settings(
        state_dir=state, turn_slots=8, passivate_after=3600.0, overall_daily_budget_usd=50.0, drain_timeout=0.1
    )
    async with open_engine(settings, driver=script.driver) as engine:
        channels = names_of(count)
        for place, channel in enumerate(channels):
            if (model := _MODELS[place % len(_MODELS)]) != "sonnet":
                await engine.set_model(channel, model)
            for turn in range(1 + place % 3):
                await engine.ask(channel, _TEXTS[(place + turn) % len(_TEXTS)], author=Author("ana"))
        for channel in channels[1::60]:
            await engine.suspend(channel, reason="asked for by support")
        for place, channel in enumerate(channels[:: max(3, count // 12)]):
            for turn in range(1 + place % 4):
                await engine.post(channel, f"slowly: {_TEXTS[turn]}", author=Author("bo"))
        await trio.sleep(1.2)
        yield engine


@attrs.frozen
class Shot:
    """One capture.

    Attributes:
        sees: What is on the screen when the command has come to rest.
        keys: Pressed then.
    """

    name: str
    arguments: tuple[str, ...]
    sees: str
    keys: tuple[str, ...] = ()


async def screen_of(shot: Shot, env: dict[str, str], size: tuple[int, int]) -> str:
    """What is on a terminal's screen in the end, with its colours."""
    # A tmux server for each: nobody else's is touched, and none that is still ending is asked.
    server = ["tmux", "-L", f"capture-{uuid.uuid4().hex}", "-f", "/dev/null"]

    async def tmux(*arguments: str) -> str:
        done = await trio.run_process([*server, *arguments], capture_stdout=True, env=env)
        return done.stdout.decode()

    width, height = map(str, size)
    line = f"{shlex.join([sys.executable, '-m', 'echo_actors', *shot.arguments])}; sleep 60"
    await tmux("new-session", "-d", "-x", width, "-y", height, line)
    try:
        await tmux("set-option", "status", "off")
        with trio.move_on_after(15):
            while not re.search(shot.sees, await tmux("capture-pane", "-p")):  # noqa: ASYNC110 - it tells nobody
                await trio.sleep(0.2)
        for key in ("", *shot.keys):
            await tmux("send-keys", key)
            await trio.sleep(0.5)
        return await tmux("capture-pane", "-p", "-e", "-N")
    finally:
        await tmux("kill-server")


_SHOTS: Final = (
    Shot("top", ("top",), "turns"),
    Shot("top-open", ("top",), "turns", keys=("Enter",)),
    Shot("top-filter", ("top", "--sort", "cost"), "turns", keys=("/", "o", "p", "u", "s")),
    Shot("top-confirm", ("top",), "turns", keys=("i",)),
    Shot("top-help", ("top",), "turns", keys=("?",)),
    Shot("watch", ("watch", "--since", "0"), "Accepted|Lagged"),
    Shot("audit", ("audit", "--limit", "40"), "message.accepted|engine.opened"),
    Shot("stats", ("stats",), r"\w"),
)
_ONLY_LARGE: Final = ("top-filter", "top-confirm", "top-help")
_PIPED: Final = (("top",), ("watch", "--since", "0"), ("audit", "--limit", "40"), ("stats",))


async def capture(wanted: Sequence[str]) -> None:
    """Make the captures."""
    captures = DOCS / "captures"
    captures.mkdir(exist_ok=True)
    known = await _commands()
    for count in COUNTS if wanted != ["picture"] else [max(COUNTS)]:
        with tempfile.TemporaryDirectory(prefix="capture-") as name:
            state = Path(name, "state")
            async with busy_engine(state, count) as engine:
                env = _environment(state)
                for shot, size, coloured in _plan(count, known):
                    title = f"{shot.name}-{count}-{size[0]}x{size[1]}{'' if coloured else '-plain'}"
                    if wanted and not any(each in title for each in wanted):
                        continue
                    screen = await screen_of(shot, env if coloured else {**env, "NO_COLOR": "1"}, size)
                    (captures / f"{title}.txt").write_text(_plain(screen))
                if count == max(COUNTS) and (not wanted or "picture" in wanted):
                    (DOCS / "top.svg").write_text(_picture(await screen_of(_SHOTS[0], env, _PICTURE)))
                for arguments in _PIPED:
                    title = f"{arguments[0]}-{count}-piped"
                    if arguments[0] in known and (not wanted or any(each in title for each in wanted)):
                        (captures / f"{title}.txt").write_text(await _piped(arguments, env))
                await _settle(engine)


def _plan(count: int, known: set[str]) -> Iterator[tuple[Shot, tuple[int, int], bool]]:
    """What to capture of an engine with so many channels."""
    for shot in _SHOTS:
        if shot.arguments[0] not in known or (shot.name in _ONLY_LARGE and count != max(COUNTS)):
            continue
        for size in SIZES:
            yield shot, size, True
            if shot.name == shot.arguments[0]:
                yield shot, size, False


async def _commands() -> set[str]:
    """The commands that there are."""
    done = await trio.run_process([sys.executable, "-m", "echo_actors", "--help"], capture_stdout=True)
    return {
        name
        for name in ("top", "watch", "audit", "stats")
        if re.search(rf"^. {name} ", done.stdout.decode(), re.MULTILINE)
    }


async def _piped(arguments: Sequence[str], env: dict[str, str]) -> str:
    """The first lines that a program gets that reads the command, within a few seconds."""
    line = shlex.join(["timeout", "4", sys.executable, "-m", "echo_actors", *arguments])
    done = await trio.run_process(["sh", "-c", f"{line} | head -40"], capture_stdout=True, env=env)
    return done.stdout.decode()


async def _settle(engine: Engine) -> None:
    for channel in engine.channels(limit=None):
        await engine.suspend(channel.channel)
        await engine.interrupt(channel.channel)


def _environment(state: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "TERM": "xterm-256color", "ECHO_ACTORS_STATE_DIR": str(state)}


def _plain(screen: str) -> str:
    """The characters alone."""
    return "\n".join(Text.from_ansi(line).plain.rstrip() for line in screen.splitlines()) + "\n"


def _picture(screen: str) -> str:
    """The screen as an SVG."""
    width, height = _PICTURE
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor", highlight=False
    )
    # All lines at once: what is on at the end of one is on in the next.
    console.print(Text.from_ansi(screen), no_wrap=True, crop=True)
    form = _SVG.replace("WIDTH", f"{width * _CELL[0] + 24:.0f}").replace("HEIGHT", f"{height * _CELL[1] + 24:.0f}")
    return console.export_svg(theme=_THEME, code_format=form, unique_id="top")


if __name__ == "__main__":
    if shutil.which("tmux") is None:
        sys.exit("tmux is needed")
    trio.run(capture, sys.argv[1:])
