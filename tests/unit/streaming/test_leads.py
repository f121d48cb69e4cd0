"""Earlier speech in front of a window: how much of it, and whose the words are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streaming.call import SAMPLE_RATE
from streaming.decoding import Hypothesis, Word
from streaming.leads import Lead, Leads, Told
from streaming.utterance import WindowSettings

SETTINGS = WindowSettings(lead_s=5.0, led_s=10.0, lead_pause_s=1.5)


def told(start_s: float, end_s: float, text: str = "") -> Told:
    return Told(samples(start_s), samples(end_s), text)


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def heard(*words: tuple[str, float, float]) -> Hypothesis:
    timed = tuple(Word(text, start, end, 0.9) for text, start, end in words)
    return Hypothesis(timed, "en", 1.0, 0.1, "scripted", aligned=True)


def test_nothing_leads_where_nothing_was_said() -> None:
    """The first words of a call stand alone."""
    leads = Leads()
    leads.begin(samples(2), SETTINGS)

    assert leads.start is None
    assert leads.before(samples(2), samples(4), SETTINGS) == Lead()


def test_whole_finals_lead_as_far_back_as_allowed() -> None:
    """Half a final would begin in the middle of a word."""
    leads = Leads()
    for stretch in (told(0, 1.5), told(2, 3), told(3.5, 6)):
        leads.add(stretch)
    leads.begin(samples(6.5), SETTINGS)

    assert leads.start == samples(2)
    assert leads.before(samples(6.5), samples(8), SETTINGS) == Lead(samples(4.5), told(3.5, 6))


def test_a_window_that_is_long_by_itself_gets_less_of_a_lead_or_none() -> None:
    """What is long needs no help, and every second of it costs time while the caller waits."""
    leads = Leads()
    for stretch in (told(0, 1.5), told(2, 3)):
        leads.add(stretch)
    leads.begin(samples(3.5), SETTINGS)

    assert leads.before(samples(3.5), samples(11.5), SETTINGS).samples == samples(1.5)
    assert leads.before(samples(3.5), samples(12.5), SETTINGS) == Lead()


def test_a_long_pause_ends_what_leads() -> None:
    """What was said before a silence says little about what comes after it."""
    leads = Leads()
    leads.add(told(0, 1))
    leads.begin(samples(2.6), SETTINGS)

    assert leads.start is None


def test_words_of_the_lead_are_dropped_and_the_others_timed_from_the_window() -> None:
    """They are written already."""
    lead = Lead(samples(2), told(0, 1.5, "good morning"))

    said = heard(("Good", 0.1, 0.5), ("morning,", 0.5, 1.4), ("who", 2.25, 2.5), ("calls?", 2.5, 3.0))

    own = lead.taken_from(replace(said, tokens=(1, 2, 3, 4)))

    assert own.tokens == ()
    assert [(word.text, word.start, word.end) for word in own.words] == [("who", 0.25, 0.5), ("calls?", 0.5, 1.0)]


def test_the_last_word_of_the_lead_placed_a_little_late_is_still_its_own() -> None:
    """An alignment may be off by a fifth of a second; the word would be written twice."""
    lead = Lead(samples(2), told(0, 2, "good morning"))

    own = lead.taken_from(heard(("good", 0.5, 0.9), ("Morning.", 1.9, 2.3), ("Who?", 2.5, 3.0)))

    assert own.text == "Who?"


def test_a_word_said_again_later_is_kept() -> None:
    """People do repeat themselves."""
    lead = Lead(samples(2), told(0, 2, "no"))

    assert lead.taken_from(heard(("no", 0.5, 0.9), ("No.", 2.5, 3.0))).text == "No."


def test_a_word_that_begins_with_the_new_speech_is_kept_though_the_lead_ended_with_it() -> None:
    """ "Yes." "Yes, please." are three words, even if the model passes over the first of them this time."""
    lead = Lead(samples(2), told(0, 1.6, "yes"), quiet=samples(0.2))

    assert lead.taken_from(heard(("Yes,", 2.2, 2.5), ("please.", 2.5, 3.0))).text == "Yes, please."


def test_a_word_that_begins_before_the_new_speech_is_the_last_of_the_lead() -> None:
    """Nobody spoke yet where it was placed."""
    lead = Lead(samples(2), told(0, 1.6, "good morning"), quiet=samples(0.3))

    own = lead.taken_from(heard(("good", 0.5, 0.9), ("Morning.", 2.25, 2.35), ("Who?", 2.5, 3.0)))

    assert own.text == "Who?"


@pytest.mark.parametrize("quiet", [None, samples(0.3)])
def test_a_word_is_kept_where_the_last_of_the_lead_was_heard_before_it(quiet: int | None) -> None:
    """An alignment may place it in the pause; heard twice, it was said twice."""
    lead = Lead(samples(2), told(0, 1.6, "oh yes"), quiet)

    own = lead.taken_from(heard(("Oh,", 0.5, 0.9), ("yes.", 0.9, 1.3), ("Yes,", 1.9, 2.5), ("please.", 2.5, 3.0)))

    assert own.text == "Yes, please."


def test_a_lead_that_ended_with_a_word_twice_may_come_back_with_one_of_them_late() -> None:
    """It is written twice already; a third would be one too many."""
    lead = Lead(samples(2), told(0, 2, "no no"))

    assert lead.taken_from(heard(("no", 0.5, 0.9), ("no", 2.0, 2.3), ("thanks", 2.4, 2.9))).text == "thanks"


def test_speech_behind_a_pause_is_quiet_up_to_its_onset() -> None:
    """The window begins before the first frame of speech; behind a cut, nobody paused."""
    leads = Leads()
    leads.add(told(0, 1.5))

    assert leads.before(samples(2), samples(4), SETTINGS, onset=samples(2.3)).quiet == samples(0.3)
    assert leads.before(samples(1.5), samples(4), SETTINGS).quiet is None


def test_a_lead_whose_text_is_not_known_yet_is_cut_by_time_alone() -> None:
    """Its final may still be on its way; the text of an older one says nothing about the words here."""
    lead = Lead(samples(2), told(0, 2))

    assert lead.taken_from(heard(("no", 0.5, 0.9), ("no", 2.1, 2.4))).text == "no"


def test_without_a_lead_nothing_is_touched() -> None:
    hypothesis = heard(("yes", 0.1, 0.3))

    assert Lead().taken_from(hypothesis) is hypothesis
