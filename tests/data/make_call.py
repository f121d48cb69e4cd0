"""Put the bundled call together: `python -m tests.data.make_call`, needed only to build it anew.

The clips come from the folder of speech that the benches use (`TRUNKLINE_SPEECH`). Each is cut to its speech, brought
to one level, sent through a telephone's 8 kHz and mu-law, and laid on its speaker's side of a stereo WAV file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from streaming.call import Encoding
from streaming.decoding import Float32Array
from tests.bench.corpus import read_clips, speech_folder
from tests.support.audio_files import TELEPHONE_RATE as RATE
from tests.support.audio_files import read_audio, resample, write_wav

HERE: Final = Path(__file__).parent / "call"
LABELS: Final = ("customer", "agent")
CUSTOMER, AGENT = range(2)
LEVEL: Final = 0.08
"""Root mean square of the speech, of full scale: -22 dBFS, a usual loudness of telephone speech."""
LINE_NOISE: Final = 0.0008
"""Root mean square of the noise under both sides, -62 dBFS: a line is never digitally silent."""
QUIET: Final = 0.05
"""Share of the loudest 10 ms under which the edges of a clip count as silence."""
MARGIN_S: Final = 0.08
"""Kept around the speech of a clip."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that one side says."""

    gap_s: float
    """Silence since the end of the line before; negative where the speakers overlap."""
    channel: int
    source: str
    """Path in the folder of speech."""
    text: str
    """The source's words with our punctuation."""
    until_s: float | None = None
    """Where to leave the clip, or None for its end."""


LIBRI: Final = "librispeech_test_other/533-1066-"
SCRIPT: Final = (
    Line(0.8, AGENT, "asterisk_en/basic-pbx-ivr-main.flac", "Thank you for calling Super Awesome Company.", 2.75),
    Line(0.6, CUSTOMER, f"{LIBRI}0009.flac", "Something is going to occur, he said."),
    Line(0.5, AGENT, "asterisk_en/vm-sorry.flac", "I'm sorry, I did not understand your response."),
    Line(
        0.7,
        CUSTOMER,
        f"{LIBRI}0007.flac",
        "I mean, he persisted, do you feel as though you could go through with something rather unusual?",
    ),
    Line(0.4, AGENT, "asterisk_en/pls-hold-while-try.flac", "Please hold while we try to connect you."),
    Line(1.0, AGENT, "asterisk_en/tt-monkeysintro.flac", "They have been carried away by monkeys."),
    Line(
        0.6,
        CUSTOMER,
        f"{LIBRI}0001.flac",
        "I knew well enough that he might be carried thousands of miles in the boxcar, "
        "locked in, perhaps without water or food.",
    ),
    Line(-0.3, AGENT, "asterisk_en/something-terribly-wrong.flac", "Something is terribly wrong!"),
    Line(0.5, CUSTOMER, f"{LIBRI}0008.flac", "The most unusual thing I can think of would be a peaceful night."),
    Line(0.4, AGENT, "asterisk_en/vm-nobodyavail.flac", "Nobody is available to take your call at the moment."),
    Line(0.3, AGENT, "asterisk_en/vm-leavemsg.flac", "Press five to leave a message."),
    Line(0.5, CUSTOMER, f"{LIBRI}0006.flac", "I have none, I said happily."),
    Line(0.4, AGENT, "asterisk_en/please-try-call-later.flac", "Please try your call again later."),
)


def telephone_audio(file: Path, until_s: float | None = None) -> Float32Array:
    """Read a clip's first channel at 8 kHz, float32 of shape ``(n_samples,)``, up to ``until_s``."""
    audio, rate = read_audio(file)
    kept = slice(None if until_s is None else round(until_s * rate))
    return resample(audio[kept, 0], rate, RATE)


def trimmed(audio: Float32Array) -> Float32Array:
    """Cut a clip to its speech and a small margin, faded at both ends, at the common level.

    Args:
        audio: Mono samples in [-1, 1], shape ``(n_samples,)``, 8 kHz.

    Returns:
        The speech with ``MARGIN_S`` on either side.
    """
    frame = RATE // 100
    margin = round(MARGIN_S * 100)
    audio = np.pad(audio, margin * frame)
    frames = audio[: audio.size // frame * frame].reshape(-1, frame)
    energy = np.sqrt(np.mean(frames**2, axis=1))
    loud = np.flatnonzero(energy > QUIET * energy.max())
    speech = audio[(loud[0] - margin) * frame : (loud[-1] + 1 + margin) * frame]
    fade = np.ones(speech.size, dtype=np.float32)
    fade[:frame] = np.linspace(0, 1, frame)
    fade[-frame:] = np.linspace(1, 0, frame)
    level = float(np.sqrt(np.mean(frames[loud] ** 2)))
    return np.asarray(speech * fade * (LEVEL / level), dtype=np.float32)


def main() -> None:
    """Write the WAV file and its reference."""
    folder = speech_folder()
    licences = {clip.path: clip.licence for clip in read_clips(folder)}
    clips = [trimmed(telephone_audio(folder / line.source, line.until_s)) for line in SCRIPT]

    starts: list[float] = []
    end = 0.0
    for line, clip in zip(SCRIPT, clips, strict=True):
        # Gaps are between what is heard, so the silent margins on both sides count towards them.
        starts.append(max(end + line.gap_s - 2 * MARGIN_S, 0.0))
        end = starts[-1] + clip.size / RATE

    noise = np.random.default_rng(533)
    call = (LINE_NOISE * noise.standard_normal((int((end + 1.0) * RATE), len(LABELS)))).astype(np.float32)
    turns: list[dict[str, object]] = []
    for line, clip, start in zip(SCRIPT, clips, starts, strict=True):
        at = round(start * RATE)
        call[at : at + clip.size, line.channel] += clip
        turns.append(
            {
                "channel": line.channel,
                "start_s": round(start + MARGIN_S, 2),
                "end_s": round(start + clip.size / RATE - MARGIN_S, 2),
                "text": line.text,
                "source": line.source,
                "licence": licences[line.source],
            }
        )

    write_wav(HERE / "call.wav", call, RATE, Encoding.MULAW)
    reference = {"audio": "call.wav", "labels": LABELS, "duration_s": round(len(call) / RATE, 2), "turns": turns}
    (HERE / "call.json").write_text(json.dumps(reference, indent=2) + "\n")


if __name__ == "__main__":
    main()
