"""Signs of life of a CLI that says nothing."""

from __future__ import annotations

import os

import pytest
import trio
from conftest import Host

from echo_actors import Clock, TurnTimedOut
from echo_actors.claude.process_table import ProcTable
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.vitals import OWN_SHARE, Vitals, _lives, _Sample


@pytest.mark.parametrize(
    ("own", "tools", "alive"),
    [
        (0.0, 0.0, False),
        (OWN_SHARE * 2 - 0.1, 0.0, False),
        (OWN_SHARE * 2 + 0.1, 0.0, True),
        (0.0, 0.01, True),
        (0.0, -1.0, True),
    ],
)
def test_a_tools_time_counts_and_the_clis_own_only_above_a_share(own: float, tools: float, *, alive: bool) -> None:
    """A silent CLI burns a little itself; a tool that ended takes its time with it, which is a sign too."""
    before = _Sample(0.0, 5.0, 1.0)
    assert _lives(before, _Sample(2.0, 5.0 + own, 1.0 + tools)) is alive


def test_the_first_look_says_nothing() -> None:
    """There is nothing to compare it with."""
    assert not _lives(None, _Sample(2.0, 5.0, 1.0))


async def test_a_process_that_is_gone_is_no_sign_and_no_error() -> None:
    """It may end between two looks."""
    heard: list[str] = []
    vitals = Vitals(lambda: [(Identity(2**22 - 1, 1.0), lambda: heard.append("life"))])
    with trio.move_on_after(0.2):
        await vitals.watch(0.05)
    assert heard == []


async def test_one_reading_of_the_process_table_serves_all_running_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are; and none is made while no turn runs."""
    scans: list[int] = []
    pids = ProcTable.pids

    def counted(self: ProcTable) -> list[int]:
        scans.append(1)
        return pids(self)

    me = Identity.of(os.getpid())
    assert me is not None
    watched = [(me, lambda: None)] * 20
    monkeypatch.setattr(ProcTable, "pids", counted)
    await Vitals(lambda: watched).look()
    assert len(scans) == 1
    await Vitals(list).look()
    assert len(scans) == 1


@pytest.mark.real_cli
async def test_a_tool_that_computes_in_silence_is_not_idle_and_one_that_sleeps_is(host: Host) -> None:
    """Both say nothing for longer than the idle clock."""
    async with host.engine(allowed_tools=("Bash",), idle_timeout=1.5) as engine:
        busy = "echo started; timeout 4 sh -c 'while :; do :; done'; echo computed"
        reply = await engine.ask("c", f'[[tool Bash {{"command": "{busy}"}}]]')
        assert "computed" in reply.text
        with pytest.raises(TurnTimedOut) as caught:
            await engine.ask("c", '[[tool Bash {"command": "echo started; sleep 4; echo slept"}]]')
        assert caught.value.clock is Clock.IDLE
