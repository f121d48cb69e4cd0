"""Cut the short clips of the tests: `python -m tests.data.make_clips`, needed only to build them anew."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streaming.audio import encode
from streaming.call import Encoding
from streaming.decoding import Float32Array
from tests.bench.corpus import speech_folder
from tests.data.make_call import telephone_audio
from tests.support.audio_files import TELEPHONE_RATE, WIDEBAND_RATE, read_audio, resample, write_wav

HERE: Final = Path(__file__).parent / "clips"

WARM_UP: Final = Path(__file__).parents[2] / "gpu" / "speech.ulaw"
"""What devices decode before they are ready (``gpu.timing``). In the public domain: it goes wherever the code goes."""
WARM_UP_SOURCE: Final = "ljspeech/LJ001-0001.flac"


@dataclass(frozen=True, slots=True)
class Cut:
    """One clip and where it comes from."""

    name: str
    source: str
    text: str = ""
    from_s: float = 0.0
    until_s: float | None = None


TELEPHONE: Final = (
    Cut("later_8k", "asterisk_en/please-try-call-later.flac", "Please try your call again later."),
    Cut(
        "stay_8k",
        "asterisk_en/queue-periodic-announce.flac",
        "All of our representatives are currently busy. Please stay on the line and your call will be answered by the "
        "next available representative.",
    ),
    Cut("press_8k", "asterisk_en/vm-forward.flac", "Press 1 to enter an extension, press 2 to use the directory."),
    Cut("music_8k", "moh_opsound/macroform-the_simplicity.flac", from_s=60.0, until_s=66.0),
)
WIDEBAND: Final = (
    Cut(
        "unusual_16k",
        "librispeech_test_other/533-1066-0008.flac",
        "The most unusual thing I can think of would be a peaceful night.",
    ),
    Cut(
        "printing_16k",
        "ljspeech/LJ001-0011.flac",
        "It is of the first importance that the letter used should be fine in form.",
    ),
)


def tones(*cycle: tuple[tuple[float, ...], float]) -> Float32Array:
    """Sound what an exchange sounds: each entry is the frequencies in Hz (none: silence) and how long in seconds."""
    parts: list[Float32Array] = []
    for frequencies, seconds in cycle:
        at = np.arange(round(seconds * TELEPHONE_RATE)) / TELEPHONE_RATE
        parts.append(
            np.asarray(sum((np.sin(2 * np.pi * hz * at) for hz in frequencies), np.zeros_like(at)), np.float32)
        )
    return 0.15 * np.concatenate(parts)


def noise(level: float, seconds: float) -> Float32Array:
    """White noise of this root mean square, always the same."""
    samples = np.random.default_rng(8).standard_normal(round(seconds * TELEPHONE_RATE))
    return np.asarray(level * samples, dtype=np.float32)


SYNTHETIC: Final = {
    # The North American ringback of ITU-T E.180: 2 s on, 4 s off.
    "ringback_8k": tones(((440.0, 480.0), 2.0), ((), 4.0), ((440.0, 480.0), 2.0)),
    # Keys 5, 1 and # of ITU-T Q.23.
    "keys_8k": tones(
        ((770.0, 1336.0), 0.2), ((), 0.3), ((697.0, 1209.0), 0.2), ((), 0.3), ((941.0, 1477.0), 0.2), ((), 0.8)
    ),
    "noise_8k": noise(0.01, 3.0),
}


def main() -> None:
    """Write every clip, and what is said in it."""
    folder = speech_folder()
    for cut in TELEPHONE:
        audio = telephone_audio(folder / cut.source, cut.until_s)[round(cut.from_s * TELEPHONE_RATE) :]
        write_wav(HERE / f"{cut.name}.wav", audio, TELEPHONE_RATE, Encoding.MULAW)
    for cut in WIDEBAND:
        audio, rate = read_audio(folder / cut.source)
        write_wav(HERE / f"{cut.name}.wav", resample(audio, rate, WIDEBAND_RATE), WIDEBAND_RATE, Encoding.L16)
    for name, audio in SYNTHETIC.items():
        write_wav(HERE / f"{name}.wav", audio, TELEPHONE_RATE, Encoding.MULAW)
    WARM_UP.write_bytes(encode(telephone_audio(folder / WARM_UP_SOURCE, None), Encoding.MULAW))
    texts = {cut.name: cut.text for cut in (*TELEPHONE, *WIDEBAND)} | dict.fromkeys(SYNTHETIC, "")
    (HERE / "texts.json").write_text(json.dumps(texts, indent=2) + "\n")


if __name__ == "__main__":
    main()
