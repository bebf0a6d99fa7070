"""What is above the table: the engine itself, and whatever is wrong with it."""

from __future__ import annotations

from rich.text import Text

from echo_actors.commands.cells import cut, width_of, within
from echo_actors.commands.terminal import visible
from echo_actors.commands.top import figures
from echo_actors.commands.top.scene import Scene
from echo_actors.commands.top.sight import Sight

_BETWEEN = "  "
_MOST_TROUBLES = 3
"""Lines for what is wrong; the table shall not be lost behind them."""


def header(scene: Scene, place: str = "") -> list[Text]:
    """The lines; the place in the table goes where there is room for it."""
    sight, width = scene.sight, scene.width
    clock = f"{scene.now:%H:%M:%S}Z"
    if sight is None:
        return [_spread(Text("echo-actors top", "bold"), clock, width), *_wrong(scene)]
    turns, processes = _figures(sight)
    lines = [_spread(_engine(sight, scene), clock, width), _spread(turns, place, width), within(processes, width)]
    return [*lines, *_wrong(scene)]


def troubles(sight: Sight) -> list[str]:
    """What is wrong with the engine, the worst first, each once."""
    status, health = sight.status, sight.health
    found = [
        *health.live.reasons,
        *health.ready.reasons,
        f"turns may fail: {status.gate}" if status.gate and not status.gate_closed_for else "",
        f"audit log: {status.audit_problem}" if status.audit_problem else "",
        f"{status.audit_lost} audit records are lost" if status.audit_lost else "",
        f"{status.audit_unsynced} ends of turns were announced before they were on the disk"
        if status.audit_unsynced
        else "",
        f"the store has failed {status.store_errors} times" if status.store_errors else "",
        f"actors have crashed {status.actor_restarts} times" if status.actor_restarts else "",
    ]
    if any(status.audit_problem and status.audit_problem in reason for reason in health.ready.reasons):
        found = [each for each in found if each != f"audit log: {status.audit_problem}"]
    return [visible(" ".join(each.split())) for each in dict.fromkeys(found) if each]


def _engine(sight: Sight, scene: Scene) -> Text:
    text = Text("echo-actors", "bold")
    up = f"{_BETWEEN}up {figures.lasting((scene.now - sight.began).total_seconds())}" if sight.began else ""
    text.append(f" {sight.hello.version}{_BETWEEN}process {sight.hello.pid}{_BETWEEN}run {sight.hello.run_id[:8]}{up}")
    text.append(_BETWEEN)
    if scene.trouble:
        return text.append("GONE", "bold red")
    ready = bool(sight.health.live) and bool(sight.health.ready)
    return text.append("ready" if ready else "NOT READY", "green" if ready else "bold red")


def _figures(sight: Sight) -> tuple[Text, Text]:
    status, spending = sight.status, sight.spending
    turns = Text(f"turns {status.running_turns} of {status.turn_slots}", "bold")
    turns.append(
        f"{_BETWEEN}waiting {status.waiting_for_slot}{_BETWEEN}queued {status.queued_messages}"
        f"{_BETWEEN}channels {status.live_channels}",
        "not bold",
    )
    if status.suspended:
        turns.append(f"{_BETWEEN}suspended {len(status.suspended)}", "not bold red")
    processes = f"processes {status.residents}"
    for number, name in ((status.spares, "spare"), (status.starting, "starting"), (status.ending, "ending")):
        processes += f" + {number} {name}" if number else ""
    processes += f"{_BETWEEN}memory {figures.memory(status.resident_memory)}"
    limits = {each.period.value: each.limit_usd for each in spending.budgets}
    costs = (("today", spending.today_usd, "day"), ("month", spending.month_usd, "month"))
    for name, spent, period in costs:
        limit = f" of {limits[period]:g}" if period in limits else ""
        processes += f"{_BETWEEN}{name} {spent:.2f}{limit} USD"
    return turns, Text(processes)


def _wrong(scene: Scene) -> list[Text]:
    found = [f"{scene.trouble}; trying again"] if scene.trouble else []
    found += troubles(scene.sight) if scene.sight is not None and not scene.trouble else []
    if len(found) > _MOST_TROUBLES:
        found = [*found[: _MOST_TROUBLES - 1], f"and {len(found) - _MOST_TROUBLES + 1} more"]
    return [Text(cut(f"! {each}", scene.width), "bold red") for each in found]


def _spread(left: Text, right: str, width: int) -> Text:
    room = width - width_of(left.plain) - len(right)
    return left.append(" " * room + right, "default not bold") if room > 0 else within(left, width)
