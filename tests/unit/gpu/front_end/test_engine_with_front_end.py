"""An engine whose windows carry the call's own audio answers as one whose windows carry features."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from gpu.engines import build
from gpu.errors import EngineError, FrontEndFailed, OutOfMemory
from gpu.front_end.engine import EngineWithFrontEnd
from gpu.scripted import WORDS, ScriptedEngine, hertz
from gpu.spec import DeviceSpec
from streaming.call import SUPPORTED_RATES, Encoding
from streaming.decoding import Audio, Float32Array, Kind, Window
from tests.support.audio import sine
from tests.support.windows import FRONT_ENDS, both_ways, need_front_end

pytestmark = pytest.mark.timeout(180)  # the first test imports PyTorch

SPOKEN = ("golf", "echo", "papa", "alfa")
KINDS = pytest.mark.parametrize("kind", FRONT_ENDS)


def tones(words: Sequence[str], rate: int) -> Float32Array:
    return np.concatenate([sine(hertz(word), rate // 4, rate) for word in words])


def engine(kind: str, *, n_mels: int = 80) -> EngineWithFrontEnd:
    need_front_end(kind)
    return EngineWithFrontEnd(ScriptedEngine(n_mels=n_mels), kind, device="cpu", workers=2)


def audio(words: Sequence[str] = SPOKEN, encoding: Encoding = Encoding.MULAW, rate: int = 8_000) -> Audio:
    return both_ways(tones(words, rate), encoding, rate)[0]


def heard(subject: EngineWithFrontEnd, windows: Sequence[Window]) -> list[tuple[str, ...]]:
    return [tuple(word.text for word in answer.words) for answer in subject.decode(windows)]


@KINDS
def test_calls_of_every_encoding_and_rate_share_a_batch(kind: str) -> None:
    """Whatever is accepted at the start of a call has a front end; nothing is refused, or mixed up, in a batch."""
    sources = [(encoding, rate) for encoding in Encoding for rate in SUPPORTED_RATES]
    said = [tuple(WORDS[at % 16 - 3 : at % 16] or WORDS[:3]) for at in range(len(sources))]
    windows = [Window(audio(words, *source), Kind.FINAL) for words, source in zip(said, sources, strict=True)]

    assert heard(engine(kind), windows) == said


@KINDS
def test_a_window_from_the_middle_of_a_call_hears_what_led_to_it_and_none_of_its_company(kind: str) -> None:
    """Its first frames look at audio before it, which a front end is given and no word is made of."""
    pcm = tones(SPOKEN, 8_000)
    windows: list[Window] = []
    expected: list[Window] = []
    for start_s, stop_s in ((0.25, 0.75), (0.0, 0.25), (0.5, 1.0)):
        sound, features = both_ways(pcm, Encoding.ALAW, 8_000, start_s=start_s, stop_s=stop_s)
        windows.append(Window(sound, Kind.PARTIAL))
        expected.append(Window(features, Kind.PARTIAL))

    assert engine(kind).decode(windows) == ScriptedEngine().decode(expected)


@KINDS
def test_models_of_unlike_bands_hear_one_window(kind: str) -> None:
    """Windows carry what was said, not what a model takes: partials and finals may be of models of other kinds."""
    for n_mels in (80, 128):
        assert heard(engine(kind, n_mels=n_mels), [Window(audio(), Kind.FINAL)]) == [SPOKEN]


@KINDS
def test_windows_without_a_frame_and_windows_with_features_go_with_the_others(kind: str) -> None:
    sound, features = both_ways(tones(SPOKEN, 8_000), Encoding.MULAW, 8_000)
    windows = [
        Window(replace(sound, payload=b"", frames=0, before=0), Kind.FINAL),
        Window(features, Kind.FINAL),
        Window(sound, Kind.FINAL),
    ]

    assert heard(engine(kind), windows) == [(), SPOKEN, SPOKEN]


@KINDS
def test_threads_do_not_meet_in_a_front_end(kind: str) -> None:
    """A device has a thread for each batch at a time; front ends are for one."""
    subject = engine(kind)
    subject.warm_up()
    windows = [[Window(audio(words), Kind.FINAL)] for words in (SPOKEN, SPOKEN[::-1])] * 8

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(partial(heard, subject), windows))

    assert answers == [[SPOKEN], [SPOKEN[::-1]]] * 8


def test_a_window_is_put_where_one_of_features_of_its_length_is_put() -> None:
    """What a window carries makes no difference to whom it shares a batch with."""
    sound, features = both_ways(tones(SPOKEN, 8_000), Encoding.MULAW, 8_000)
    subject = engine("numpy")

    assert subject.bucket(Window(sound, Kind.FINAL)) == subject.bucket(Window(features, Kind.FINAL))
    assert (subject.model, subject.n_mels, subject.multilingual, subject.greedy) == ("scripted", 80, True, False)


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"payload": b""}, "at least one, got 0 bytes"),
        ({"payload": b"\xff" * 2001, "encoding": Encoding.L16}, "whole samples"),
        ({"frames": 3_000}, "a window of 3000 frames came with audio for 100"),
        ({"frames": 3_001, "payload": b"\xff" * 80 * 3_001}, "at most 3000 frames"),
    ],
)
def test_a_window_without_the_audio_it_should_have_is_refused_before_it_is_in_a_batch(
    broken: dict[str, object], problem: str
) -> None:
    """It harms no other call's window."""
    window = Window(replace(audio(), **broken), Kind.FINAL)  # type: ignore[arg-type]  # named above
    with pytest.raises(ValueError, match=problem):
        engine("numpy").bucket(window)


@pytest.mark.parametrize(
    ("name", "error"),
    [("BrokenFrontEnd", FrontEndFailed), ("FullFrontEnd", OutOfMemory)],
)
def test_what_a_front_end_raises_is_told_as_a_fault_of_the_device(name: str, error: type[EngineError]) -> None:
    """Any audio has features, so no window is ever to blame."""
    subject = EngineWithFrontEnd(ScriptedEngine(), f"tests.support.chaos:{name}", device="cpu", workers=1)

    with pytest.raises(error, match=r"features of a batch|failed on cpu") as raised:
        subject.decode([Window(audio(), Kind.FINAL)])
    assert raised.value.retryable
    with pytest.raises(error):
        subject.warm_up()


def test_a_front_end_that_is_not_installed_is_told_at_the_start() -> None:
    subject = EngineWithFrontEnd(ScriptedEngine(), "nowhere.to:BeFound", device="cpu", workers=1)
    with pytest.raises(EngineError, match="needs nowhere; install the extra 'gpu'"):
        subject.warm_up()


def test_a_device_with_a_front_end_builds_engines_that_have_it() -> None:
    built = build(DeviceSpec(name="one", models=("m",), engine="scripted", front_end="numpy"), "m")

    assert heard_by(built) == SPOKEN
    built.close()


def heard_by(subject: object) -> tuple[str, ...]:
    assert isinstance(subject, EngineWithFrontEnd)
    return heard(subject, [Window(audio(), Kind.FINAL)])[0]
