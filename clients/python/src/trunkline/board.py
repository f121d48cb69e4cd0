"""Calls and load on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from trunkline.overview import CallLine, DeviceLine, Overview, ShardLine
from trunkline.screen import COLOURS

BARS: Final = " ▁▂▃▄▅▆▇█"
UNKNOWN: Final = "-"
LATE_S: Final = 3.0
"""Top of the scale of latencies: what is promised under load."""
LEAST_CALLS: Final = 3
HAPPENINGS: Final = 4


def board(seen: Overview, *, now: float, width: int, height: int) -> RenderableType:
    """Draw everything.

    Args:
        seen: What is known.
        now: Unix seconds.
        width: Columns there are.
        height: Lines there are; calls that do not fit are counted.
    """
    parts: list[RenderableType] = [_summary(seen), *_lines(seen, width), _devices(seen)]
    used = 6 + len(seen.devices) + 2 * max(len(seen.shards), 1)
    if seen.happened:
        parts.append(_happened(seen))
        used += min(len(seen.happened), HAPPENINGS)
    parts += [Rule(style="dim"), _calls(seen, now, max(height - used, LEAST_CALLS))]
    return Group(*parts)


def spark(values: Iterable[float | None], top: float, width: int) -> str:
    """Draw values as a line of bars, the newest at the right; a blank for what is not known."""
    shown = list(values)[-width:]
    bars = [" " if value is None else BARS[1 + min(int(value / top * 8), 7)] for value in shown]
    return "".join(bars).rjust(width)


def _summary(seen: Overview) -> Text:
    text = Text.assemble(("trunkline", "bold"), f"  {seen.all_calls} calls", "   finals ")
    slow = seen.final_p95_s is not None and seen.final_p95_s > LATE_S
    text.append(f"{_seconds(seen.final_p50_s)} median, ")
    text.append(f"{_seconds(seen.final_p95_s)} at 95 %", style="bold red" if slow else "bold")
    return text


def _lines(seen: Overview, width: int) -> list[Text]:
    room = max(width - 20, 10)
    return [
        Text.assemble(("finals, 95 %  ", "dim"), (spark(seen.late, LATE_S, room), "cyan")),
        Text.assemble(("busiest       ", "dim"), (spark(seen.busy, 1.0, room), "yellow")),
    ]


def _devices(seen: Overview) -> RenderableType:
    if not seen.shards:
        return Text("no shard is known yet", style="dim")
    parts: list[RenderableType] = []
    for shard in seen.shards:
        parts.append(_shard(shard))
        devices = [device for device in seen.devices if device.shard == shard.name]
        if devices:
            parts.append(_table(devices))
    return Group(*parts)


def _shard(shard: ShardLine) -> Text:
    about = [f"{shard.calls} calls in {shard.slots} slots"]
    if shard.load is not None:
        about.append(f"{_percent(shard.load)} loaded")
    if shard.rung:
        about.append(shard.rung)
    if shard.cadence_s is not None:
        about.append(f"interim every {shard.cadence_s:g} s")
    return Text.assemble((shard.name, "bold"), "  ", ", ".join(about))


def _table(devices: Sequence[DeviceLine]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("  device", "state"):
        table.add_column(name)
    for name in ("used", "waiting", "queue, 95 %", "batch", "windows/s", "restarts"):
        table.add_column(name, justify="right")
    for device in devices:
        _add_device(table, device)
    return table


def _add_device(table: Table, device: DeviceLine) -> None:
    table.add_row(
        f"  {device.name}",
        Text(device.state, style="green" if device.state == "ready" else "red"),
        _percent(device.utilisation),
        str(device.waiting),
        _seconds(device.queue_p95_s),
        UNKNOWN if device.batch is None else f"{device.batch:.1f}",
        f"{device.windows:.1f}",
        str(device.restarts),
    )


def _happened(seen: Overview) -> Text:
    lines = [
        Text.assemble((f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S} ", "dim"), f"{where}: {what}")
        for at, where, what in list(seen.happened)[-HAPPENINGS:]
    ]
    return Text("\n").join(lines)


def _calls(seen: Overview, now: float, lines: int) -> RenderableType:
    if not seen.calls:
        return Text("no call of yours is in progress", style="dim")
    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(no_wrap=True, max_width=24, overflow="ellipsis")
    table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, ratio=1)
    newest = list(reversed(seen.calls.values()))
    shown, used = 0, 0
    for call in newest:
        used += len(call.sides)
        if used > lines and shown:
            break
        shown += 1
        _add_call(table, call, now)
    left = len(newest) - shown
    return Group(table, Text(f"and {left} more", style="dim")) if left else table


def _add_call(table: Table, call: CallLine, now: float) -> None:
    age = max(0, int(now - call.opened_at))
    for number, side in enumerate(call.sides):
        first = number == 0
        table.add_row(
            Text(call.call if first else "", style="dim"),
            Text(f"{age // 60}:{age % 60:02d}" if first else "", style="dim"),
            Text(side.label, style=f"bold {COLOURS[number % len(COLOURS)]}"),
            _newest((side.fixed, side.open)),
        )


def _newest(said: Sequence[str]) -> Text:
    """Return the end of what is said: the newest words are those that matter."""
    fixed, interim = said
    return Text.assemble(fixed, " " if fixed and interim else "", (interim, "italic grey50"))


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0%}"
