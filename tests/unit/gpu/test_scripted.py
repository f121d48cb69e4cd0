"""The scripted engine, on which tests of everything else rely."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from gpu.engines import build
from gpu.errors import EngineError, OutOfMemory
from gpu.scripted import DIED, WORDS, Failure, ScriptedEngine, hertz
from gpu.spec import DeviceSpec
from streaming.audio import decode, encode
from streaming.call import Encoding
from streaming.decoding import Float32Array, Kind, Window
from streaming.features import FeatureStore
from tests.support.audio import sine
from tests.support.audio_files import resample

SENTENCE = (*WORDS, "golf", "alfa", "papa", "kilo")


def tones(words: tuple[str, ...], rate: int = 16_000, seconds: float = 0.15) -> Float32Array:
    return np.concatenate([sine(hertz(word), int(seconds * rate), rate) for word in words])


def window(pcm: Float32Array, n_mels: int = 80) -> Window:
    store = FeatureStore(n_mels)
    store.append(pcm)
    store.finish()
    return Window(store.frames(0, store.available_frames), Kind.FINAL)


def heard(pcm: Float32Array, n_mels: int = 80) -> tuple[str, ...]:
    return tuple(word.text for word in ScriptedEngine(n_mels=n_mels).decode([window(pcm, n_mels)])[0].words)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_every_word_is_a_tone(n_mels: int) -> None:
    assert heard(tones(SENTENCE), n_mels) == SENTENCE


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_words_survive_the_telephone(encoding: Encoding) -> None:
    narrow = decode(encode(tones(SENTENCE, 8_000), encoding), encoding)
    assert heard(resample(narrow, 8_000, 16_000)) == SENTENCE


def test_words_are_where_their_tones_are() -> None:
    words = ScriptedEngine().decode([window(tones(SENTENCE))])[0].words
    for number, word in enumerate(words):
        assert word.start == pytest.approx(0.15 * number, abs=0.03)
        assert word.end == pytest.approx(0.15 * (number + 1), abs=0.03)


def test_words_are_the_same_in_every_window_they_lie_in() -> None:
    """Windows overlap: a word that changed with the window would look like an error of the code under test."""
    features = window(tones(SENTENCE)).features
    engine = ScriptedEngine()
    for start in range(0, 100, 7):
        part = engine.decode([Window(features[:, start : start + 180], Kind.PARTIAL)])[0]
        complete = [word for word in part.words if word.start > 0 and word.end < 1.8]
        first = round((start / 100 + complete[0].start) / 0.15)
        assert tuple(word.text for word in complete) == SENTENCE[first : first + len(complete)]


def test_silence_parts_words_and_has_none() -> None:
    pause = np.zeros(4_000, np.float32)
    assert heard(np.concatenate([tones(("echo",)), pause, tones(("echo",)), pause])) == ("echo", "echo")
    assert heard(pause) == ()


def test_a_click_is_not_a_word_and_takes_none_apart() -> None:
    pause, click = np.zeros(4_000, np.float32), tones(("mike",), seconds=0.01)
    assert heard(np.concatenate([pause, click, pause])) == ()
    assert heard(np.concatenate([tones(("echo",)), click, tones(("echo",))])) == ("echo",)
    assert heard(np.concatenate([pause, click, tones(("golf",))])) == ("golf",)


def test_time_is_spent_where_it_is_told_to() -> None:
    spent: list[float] = []
    engine = ScriptedEngine(fixed_s=0.5, each_s=0.1, sleep=spent.append)
    engine.decode([window(tones(("alfa",)))] * 3)
    engine.decode([])
    assert spent == [pytest.approx(0.8)]


def test_it_fails_when_and_as_often_as_it_is_told_to() -> None:
    engine = ScriptedEngine(failure="raise", after=1, times=1)
    batch = [window(tones(("alfa",)))]
    engine.decode(batch)
    with pytest.raises(EngineError) as failure:
        engine.decode(batch)
    assert failure.value.retryable
    assert engine.decode(batch)[0].text == "alfa"


def test_it_fails_always_unless_told_how_often() -> None:
    engine = ScriptedEngine(failure="out_of_memory")
    for _ in range(3):
        with pytest.raises(OutOfMemory):
            engine.decode([window(tones(("alfa",)))])


def test_one_word_can_be_poison() -> None:
    """A window that breaks a device must be told from a device that is broken."""
    engine = ScriptedEngine(failure=Failure.RAISE, on_word="papa")
    assert engine.decode([window(tones(("alfa",)))])[0].text == "alfa"
    with pytest.raises(EngineError):
        engine.decode([window(tones(("alfa",))), window(tones(("kilo", "papa")))])


def test_a_batch_that_hangs_is_let_go_when_it_is_closed() -> None:
    engine = ScriptedEngine(failure="hang")
    ended = threading.Event()

    def decode_forever() -> None:
        with pytest.raises(EngineError):
            engine.decode([window(tones(("alfa",)))])
        ended.set()

    thread = threading.Thread(target=decode_forever)
    thread.start()
    assert not ended.wait(0.05)
    engine.close()
    thread.join(5)
    assert ended.is_set()


def test_it_can_take_its_process_with_it() -> None:
    program = (
        "import numpy as np\n"
        "from gpu.scripted import ScriptedEngine\n"
        "from streaming.decoding import Kind, Window\n"
        "ScriptedEngine(failure='die').decode([Window(np.zeros((80, 10), np.float32), Kind.FINAL)])\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == DIED  # noqa: S603


def test_its_models_may_cost_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ladder whose rungs cost the same is no ladder to try things on."""
    slept_s: list[float] = []
    monkeypatch.setattr("time.sleep", slept_s.append)
    costs = {"each_s": 0.08, "tiny.en.each_s": 0.02}
    spec = DeviceSpec(name="cpu-0", models=("base", "tiny.en"), engine="scripted", options=costs)
    for model in spec.models:
        build(spec, model).decode([window(tones(("alfa",)))])

    assert slept_s == [0.08, 0.02]


def test_it_refuses_what_whisper_refuses() -> None:
    for shape in ((80, 3001), (128, 100)):
        with pytest.raises(ValueError, match="takes windows of 80 mel bands and at most 3000 frames"):
            ScriptedEngine().decode([Window(np.zeros(shape, np.float32), Kind.FINAL)])


def test_an_empty_window_is_silent() -> None:
    hypothesis = ScriptedEngine().decode([Window(np.empty((80, 0), np.float32), Kind.FINAL)])[0]
    assert (hypothesis.words, hypothesis.no_speech) == ((), 1.0)


def test_only_a_multilingual_one_keeps_languages() -> None:
    spoken = Window(window(tones(("alfa",))).features, Kind.FINAL, "de")
    assert ScriptedEngine().decode([spoken])[0].language == "de"
    assert ScriptedEngine(multilingual=False).decode([spoken])[0].language == "en"
