"""What every engine promises, asked of each: the scripted one, and Whisper on CTranslate2 and PyTorch if installed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from gpu.engine import Bucket, Engine
from gpu.scripted import ScriptedEngine
from gpu.whisper import WhisperEngine
from streaming.decoding import Hypothesis, Kind, Window
from tests.support.audio import noise
from tests.support.models import model_folder
from tests.support.samples import bundled_clips
from tests.support.windows import clip_features, features

WORKERS = 2
SPOKEN = ("press_8k", "stay_8k", "later_8k", "printing_16k", "unusual_16k")
NOT_SPOKEN = ("music_8k", "ringback_8k", "noise_8k", "keys_8k")
ENGINES = ("scripted", "tiny.en", "base", "torch:tiny.en", "torch:base")

pytestmark = pytest.mark.timeout(180)  # the first test of each model pays for loading it


@dataclass(frozen=True)
class Subject:
    """An engine under test."""

    engine: Engine
    is_model: bool


@pytest.fixture(scope="module", params=ENGINES)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    name: str = request.param
    engine = ScriptedEngine() if name == "scripted" else load(name)
    yield Subject(engine, is_model=name != "scripted")
    engine.close()


def load(name: str) -> Engine:
    kind, _, model = name.rpartition(":")
    folder = model_folder(model)
    if not kind:
        return WhisperEngine(folder, model, workers=WORKERS)
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed in this environment; run: make test-torch")
    from gpu.torch_engine.engine import TorchEngine  # noqa: PLC0415  only where it is there

    return TorchEngine(folder, model)


def spoken(kind: Kind = Kind.FINAL) -> list[Window]:
    return [Window(clip_features(name), kind, "en") for name in SPOKEN]


def mixture() -> list[Window]:
    """Windows that share nothing: lengths, kinds, languages, prompts."""
    press, stay, later, printing, unusual = (clip_features(name) for name in SPOKEN)
    return [
        Window(press, Kind.FINAL, "en"),
        Window(stay, Kind.PARTIAL, None),
        Window(later, Kind.FINAL, "en", context="Thank you for calling. Please listen to the options that follow."),
        Window(clip_features("keys_8k")[:, :150], Kind.PARTIAL, "en", hotwords=("pound key",)),
        Window(printing, Kind.FINAL, None, hotwords=("Gutenberg", "missal"), context="The art of printing."),
        Window(unusual, Kind.PARTIAL, "es"),
        Window(press[:, :60], Kind.FINAL, "fr"),
        Window(np.empty((80, 0), np.float32), Kind.FINAL, "en"),
        Window(np.full((80, 300), -10, np.float32), Kind.PARTIAL, None),
    ]


def essence(hypothesis: Hypothesis) -> tuple[Any, ...]:
    """What must not depend on company: arithmetic in batches may differ in the last digits."""
    return hypothesis.text, hypothesis.language, hypothesis.aligned, hypothesis.retried, hypothesis.model


def test_a_batch_of_unlike_windows_is_answered_as_each_is_alone(subject: Subject) -> None:
    """What one caller says, or asks for, must never change what another is said to have said."""
    windows = mixture()
    together = subject.engine.decode(windows)
    alone = [subject.engine.decode([window])[0] for window in windows]
    assert [essence(hypothesis) for hypothesis in together] == [essence(hypothesis) for hypothesis in alone]


def test_answers_come_in_the_order_of_the_windows(subject: Subject) -> None:
    """A batch mixes calls: one answer out of place is one caller's words in another's transcript."""
    windows = spoken()
    forth = [hypothesis.text for hypothesis in subject.engine.decode(windows)]
    back = [hypothesis.text for hypothesis in subject.engine.decode(windows[::-1])]
    assert len(set(forth)) == len(windows)
    assert back == forth[::-1]


def test_no_windows_are_no_work(subject: Subject) -> None:
    assert subject.engine.decode([]) == []


def test_silence_has_no_words(subject: Subject) -> None:
    """Callers are silent half of the time; every invented word would be a lie about one of them."""
    silent = [
        np.empty((80, 0), np.float32),
        np.full((80, 1), -10, np.float32),
        np.full((80, 700), -10, np.float32),
        features(noise(32_000) * np.float32(1e-5)),
    ]
    for kind in Kind:
        for hypothesis in subject.engine.decode([Window(quiet, kind) for quiet in silent]):
            assert hypothesis.words == ()
            assert hypothesis.no_speech > 0.5


def test_words_lie_in_the_window_one_after_the_other(subject: Subject) -> None:
    """Players seek by these times, and channels of a call are put in order by them."""
    windows = mixture() + spoken(Kind.PARTIAL)
    for window, hypothesis in zip(windows, subject.engine.decode(windows), strict=True):
        times = [time for word in hypothesis.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(0 <= time <= window.seconds + 1e-6 for time in times)


def test_words_are_bare_and_sure_to_some_degree(subject: Subject) -> None:
    for hypothesis in subject.engine.decode(spoken() + spoken(Kind.PARTIAL)):
        assert hypothesis.words
        for word in hypothesis.words:
            assert word.text == word.text.strip() != ""
            assert 0 <= word.confidence <= 1


def test_a_given_language_is_kept_and_another_detected(subject: Subject) -> None:
    """Detection costs a decoder step and can err: what the caller knows is believed."""
    given, detected = subject.engine.decode([spoken()[0], replace(spoken()[0], language=None)])
    assert (given.language, given.language_confidence) == ("en", 1.0)
    assert detected.language == "en"
    assert 0 < detected.language_confidence <= 1


def test_finals_are_aligned_and_partials_are_not(subject: Subject) -> None:
    for kind in Kind:
        assert {hypothesis.aligned for hypothesis in subject.engine.decode(spoken(kind))} == {kind is Kind.FINAL}


def test_every_answer_names_its_model(subject: Subject) -> None:
    assert {hypothesis.model for hypothesis in subject.engine.decode(mixture())} == {subject.engine.model}


def test_concurrent_batches_do_not_meet(subject: Subject) -> None:
    """One thread a stream calls the engine; they share weights and nothing else."""
    windows = spoken()
    expected = [hypothesis.text for hypothesis in subject.engine.decode(windows)]
    with ThreadPoolExecutor(WORKERS) as threads:
        answers = list(threads.map(subject.engine.decode, [windows, windows[::-1]] * 2))
    for number, answer in enumerate(answers):
        assert [hypothesis.text for hypothesis in answer] == (expected[::-1] if number % 2 else expected)


def test_windows_of_every_length_are_answered(subject: Subject) -> None:
    """Lengths around 1.6 s once were a trap: encoder output of as many frames as mel bands was encoded again."""
    speech = clip_features("press_8k")
    lengths = (1, 2, 7, 59, 60, 61, 159, 160, 161, 255, 256, 257)
    for count, hypothesis in zip(
        lengths, subject.engine.decode([Window(speech[:, :n], Kind.FINAL, "en") for n in lengths]), strict=True
    ):
        assert all(word.end <= count / 100 + 1e-6 for word in hypothesis.words)


def test_the_longest_window_is_answered_and_a_longer_one_refused(subject: Subject) -> None:
    speech = np.tile(clip_features("press_8k"), 20)
    assert subject.engine.decode([Window(speech[:, :3000], Kind.PARTIAL, "en", voice=1.0)])[0].words
    with pytest.raises(ValueError, match="at most 3000 frames"):
        subject.engine.decode([Window(speech[:, :3001], Kind.PARTIAL, "en")])


def test_windows_with_other_mel_bands_are_refused(subject: Subject) -> None:
    """A rung may change the model between the cutting of a window and its decode."""
    other = Window(np.zeros((subject.engine.n_mels + 48, 100), np.float32), Kind.FINAL, "en")
    with pytest.raises(ValueError, match="mel bands"):
        subject.engine.bucket(other)


def test_buckets_hold_windows_and_no_window_is_padded_to_nothing(subject: Subject) -> None:
    """A bucket is what the batcher sorts by and the cost model learns by."""
    for frames in (1, 99, 100, 160, 256, 700, 1500, 3000):
        bucket = subject.engine.bucket(Window(np.zeros((80, frames), np.float32), Kind.FINAL, "en"))
        assert isinstance(bucket, Bucket)
        assert frames <= bucket.frames <= 3000
        assert bucket.frames // 2 not in (80, 128)
        assert str(bucket) == f"{bucket.frames}+{bucket.prompt_tokens}"


def test_a_beam_is_kept_or_refused_and_never_ignored(subject: Subject) -> None:
    """A ladder says with how much care finals are decoded: an engine that took less would make it a lie."""
    window = replace(spoken()[0], beam=5)
    if subject.engine.greedy:
        with pytest.raises(ValueError, match="beam of 5"):
            subject.engine.bucket(window)
        with pytest.raises(ValueError, match="beam of 5"):
            subject.engine.decode([window])
        return
    assert subject.engine.decode([window])[0].words
    if subject.is_model:
        assert subject.engine.bucket(window).beam == 5


def test_an_engine_can_be_warmed(subject: Subject) -> None:
    subject.engine.warm_up()


@pytest.mark.parametrize("name", SPOKEN)
def test_models_hear_what_is_said(subject: Subject, name: str) -> None:
    """Short windows must not cost words: most of a clip's words are there, and it is not said twice."""
    if not subject.is_model:
        pytest.skip("only models understand speech")
    said = set(bundled_clips()[name].text.lower().replace(",", "").replace(".", "").split())
    for kind in Kind:
        heard = subject.engine.decode([Window(clip_features(name), kind, "en")])[0].text.lower().replace(",", "")
        words = heard.replace(".", "").split()
        assert len(said & set(words)) >= 0.6 * len(said)
        assert len(words) <= 1.3 * len(bundled_clips()[name].text.split()) + 1


@pytest.mark.parametrize("name", NOT_SPOKEN)
def test_models_hear_no_words_in_music_noise_and_tones(subject: Subject, name: str) -> None:
    if not subject.is_model:
        pytest.skip("to the scripted engine, tones are words")
    for hotwords in ((), ("Trunkline", "Gutenberg", "missal")):
        windows = [
            Window(clip_features(name)[:, at : at + 400], Kind.FINAL, "en", hotwords=hotwords) for at in (0, 200)
        ]
        assert [hypothesis.text for hypothesis in subject.engine.decode(windows)] == ["", ""]
