"""How the bench of a long call shares it out into minutes."""

from __future__ import annotations

from tests.bench.long_call import minutes_of, row, slower_by, summary_of
from tests.bench.running import Usage
from tests.bench.scoring import Value, WordErrors
from tests.bench.script import Utterance, script
from trunkline import Final, Word
from trunkline.timing import CallTiming

POOL = [Utterance("u", b"\x80" * 80_000, 0.0, 10.0, "word")]


def test_every_turn_is_in_the_minute_in_which_it_ends() -> None:
    """Its final comes then; what ends after the last minute is in none."""
    said = script(POOL, first=0, seconds=180.0, sides=2)

    places = minutes_of(said, 2)

    assert len(places) == 2
    for minute, numbers in enumerate(places):
        assert numbers
        assert all(60 * minute <= said.turns[number].end_s < 60 * (minute + 1) for number in numbers)


def test_a_minute_becomes_a_row() -> None:
    """Memory with a decimal: leaks are small at first."""
    before, after = Usage(0.0, 0.0, 0.0, 0.0, 0.0, 90.0, 200.0), Usage(60.0, 1.2, 2.4, 0.5, 4.1, 100.26, 210.0)

    cells = row(3, CallTiming([]), [WordErrors(words=4, deleted=1)], (before, after))

    assert (cells["minute"], cells["wer"], cells["server_mib"]) == (3, 25.0, 100.3)
    assert (cells["server_cpu_s_per_audio_s"], cells["devices_cpu_s_per_audio_s"]) == (0.01, 0.02)


def test_the_second_minute_is_compared_with_the_last() -> None:
    """The first one pays for warming up."""
    names = ("final_p95_ms", "server_cpu_s_per_audio_s", "devices_cpu_s_per_audio_s", "server_mib", "devices_mib")
    same: dict[str, Value] = dict.fromkeys(names, 1)
    rows = [same | {"minute": minute, "final_p50_ms": 100 * minute} for minute in (1, 2, 3)]

    summary = summary_of(rows, "")

    assert summary["final_p50_ms, minute 2 and 3"] == "200 and 300"
    assert summary["call"] == "ended well"


def test_beginning_and_end_are_compared_by_the_utterances_that_both_hold() -> None:
    """Seven turns a minute differ more from seven others than a server that slows down."""
    said = script(POOL, first=0, seconds=240.0, sides=1)
    places = minutes_of(said, 4)
    timings = [CallTiming([said.turns[number] for number in numbers]) for numbers in places]
    for minute, timing in enumerate(timings):
        for at in range(300):
            timing.sent(float(at), float(at))
        for number in places[minute]:
            turn = said.turns[number]
            words = (Word("word", turn.start_s + 1, turn.end_s, 1.0),)
            final = Final(0, "", 0, turn.start_s, turn.end_s, "", words, 1.0, "en", "m", "endpoint", turn.end_s, 0.1)
            timing.heard(final, turn.end_s + (2.0 if minute < 2 else 3.0))

    ((name, found),) = slower_by(said, places, timings).items()

    assert name.startswith("end of speech to final of 1 utterances, ms, minutes 2 to 2 and 4 to 4")
    assert "%)" in str(found)
    assert str(found).split(" and ")[0] < str(found).split(" and ")[1]


def test_a_call_too_short_to_say_anything_twice_says_so() -> None:
    """Two minutes hold nothing to compare."""
    said = script(POOL, first=0, seconds=130.0, sides=1)
    places = minutes_of(said, 2)

    timings = [CallTiming([said.turns[number] for number in numbers]) for numbers in places]

    ((_, found),) = slower_by(said, places, timings).items()

    assert found == "none is in both"
