"""Human speech through everything: real sockets, the real model, the official SDK."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest

from tests.support.calls import calling
from tests.support.deepgram_sdk import Heard, ListenV1Metadata, client_at, transcript
from tests.support.servers import ROOT, ServerProcess, kill
from trunkline.audio import Recording, read_file
from trunkline.bridge import play
from trunkline.framing import NativeFraming
from trunkline.messages import Closed, Event
from trunkline.messages import Final as FinalText
from trunkline.reference import read_reference
from trunkline.timing import spread
from trunkline.transcript import Transcript
from trunkline.words import WordErrors, word_errors

pytestmark = pytest.mark.e2e

CALL: Final = ROOT / "tests" / "data" / "call"
RECORDING: Final = read_file(CALL / "call.wav")
REFERENCE: Final = read_reference(CALL / "call.json")
MOST_ERRORS: Final = 0.15
AGAIN_WITHIN_S: Final = 10.0


def first(seconds: float) -> Recording:
    """Return the beginning of the recording."""
    return replace(RECORDING, data=RECORDING.data[: int(seconds * RECORDING.audio.second_bytes)])


async def test_the_bundled_call_is_understood_while_it_is_spoken(real: ServerProcess) -> None:
    """The promise of the whole: both sides, in order, right, soon after they were said."""
    transcript_, told = Transcript(), list[Event]()

    def hear(event: Event) -> None:
        told.append(event)
        transcript_.add(event)

    framing = NativeFraming(RECORDING.audio, REFERENCE.labels)
    played = await play(framing, real.url, RECORDING, turns=REFERENCE.turns, on_event=hear)

    errors = WordErrors()
    for channel in range(RECORDING.audio.channels):
        errors += word_errors(REFERENCE.text(channel), transcript_.text(channel))
        finals = [event for event in told if isinstance(event, FinalText) and event.channel == channel]
        assert [final.number for final in finals] == list(range(len(finals)))
    final, partial = spread(played.latencies.final_s), spread(played.latencies.first_partial_s)
    print(  # noqa: T201 - a measurement
        f"word error rate {errors.rate:.1%}; end of speech to final p50 {final.p50:.2f} s, p95 {final.p95:.2f} s; "
        f"first partial p95 {partial.p95:.2f} s; audio was sent at most {played.late_s:.2f} s late"
    )
    assert errors.rate < MOST_ERRORS
    assert played.latencies.unfinished == 0
    assert not math.isnan(final.p95)
    (closed,) = [event for event in told if isinstance(event, Closed)]
    assert closed.audio_s == pytest.approx(RECORDING.seconds, abs=0.05)
    assert closed.finals == sum(isinstance(event, FinalText) for event in told)


async def test_the_deepgram_sdk_gets_words_from_the_real_model(real: ServerProcess) -> None:
    """An application written for Deepgram changes one address."""
    heard_s = 20.0
    async with client_at(real.port).listen.v1.connect(
        model="nova-3", encoding="mulaw", sample_rate=8000, channels=2, multichannel=True, interim_results=True
    ) as connection:
        heard = Heard(connection)
        for chunk in first(heard_s).chunks():
            await connection.send_media(chunk)
        await connection.send_close_stream()
        await heard.listening

    errors = WordErrors()
    for channel in range(2):
        said = " ".join(turn.text for turn in REFERENCE.turns if turn.channel == channel and turn.end_s < heard_s)
        results = [result for result in heard.finals if list(result.channel_index) == [channel, 2]]
        words = [word for result in results for word in result.channel.alternatives[0].words if word.end < heard_s]
        assert all(earlier.start <= later.start for earlier, later in pairwise(words))
        ended = [result for result in results if result.start + result.duration <= last_turn_end(channel, heard_s)]
        errors += word_errors(said, " ".join(transcript(result) for result in ended))
    print(f"deepgram-sdk: word error rate {errors.rate:.1%} of {errors.words} words")  # noqa: T201 - a measurement
    assert errors.words > 10
    assert errors.rate < MOST_ERRORS
    last = heard.messages[-1]
    assert isinstance(last, ListenV1Metadata)
    assert last.duration == pytest.approx(heard_s, abs=0.05)


def last_turn_end(channel: int, before_s: float) -> float:
    """Return where a side's next turn begins behind those that are complete before a moment."""
    later = [turn.start_s for turn in REFERENCE.turns if turn.channel == channel and turn.end_s >= before_s]
    return min([*later, before_s]) if later else before_s


async def test_a_call_survives_the_death_of_the_device_that_holds_its_model(real: ServerProcess) -> None:
    """Loading a model takes seconds; the words spoken meanwhile are written all the same."""
    heard_s, killed_at_s = 16.0, 4.0
    said = first(heard_s)
    async with calling(real.url, said.audio) as caller:
        await caller.play(said.data, killed_at_s)
        (device,) = real.device_pids()
        kill(device)
        killed_at = time.monotonic()
        await caller.play(said.data)

    again_s = caller.first_partial_after(killed_at, killed_at_s) - killed_at
    print(f"partials again {again_s:.1f} s after the model's process was killed")  # noqa: T201 - a measurement
    assert again_s < AGAIN_WITHIN_S
    for turn in REFERENCE.turns:
        if turn.end_s < heard_s:
            of_side = [final for final in caller.finals if final.channel == turn.channel]
            assert any(final.start < turn.end_s and final.end > turn.start_s for final in of_side), "it has no final"
    assert real.metric("trunkline_finals_lost_total") == 0
