"""How well calls are served, from the settings to the core's plain numbers."""

from __future__ import annotations

from typing import Final

from server.errors import BadSetting
from server.settings import LadderRung, Settings, Speech
from streaming.channel import ChannelSettings
from streaming.endpoint import EndpointSettings
from streaming.ladder import Ladder, Rung, stretched
from streaming.utterance import WindowSettings

GREEDY: Final = ("torch",)
"""Engines that keep one hypothesis alone."""

CAREFUL_BEAM: Final = 5
"""What finals are decoded with where nothing is set and the engine can."""


def quality_ladder(settings: Settings) -> Ladder:
    """Make the ladder: as set, or of the one or two models there are.

    Raises:
        BadSetting: If two rungs in a row are the same, one has a beam that the engine cannot keep, or one is promised
            that is not there.
    """
    ladder = _ladder(settings)
    last = len(ladder) - 1
    if settings.ladder.promised > last:
        raise BadSetting(f"ladder.promised is {settings.ladder.promised}, and the last rung, counted from 0, is {last}")
    greedy = settings.devices.engine in GREEDY
    for number, rung in enumerate(ladder):
        if greedy and rung.beam > 1:
            where = f"rung {number} of ladder.rungs" if settings.ladder.rungs else "models.final_beam"
            raise BadSetting(
                f"{where} asks for a beam of {rung.beam}, and the engine {settings.devices.engine} decodes greedily; "
                "set it to 1, or devices.engine to whisper"
            )
    return ladder


def _ladder(settings: Settings) -> Ladder:
    best = Rung(
        partial_model=settings.models.partial or settings.models.final,
        final_model=settings.models.final,
        cadence_s=settings.speech.cadence_s,
        beam=settings.models.final_beam or (1 if settings.devices.engine in GREEDY else CAREFUL_BEAM),
        lead_s=settings.speech.lead_s,
        longest_s=settings.speech.longest_s,
    )
    if not settings.ladder.rungs:
        return stretched(best)
    try:
        return Ladder(tuple(_rung(each, best) for each in settings.ladder.rungs))
    except ValueError as problem:
        raise BadSetting(f"ladder.rungs: {problem}") from problem


def _rung(given: LadderRung, best: Rung) -> Rung:
    """Fill in what a rung leaves open; partials without a model of their own are written by that of its finals."""
    final = given.final or best.final_model
    return Rung(
        partial_model=given.partial or (final if given.final else best.partial_model),
        final_model=final,
        cadence_s=given.cadence_s or best.cadence_s,
        beam=given.beam or best.beam,
        lead_s=best.lead_s if given.lead_s is None else given.lead_s,
        longest_s=given.longest_s or best.longest_s,
        speculate=given.speculate,
    )


def channel_settings(speech: Speech, final_beam: int, n_mels: int | None) -> ChannelSettings:
    """Hand the settings to the core as plain numbers."""
    endpoint = EndpointSettings(
        start_threshold=speech.start_threshold,
        stop_threshold=speech.stop_threshold,
        hesitation_ms=speech.hesitation_ms,
        unfinished_ms=speech.unfinished_ms,
        endpoint_ms=speech.endpoint_ms,
    )
    windows = WindowSettings(
        first_partial_s=speech.first_partial_s,
        cadence_s=speech.cadence_s,
        lead_s=speech.lead_s,
        longest_s=speech.longest_s,
    )
    return ChannelSettings(
        endpoint=endpoint, windows=windows, final_beam=final_beam, n_mels=n_mels, max_gap_s=speech.max_gap_s
    )
