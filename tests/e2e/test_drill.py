"""The drill in short, with an engine that has a price but no model: what ``make drill`` shows must not get lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from gpu.cost import Cost
from gpu.profile import Profile, write_profile
from tests.bench.diary import Diary, promises
from tests.bench.drill_devices import Crowd, DevicesPlan, Load, hurt_devices
from tests.bench.script import Script
from tests.support.servers import ServerProcess, serving
from tests.support.tones import GAP_S, PAUSE_S, RATE, WORD_S, sentences, spoken
from trunkline import Audio
from trunkline.audio import Recording
from trunkline.timing import Turn

pytestmark = pytest.mark.e2e

WORDS: Final = 5
SENTENCE_S: Final = WORDS * (WORD_S + GAP_S) + PAUSE_S
COSTS: Final = (Cost("large", "150+0", 0.08, 0.24), Cost("small", "150+0", 0.02, 0.02))
"""Three calls keep two devices busy a third of the time, fifteen more than all of it, unless with the small model."""
PLAIN: Final = "beam = 1, lead_s = 0, speculate = false"
"""Every window is as long as the others, as their price is: between these words is silence enough for any guess."""
SERVER: Final = {
    "devices.names": '["cpu", "cpu"]',
    "devices.engine": "scripted",
    "devices.streams": "1",
    "devices.max_batch": "4",
    "devices.options": '{"large.fixed_s" = 0.08, "large.each_s" = 0.24, "small.fixed_s" = 0.02, "small.each_s" = 0.02}',
    "ladder.rungs": f'[{{final = "large", {PLAIN}}}, {{final = "small", {PLAIN}, cadence_s = 2.0}}]',
}
PLAN: Final = DevicesPlan(
    Load(calls=3, crowd=Crowd(from_s=23, to_s=31, every_s=0.4, last_s=10), ends_s=84), slowed_s=(36, 41), killed_s=42
)
"""The crowd comes once the first calls are known: before, so few newcomers are taken that no rung has to be left. And
one thing comes right after the other: a rung that was climbed to and left again is not tried for a while."""


def talk(number: int, seconds: float) -> Script:
    """Make a call whose words are known."""
    said = sentences(int(seconds / SENTENCE_S), seed=number, words=WORDS)
    begins = [PAUSE_S + order * SENTENCE_S for order in range(len(said))]
    turns = [
        Turn(0, begin, begin + WORDS * (WORD_S + GAP_S) - GAP_S, " ".join(words))
        for begin, words in zip(begins, said, strict=True)
    ]
    return Script(Recording(Audio("mulaw", RATE), spoken(said)), tuple(turns), ())


def wrong_words(diary: Diary) -> int:
    """Count calls of which not just every word came, each once and in its place."""
    return sum(
        played.heard.text(0).split() != [word for turn in played.script.turns for word in turn.text.split()]
        for played in diary.calls
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that knows what its devices cost."""
    measured = Profile(
        measured="", device="cpu", machine="", engine="scripted", compute_type="", streams=1, max_batch=4, costs=COSTS
    )
    write_profile(tmp_path / "costs.json", measured)
    flags = [f"--set={name}={value}" for name, value in SERVER.items()]
    flags.append(f"--set=devices.profile={tmp_path / 'costs.json'}")
    with serving(*flags, log=tmp_path / "log") as server:
        yield server


@pytest.mark.timeout(300)
async def test_devices_slowed_and_killed_and_too_many_calls_cost_no_word_and_quality_comes_back(
    server: ServerProcess,
) -> None:
    """Promises 1, 4 and 5 at once, in real processes: the rung goes down and comes back, refusals are quick."""
    diary = await hurt_devices(server, talk, PLAN)

    assert [promise for promise, kept in promises(diary).items() if not kept] == []
    assert wrong_words(diary) == 0
    assert {said.final.model for said in diary.finals} == {"large", "small"}
