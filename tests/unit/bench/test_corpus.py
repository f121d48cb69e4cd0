"""The folder of speech, read from a small one made for the purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streaming.audio import decode
from streaming.call import AudioFormat, Encoding
from tests.bench.corpus import SpeechNotFound, read_calls, read_clips, read_passages, speech_folder
from tests.support.audio_files import write_wav

MANIFEST = """\
path\tduration_s\tsample_rate\tchannels\tlanguage\tspeaker\ttext\tlicence\torigin\tcategory\tformat\tnotes
prompts/hold.wav\t1.000\t8000\t1\ten\tA\tSay "hold", please.\tCC0\t-\t-\t-\t-
prompts/halt.wav\t1.000\t8000\t1\tde\tB\tBitte warten.\tCC0\t-\t-\t-\t-
prompts/unknown.wav\t1.000\t8000\t1\ten\tB\t\tCC0\t-\t-\t-\t-
wide/read.wav\t1.000\t22050\t1\ten\tC\tOnce upon a time.\tCC0\t-\t-\t-\t-
music/song.wav\t1.000\t8000\t1\t-\t\t\tCC0\t-\t-\t-\t-
derived/call.wav\t1.000\t8000\t2\ten\tA,B\t\tCC0\t-\t-\t-\t-
"""
SEGMENTS = """\
file\tchannel\tstart_s\tend_s\tspeaker\ttext\tsource_clip
call.wav\t1\t0.600\t0.900\tB\tgoodbye\tx
call.wav\t0\t0.400\t0.500\tA\tthere\tx
call.wav\t0\t0.100\t0.300\tA\thello\tx
"""


def mulaw(payload: bytes) -> list[float]:
    """The samples of a payload: mu-law has two codes for zero."""
    return [float(sample) for sample in decode(payload, Encoding.MULAW)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of speech with one second of noise in every file."""
    (tmp_path / "manifest.tsv").write_text(MANIFEST)
    for line in MANIFEST.splitlines()[1:]:
        path, _, rate, channels, *_ = line.split("\t")
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        audio = np.random.default_rng(1).uniform(-0.5, 0.5, (int(rate), int(channels))).astype(np.float32)
        write_wav(file, audio, int(rate), Encoding.MULAW if rate == "8000" else Encoding.L16)
    (tmp_path / "derived" / "segments.tsv").write_text(SEGMENTS)
    return tmp_path


def test_quotes_in_a_text_are_part_of_it(folder: Path) -> None:
    """The table has no quoting; a reader that thinks so would swallow rows."""
    clips = {clip.path: clip for clip in read_clips(folder)}

    assert len(clips) == 6
    assert clips["prompts/hold.wav"].text == 'Say "hold", please.'
    assert clips["prompts/hold.wav"].source == "prompts"


def test_music_has_an_empty_reference_and_unknown_speech_none(folder: Path) -> None:
    """Words in music are invented; words in speech that nobody wrote down cannot be judged."""
    clips = {clip.path: clip for clip in read_clips(folder)}

    assert (clips["music/song.wav"].text, clips["music/song.wav"].is_speech) == ("", False)
    assert (clips["prompts/unknown.wav"].text, clips["prompts/unknown.wav"].is_speech) == (None, True)


def test_turns_of_a_call_are_in_order(folder: Path) -> None:
    """Each side's text is what it said, in the order in which it said it."""
    (call,) = read_calls(folder)

    assert [turn.text for turn in call.turns] == ["hello", "there", "goodbye"]
    assert (call.text(0), call.text(1)) == ("hello there", "goodbye")


def test_passages_are_the_sides_that_can_be_judged(folder: Path) -> None:
    """A call gives one passage a side; another language, or no reference, gives none."""
    passages = read_passages(folder, ["prompts", "music", "derived"])

    assert {passage.key: passage.text for passage in passages} == {
        "prompts/hold.wav#0": 'Say "hold", please.',
        "derived/call.wav#0": "hello there",
        "derived/call.wav#1": "goodbye",
    }
    assert [passage.in_turns for passage in passages] == [False, True, True]


def test_audio_comes_as_a_call_would_bring_it(folder: Path) -> None:
    """Telephone files stay mu-law, sample by sample; others become linear, unless a telephone is asked for."""
    clips = {clip.path: clip for clip in read_clips(folder)}

    call, wide = clips["derived/call.wav"], clips["wide/read.wav"]
    assert call.audio().format == AudioFormat(Encoding.MULAW, 8_000, 2)
    assert len(call.audio().payload) == 16_000
    assert mulaw(call.audio().payload) == mulaw(call.file.read_bytes()[-16_000:])
    assert wide.audio().format == AudioFormat(Encoding.L16, 16_000, 1)
    assert wide.audio().seconds == pytest.approx(1.0, abs=0.001)
    assert wide.audio(telephone=True).format == AudioFormat(Encoding.MULAW, 8_000, 1)


def test_the_folder_is_where_the_environment_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody keeps 80 MB of speech where there is room."""
    monkeypatch.setenv("TRUNKLINE_SPEECH", str(folder))

    assert speech_folder() == folder


def test_a_missing_folder_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who runs a bench for the first time does not have it."""
    monkeypatch.setenv("TRUNKLINE_SPEECH", str(tmp_path))

    with pytest.raises(SpeechNotFound, match="set TRUNKLINE_SPEECH"):
        speech_folder()
