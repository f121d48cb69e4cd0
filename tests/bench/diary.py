"""What a drill was seen to do: who was played, what came back and when, what its processes said of themselves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from tests.bench.playing import Heard, play
from tests.bench.scoring import Value, percentiles
from tests.bench.script import Script
from trunkline import Final as FinalEvent
from trunkline.messages import Event
from trunkline.timing import CallTiming, SendLog

STRETCH_S: Final = 15
"""Length of the stretches of time that reports have a row for."""
LATE_S: Final = 3.0
"""What no final may take from the end of speech."""
ANSWERED_S: Final = 2.0
"""Within which a call that cannot come in must be told."""
WATCHED: Final = {
    "calls": "trunkline_calls ",
    "rung": "trunkline_rung ",
    "room": "trunkline_room_calls ",
    "used": "trunkline_utilization_ratio ",
    "p95": "trunkline_recent_final_p95_seconds ",
    "wait": "trunkline_expected_wait_seconds ",
    "devices": "trunkline_device_ready{",
    "moved": 'trunkline_moves_total{reason="moved"}',
    "drained": 'trunkline_moves_total{reason="drained"}',
}
"""Names of ours, and how the lines of the metrics begin that are summed up for them."""
OF_GATEWAYS: Final = frozenset({"calls"})
"""What is theirs to say; the rest is of shards."""
OF_SHARDS: Final = WATCHED.keys() - OF_GATEWAYS
PAGE_S: Final = 0.9
"""Seconds that a page of metrics is waited for."""


@dataclass(frozen=True, slots=True)
class Page:
    """The metrics of a process."""

    process: str
    """Its name."""
    url: str
    watched: Collection[str] = frozenset(WATCHED)
    """Names of ``WATCHED`` that are its own to say."""


@dataclass(frozen=True, slots=True)
class Said:
    """A final as its caller got it."""

    at: float
    """Seconds from the beginning of the drill."""
    latency_s: float
    """From sending the last of the speech to its arrival, by the caller's clock."""
    final: FinalEvent


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that could not come in."""

    at: float
    """Seconds from the beginning of the drill."""
    took_s: float
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Played:
    """A call that came in, and what it came to."""

    script: Script
    heard: Heard
    unfinished: int
    """Things that were said and that no final covers."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was done, or that came of it."""

    name: str
    begin_s: float
    end_s: float


Look = tuple[float, str, dict[str, float]]
"""When, which process, and what it said of itself."""


@dataclass(slots=True)
class Diary:
    """What a drill came to."""

    began_at: float = field(default_factory=time.monotonic)
    finals: list[Said] = field(default_factory=list[Said])
    calls: list[Played] = field(default_factory=list[Played])
    refused: list[Refusal] = field(default_factory=list[Refusal])
    failed: Counter[str] = field(default_factory=Counter[str])
    seconds: list[tuple[float, str, dict[str, float]]] = field(
        default_factory=list[tuple[float, str, dict[str, float]]]
    )
    happenings: list[Happening] = field(default_factory=list[Happening])

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began_at

    async def until(self, at_s: float) -> None:
        """Wait for a moment of the drill."""
        await asyncio.sleep(max(0.0, at_s - self.now))

    def of(self, name: str, process: str = "") -> list[tuple[float, float]]:
        """Return what a process, or all of them, said under a name of ``WATCHED``, with when."""
        return [(at, said[name]) for at, who, said in self.seconds if name in said and process in ("", who)]

    def processes(self, name: str) -> list[str]:
        """Return the processes that say something under a name, in the order they came."""
        return list(dict.fromkeys(who for _, who, said in self.seconds if name in said))

    def last_rungs(self) -> list[float]:
        """Return the rung that each process that is still there stands on at the end."""
        end = max((at for at, _, _ in self.seconds), default=0.0)
        newest = {who: (at, said["rung"]) for at, who, said in self.seconds if "rung" in said}
        return [rung for at, rung in newest.values() if end - at < 3.0]


class Witness(CallTiming):
    """Notes every final of a call, when it came and how long after its speech."""

    def __init__(self, diary: Diary, script: Script) -> None:
        super().__init__(script.turns)
        self._diary = diary
        self._sent = SendLog()

    def sent(self, until_s: float, now: float) -> None:
        """Note that audio was sent."""
        super().sent(until_s, now)
        self._sent.sent(until_s, now)

    def heard(self, event: Event, now: float) -> None:
        """Note a final."""
        super().heard(event, now)
        if isinstance(event, FinalEvent):
            sent_at = self._sent.ending(event.speech_end)
            latency_s = event.latency_s if sent_at is None else now - sent_at
            self._diary.finals.append(Said(now - self._diary.began_at, latency_s, event))


async def call(url: str, script: Script, diary: Diary, at_s: float) -> None:
    """Play a call at a moment of the drill, and note what came of it."""
    await diary.until(at_s)
    asked_at = time.monotonic()
    witness = Witness(diary, script)
    heard = await play(url, script.recording, [witness])
    if heard.failure == "overloaded":
        diary.refused.append(Refusal(diary.now, time.monotonic() - asked_at, heard.retry_after_s))
    elif heard.failure:
        diary.failed[heard.failure] += 1
    else:
        diary.calls.append(Played(script, heard, witness.latencies().unfinished))


async def watch(diary: Diary, pages: Callable[[], Sequence[Page]]) -> None:
    """Read the metrics of all processes once a second until cancelled.

    Args:
        diary: Where they are noted.
        pages: Returns those there are; what cannot be had is left out.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=PAGE_S) as client:
        while True:
            began = time.monotonic()
            await asyncio.gather(*(_look(client, diary, page) for page in pages()))
            await asyncio.sleep(max(0.0, began + 1.0 - time.monotonic()))


async def _look(client: httpx.AsyncClient, diary: Diary, page: Page) -> None:
    try:
        lines = (await client.get(page.url)).text.splitlines()
    except httpx.TransportError:
        return  # it is not there yet, or not any more
    said = {
        name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(WATCHED[name]))
        for name in page.watched
    }
    diary.seconds.append((diary.now, page.process, said))


# --- what was to be shown -------------------------------------------------------------------------------------------


def out_of_order(diary: Diary) -> int:
    """Count calls with a final whose number is not the next one: one is missing, or came twice."""
    return sum(
        [final.number for final in played.heard.finals] != list(range(len(played.heard.finals)))
        for played in diary.calls
    )


def stretches(diary: Diary) -> dict[int, list[float]]:
    """Return latencies of finals by the stretch they came in."""
    found: dict[int, list[float]] = {}
    for said in diary.finals:
        found.setdefault(int(said.at) // STRETCH_S * STRETCH_S, []).append(said.latency_s)
    return found


def promises(diary: Diary) -> dict[str, bool]:
    """Return what must hold of any drill, and whether it did. Calls have one side."""
    rungs = [rung for _, rung in diary.of("rung")]
    return {
        "no call failed": not diary.failed,
        "no final is missing, none came twice": out_of_order(diary) == 0
        and all(not played.heard.lost for played in diary.calls),
        "everything said is in a final": all(played.unfinished == 0 for played in diary.calls),
        "every final names its model": all(said.final.model for said in diary.finals),
        f"every final came within {LATE_S:g} s": all(said.latency_s < LATE_S for said in diary.finals),
        f"some were refused, all with Retry-After and within {ANSWERED_S:g} s": bool(diary.refused)
        and all(each.took_s < ANSWERED_S and each.retry_after_s is not None for each in diary.refused),
        "the rung went down and came back": max(rungs, default=0) > 0 and max(diary.last_rungs(), default=1) == 0,
    }


def summary_of(diary: Diary, calls: int) -> dict[str, Value]:
    """Return what came of it, in numbers."""
    latencies = [said.latency_s for said in diary.finals]
    spread = percentiles(latencies)
    hints = [each.retry_after_s for each in diary.refused if each.retry_after_s is not None]
    return {
        "calls at first": calls,
        "calls taken": len(diary.calls),
        "refused with 503": len(diary.refused),
        "slowest refusal s": round(max((each.took_s for each in diary.refused), default=0.0), 3),
        "Retry-After s": f"{min(hints):g} to {max(hints):g}" if hints else None,
        "calls that failed": str(dict(diary.failed)) if diary.failed else 0,
        "finals": len(latencies),
        "final p50 / p95 / worst s": f"{spread.p50:.2f} / {spread.p95:.2f} / {max(latencies, default=0.0):.2f}",
        "finals over 3 s": sum(latency_s > LATE_S for latency_s in latencies),
        "calls with a final missing or twice": out_of_order(diary),
        "told that something is missing": sum(played.heard.lost for played in diary.calls),
        "things said that no final covers": sum(played.unfinished for played in diary.calls),
        "finals without a model": sum(not said.final.model for said in diary.finals),
        "models": str(dict(Counter(said.final.model for said in diary.finals))),
        "lowest rung": round(max((rung for _, rung in diary.of("rung")), default=0.0)),
        "rungs at the end": str([round(rung) for rung in diary.last_rungs()]),
    }


def rows_of(diary: Diary, columns: Mapping[str, str]) -> list[dict[str, Value]]:
    """Return what happened, stretch by stretch.

    Args:
        diary: Of the drill.
        columns: More columns: the most that any process said under a name of ``WATCHED``, by the column's name.
    """
    late = stretches(diary)
    rows: list[dict[str, Value]] = []
    for begin in range(0, int(max((at for at, _, _ in diary.seconds), default=0.0)), STRETCH_S):
        end, finals = begin + STRETCH_S, late.get(begin, [])
        row: dict[str, Value] = {"from_s": begin}
        row |= {column: _most(diary.of(name), begin, end) for column, name in columns.items()}
        row["finals"] = len(finals)
        row["p95_s"] = round(percentiles(finals).p95, 2) if finals else None
        row["worst_s"] = round(max(finals), 2) if finals else None
        row["refused"] = sum(begin <= each.at < end for each in diary.refused)
        rows.append(row)
    return rows


def _most(said: Sequence[tuple[float, float]], begin: float, end: float) -> Value:
    values = [value for at, value in said if begin <= at < end]
    return round(max(values)) if values else None
