"""One side of a call: from samples to windows to text. Whatever decides the life of an utterance lives here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

import numpy as np

from streaming.agreement import ends_a_sentence
from streaming.audio import Codes
from streaming.call import SAMPLE_RATE, CallSpec
from streaming.decoding import Float32Array, Hypothesis, Kind, Window
from streaming.ear import HOP, Ear
from streaming.effects import Decode, Effect, Publish, ScoreSpeech
from streaming.endpoint import (
    FRAME_MS,
    FRAME_SAMPLES,
    Began,
    Endpointer,
    EndpointSettings,
    Hesitated,
    Resumed,
    Stopped,
)
from streaming.ladder import Rung
from streaming.leads import Lead, Leads, Told
from streaming.media import NEW_CLOCK
from streaming.records import ClockState, EndReason
from streaming.reducer import ChannelProgress
from streaming.scribe import Scribe, Stretch
from streaming.utterance import Utterance, WindowSettings

FINAL_TRIES: Final = 3
"""Times a final's window is handed to a device before the newest partial's words stand in for it."""


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Everything a channel is tuned by."""

    endpoint: EndpointSettings = field(default_factory=EndpointSettings)
    windows: WindowSettings = field(default_factory=WindowSettings)
    final_beam: int = 5
    """Hypotheses kept beside each other while a final is decoded, where there is time for it; 1 is greedy."""
    n_mels: int | None = 80
    """Mel bands of the models' features; None where windows carry audio, and devices make the features."""
    max_gap_s: float = 30.0
    """Longest gap on the media clock that is filled with silence."""
    min_voiced_ms: int = 96
    """Speech an utterance must hold to be decoded at all; clicks hold less."""
    min_surest: float = 0.8
    """Probability of speech that an utterance must reach once to be decoded at all; cries and ticks that pass for weak
    voices stay below, one-word answers over a telephone do not."""
    context_s: float = 0.0
    """Age up to which the previous final's text is given to the model as context; 0 for never."""
    partial_deadline_s: float = 1.5
    """Seconds after which a partial is worth nothing."""
    final_deadline_s: float = 1.0
    """Seconds in which a final should be decoded."""
    pin_language_from: float = 0.5
    """Confidence, 0..1, from which a language detected on a final is kept for the channel."""


@dataclass(slots=True)
class _Ending:
    """A final on its way: a guess until it has a reason."""

    stretch: Stretch
    request: int
    window: Window
    lead: Lead
    """Earlier speech in front of the window's own."""
    told: Told
    """Itself, as what may lead later speech."""
    reason: EndReason | None = None
    hypothesis: Hypothesis | None = None
    stand_in: Hypothesis | None = None
    tries: int = 1


@dataclass(frozen=True, slots=True)
class _Asked:
    """A partial on its way."""

    request: int
    end: int
    """Sample behind its window."""
    lead: Lead
    """Earlier speech in front of the window's own: where it was begun as a final."""


class Channel:
    """One side of a call.

    Args:
        index: The channel's number.
        spec: The call it belongs to.
        settings: Tuning.
        progress: How far the channel is final already, where a call is resumed.
        epoch: Of the owner, for its records.
        next_request: Gives numbers for decode requests, unique within the call.
        clock: What its media clock remembers, where the call is heard from its middle on.
    """

    def __init__(
        self,
        index: int,
        spec: CallSpec,
        *,
        settings: ChannelSettings,
        progress: ChannelProgress,
        epoch: int,
        next_request: Callable[[], int],
        clock: ClockState = NEW_CLOCK,
    ) -> None:
        self.ear = Ear(spec.side_encoding, spec.audio.rate, settings.n_mels, settings.max_gap_s, clock)
        self._index = index
        self._spec = spec
        self._settings = settings
        self._windows = settings.windows  # until a rung says otherwise
        self._final_beam = settings.final_beam
        self._speculate = True
        self._next_request = next_request
        self._scribe = Scribe(index, spec, epoch, progress, settings.pin_language_from)
        endpoint = settings.endpoint
        if spec.endpoint_ms is not None:
            endpoint = replace(endpoint, endpoint_ms=spec.endpoint_ms, unfinished_ms=spec.endpoint_ms)
        self._endpointer = Endpointer(endpoint, self.ear.start)
        self._levels: deque[float] = deque()  # mean squares of frames that wait for their probability
        self._arrivals: deque[tuple[int, float]] = deque()  # (samples heard, when)
        self._utterance: Utterance | None = None
        self._newest: Hypothesis | None = None  # of the open utterance
        self._partial: _Asked | None = None
        self._guess: _Ending | None = None
        self._owed: deque[_Ending | str] = deque()  # finals, and markers of requests that wait for those before them
        self._spoken_for = progress.done_to  # end of the newest final, out or owed
        self._leads = Leads()
        self._barriers: deque[tuple[int, str | None]] = deque()  # (samples to be judged first, marker or None)

    @property
    def idle(self) -> bool:
        """Whether nothing is owed: all audio is judged and every final is out."""
        return not (self._levels or self._owed or self._barriers)

    def hear(self, codes: Codes, position: int, now: float) -> list[Effect]:
        """Take a chunk of audio.

        Args:
            codes: Mono, the call's own rate, encoded as ``CallSpec.side_encoding`` says, shape ``(n, sample_bytes)``.
            position: Media clock of its first sample at that rate, or ``UNTIMED``.
            now: Monotonic seconds.
        """
        frames = self.ear.hear(codes, position)
        self._arrivals.append((self.ear.samples, now))
        return self._score(frames)

    def pace(self, rung: Rung) -> None:
        """Cut windows by a rung of the ladder from here on; the models are the devices' affair."""
        self._windows = self._settings.windows.at(rung)
        self._final_beam = rung.beam
        self._speculate = rung.speculate

    def finalize(self, marker: str, now: float) -> list[Effect]:
        """Make all audio heard so far final, then say so."""
        self._barriers.append((self._owed_to(), marker))
        return self._settle(now)

    def end(self, now: float) -> list[Effect]:
        """Take no more audio; what was heard becomes final."""
        effects = self._score(self.ear.finish())
        self._barriers.append((self._owed_to(), None))
        return effects + self._settle(now)

    def rest(self) -> list[Effect]:
        """Hear that no audio comes: if nobody was speaking, all that came is done with."""
        if self._utterance is not None or not self.idle:
            return []
        position = self.ear.clock.position
        heard_to = -(-position * SAMPLE_RATE // self._spec.audio.rate)
        return [Publish(record) for record in self._scribe.rest(-(-heard_to // HOP) * HOP)]

    def judge(self, probabilities: Float32Array, now: float) -> list[Effect]:
        """Take the speech probabilities of frames asked for by ``ScoreSpeech``, in their order; shape ``(k,)``."""
        effects: list[Effect] = []
        for probability in probabilities:
            effects += self._judge_frame(float(probability), now)
            effects += self._settle(now)
        effects += self._want_partial(now)
        self._let_go()
        return effects

    def answer(self, request: int, hypothesis: Hypothesis, now: float) -> list[Effect]:
        """Take a model's answer; one that nobody waits for any more is ignored."""
        asked = self._partial
        if asked is not None and asked.request == request:
            self._partial = None
            return self._show(asked.lead.taken_from(hypothesis), asked.end)
        ending = self._ending(request)
        if ending is None:
            return []
        own = ending.lead.taken_from(hypothesis)
        if ending.lead.samples and not own.words:
            return [self._ask_alone(ending, now)]
        ending.hypothesis = own
        ending.told.text = ending.hypothesis.text
        if ending is not self._guess:
            return self._settle(now)
        self._partial = None  # an answer to it would be older than this one
        effects = self._show(own, ending.stretch.end)
        if ends_a_sentence(own.text) and (stopped := self._endpointer.finished()):
            effects += self._stop(stopped.since, EndReason.ENDPOINT, now) + self._settle(now)
        return effects

    def fail(self, request: int, now: float) -> list[Effect]:
        """Hear that a window was not decoded: it was superseded, or its devices failed.

        A final is asked for again; when that fails too, the newest partial's words stand in for it.
        """
        if self._partial is not None and self._partial.request == request:
            self._partial = None
        ending = self._ending(request)
        if ending is None:
            return []
        if ending.tries < FINAL_TRIES:
            ending.tries += 1
            ending.request = self._next_request()
            return [self._decode(ending.request, ending.window, now, ending.lead)]
        if ending is self._guess:
            self._guess = None
            return []
        ending.hypothesis = ending.stand_in or Hypothesis((), self._scribe.language or "", 0.0, 1.0, "", aligned=False)
        return self._settle(now)

    # --- frames ----------------------------------------------------------------------------------------------------

    def _score(self, frames: Float32Array) -> list[Effect]:
        if not len(frames):
            return []
        self._levels.extend(np.mean(np.square(frames), axis=1).tolist())
        return [ScoreSpeech(self._index, frames)]

    def _owed_to(self) -> int:
        return self._endpointer.scored + len(self._levels) * FRAME_SAMPLES

    def _judge_frame(self, probability: float, now: float) -> list[Effect]:
        boundary = self._endpointer.push(probability)
        level = self._levels.popleft()
        if self._utterance is not None:
            self._utterance.heard(level, self._endpointer.scored)
        match boundary:
            case Began(at):
                return self._begin(at)
            case Hesitated(since):
                return self._hesitate(since, now)
            case Resumed():
                return self._resume()
            case Stopped(since):
                return self._stop(since, EndReason.ENDPOINT, now)
            case None:
                return self._cut_if_long(now)
            case _:
                assert_never(boundary)

    def _begin(self, at: int) -> list[Effect]:
        pre_roll = _samples(self._windows.pre_roll_s)
        start = max(self._spoken_for, self._scribe.done_to, _whole_frames(at - pre_roll))
        self._leads.begin(start, self._windows)
        paused = at - self._spoken_for >= FRAME_SAMPLES  # else what is final ended in mid-speech, as was asked for
        self._open(Utterance(start, self._windows, at if paused else None))
        return [Publish(self._scribe.speech_started(at))]

    def _hesitate(self, since: int, now: float) -> list[Effect]:
        if self._utterance is None or not (self._speculate and self._is_speech(self._utterance, since)):
            return []
        self._guess, effects = self._begin_ending(self._utterance, since, self._endpointer.scored, now)
        self._endpointer.unfinished = True  # until its text says otherwise
        return effects

    def _resume(self) -> list[Effect]:
        if self._guess is not None and self._guess.hypothesis is None:
            guess = self._guess
            self._partial = _Asked(guess.request, guess.stretch.end, guess.lead)  # its answer still serves as a partial
        self._guess = None
        return []

    def _stop(self, since: int, reason: EndReason, now: float) -> list[Effect]:
        """End the utterance; its final is the guess made at the hesitation, or is begun now."""
        effects: list[Effect] = []
        ending, self._guess = self._guess, None
        if ending is None and self._utterance is not None and self._is_speech(self._utterance, since):
            end = min(since + _samples(self._windows.post_roll_s), self._endpointer.scored)
            ending, effects = self._begin_ending(self._utterance, since, end, now)
        if ending is not None:
            self._owe(ending, reason)
        self._open(None)
        return [*effects, Publish(self._scribe.speech_ended(since))]

    def _cut_if_long(self, now: float) -> list[Effect]:
        cut = self._utterance.cut(self._windows.longest_s) if self._utterance is not None else None
        if self._utterance is None or cut is None:
            return []
        ending, effects = self._begin_ending(self._utterance, cut, cut, now)
        self._owe(ending, EndReason.CUT)
        self._open(self._utterance.continued_from(ending.stretch.end))
        return effects

    def _owe(self, ending: _Ending, reason: EndReason) -> None:
        ending.reason = reason
        ending.stand_in = self._newest and _until(self._newest, ending.stretch)
        self._owed.append(ending)
        self._spoken_for = ending.stretch.end
        self._leads.add(ending.told)

    def _open(self, utterance: Utterance | None) -> None:
        self._utterance = utterance
        self._newest = None
        self._partial = None
        self._guess = None
        self._scribe.open_utterance()

    def _is_speech(self, utterance: Utterance, end: int) -> bool:
        """Whether the utterance holds enough speech to decode; none where it all lies before a cut."""
        if self._reachable(end) <= utterance.start:
            return False
        settings, heard = self._settings, self._endpointer
        return heard.voiced_frames * FRAME_MS >= settings.min_voiced_ms and heard.surest >= settings.min_surest

    # --- windows ---------------------------------------------------------------------------------------------------

    def _want_partial(self, now: float) -> list[Effect]:
        utterance, end = self._utterance, self._reachable(self._endpointer.scored)
        if utterance is None or not (self._spec.interim and self._is_speech(utterance, end)):
            return []
        if self._partial is not None or self._guess is not None or not utterance.partial_is_due(end, self._cadence_s()):
            return []
        request = self._next_request()
        self._partial = _Asked(request, end, Lead())
        utterance.decoded_to = end
        window = self._window(utterance.start, end, Kind.PARTIAL, self._draft())
        return [self._decode(request, window, now, Lead())]

    def _cadence_s(self) -> float:
        """Seconds of new audio that the next partial waits for; the first words are what is waited for most."""
        windows = self._windows
        if self._newest is not None and self._newest.words:
            return windows.cadence_s
        at_ease = windows.cadence_s <= self._settings.windows.cadence_s
        return min(windows.cadence_s, windows.wordless_s if at_ease else windows.first_partial_s)

    def _begin_ending(
        self, utterance: Utterance, speech_end: int, end: int, now: float
    ) -> tuple[_Ending, list[Effect]]:
        end = self._reachable(end)
        utterance.decoded_to = end
        lead = self._leads.before(utterance.start, end, self._windows, utterance.onset)
        # behind a lead the model writes the lead's words first
        window = self._window(utterance.start - lead.samples, end, Kind.FINAL, () if lead.samples else self._draft())
        stretch, told = Stretch(utterance.start, end, speech_end), Told(utterance.start, end)
        ending = _Ending(stretch, self._next_request(), window, lead, told)
        return ending, [self._decode(ending.request, window, now, lead)]

    def _ask_alone(self, ending: _Ending, now: float) -> Effect:
        """Ask again for a final of which nothing came back but its lead: the model took both for one."""
        ending.window, ending.lead = ending.window.without(ending.lead.samples // HOP), Lead()
        ending.request = self._next_request()
        return self._decode(ending.request, ending.window, now, ending.lead)

    def _reachable(self, end: int) -> int:
        """How far towards ``end`` a window can reach."""
        return _whole_frames(min(end, self.ear.ready))

    def _draft(self) -> tuple[int, ...]:
        """What the newest hypothesis offers to the next window of the utterance."""
        return self._newest.tokens if self._newest is not None else ()

    def _window(self, start: int, end: int, kind: Kind, draft: tuple[int, ...]) -> Window:
        recent = 0 <= start - self._scribe.done_to < _samples(self._settings.context_s)  # a lead needs no telling
        return Window(
            sound=self.ear.window(start, end),
            kind=kind,
            language=self._scribe.language,
            context=self._scribe.context if recent else "",
            hotwords=self._spec.hotwords,
            model=self._spec.model,
            beam=self._final_beam if kind is Kind.FINAL else 1,
            voice=self._endpointer.voice,
            draft=draft,
        )

    def _decode(self, request: int, window: Window, now: float, lead: Lead) -> Decode:
        settings = self._settings
        patience_s = settings.final_deadline_s if window.kind is Kind.FINAL else settings.partial_deadline_s
        return Decode(self._index, request, window, now + patience_s, lead.samples / SAMPLE_RATE)

    def _ending(self, request: int) -> _Ending | None:
        endings = (ending for ending in (*self._owed, self._guess) if isinstance(ending, _Ending))
        return next((ending for ending in endings if ending.request == request), None)

    # --- text ------------------------------------------------------------------------------------------------------

    def _show(self, hypothesis: Hypothesis, end: int) -> list[Effect]:
        assert self._utterance is not None  # it takes its partial and its guess along when it ends
        self._newest = hypothesis
        show = self._spec.interim and not self._owed
        return [Publish(partial) for partial in self._scribe.partial(hypothesis, self._utterance.start, end, show=show)]

    def _settle(self, now: float) -> list[Effect]:
        """Write what is known, in order: finals, then the answers to requests that waited for them."""
        effects: list[Effect] = []
        while self._barriers and self._barriers[0][0] <= self._endpointer.scored:
            _, marker = self._barriers.popleft()
            if self._utterance is not None:
                reason = EndReason.END if marker is None else EndReason.FINALIZE
                effects += self._stop(min(self._endpointer.speech_end, self.ear.samples), reason, now)
                self._endpointer.reset()
            if marker is not None:
                self._owed.append(marker)
        effects += self._conclude(now)
        if self._utterance is None and not self._owed:
            scored = self._endpointer.scored
            quiet_to = _whole_frames(scored - _samples(self._windows.pre_roll_s + 0.1))
            effects += [Publish(record) for record in self._scribe.silence(quiet_to, scored)]
        return effects

    def _conclude(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._owed:
            match self._owed[0]:
                case str(marker):
                    effects.append(Publish(self._scribe.finalized(marker)))
                case _Ending(hypothesis=Hypothesis() as hypothesis) as ending:
                    latency_s = now - self._arrival(ending.stretch.speech_end, now)
                    reason = ending.reason or EndReason.END
                    records = self._scribe.conclude(hypothesis, ending.stretch, reason, latency_s)
                    effects += [Publish(record) for record in records]
                case _:
                    break
            self._owed.popleft()
        return effects

    def _arrival(self, sample: int, otherwise: float) -> float:
        return next((when for heard, when in self._arrivals if heard >= sample), otherwise)

    def _let_go(self) -> None:
        """Release audio that no window can want any more."""
        needed = self._endpointer.scored - _samples(self._windows.pre_roll_s + 0.5)
        if self._utterance is not None:
            needed = min(needed, self._utterance.start)
        if self._leads.start is not None:
            needed = min(needed, self._leads.start)
        self.ear.release(max(0, needed))
        while len(self._arrivals) > 1 and self._arrivals[0][0] < self._scribe.done_to:
            self._arrivals.popleft()


def _until(hypothesis: Hypothesis, stretch: Stretch) -> Hypothesis:
    """Leave out words behind the stretch: the next final says them."""
    length_s = (stretch.end - stretch.start) / SAMPLE_RATE
    return replace(hypothesis, words=tuple(word for word in hypothesis.words if word.start < length_s))


def _whole_frames(samples: int) -> int:
    """Round down to where a feature frame begins, so that windows abut and words are timed from their first frame."""
    return samples // HOP * HOP


def _samples(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE)
