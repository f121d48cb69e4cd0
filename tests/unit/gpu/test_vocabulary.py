"""Tokens and words of the real tokenizers, where they are installed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gpu.errors import ModelDamaged, ModelNotFound
from gpu.models import ModelStore
from gpu.vocabulary import Vocabulary

SENTENCES = (
    " Hello, I'm here at 10:30 pm.",
    " ¿Qué tal, señor? Ça va d'accord...",
    " 你好\uff0c世界",
    " 東京は晴れです。",
    " Ağaçta hava güzel mi?",
)


@cache
def read(name: str) -> Vocabulary:
    return Vocabulary(ModelStore().find(name))


@pytest.fixture(params=["tiny.en", "base"])
def vocabulary(request: pytest.FixtureRequest) -> Iterator[Vocabulary]:
    try:
        yield read(request.param)
    except ModelNotFound as problem:
        pytest.skip(str(problem))


@pytest.mark.parametrize("text", SENTENCES)
def test_text_survives_the_way_through_tokens(vocabulary: Vocabulary, text: str) -> None:
    assert vocabulary.text(vocabulary.encode(text)) == text


@pytest.mark.parametrize("text", SENTENCES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_words_hold_all_tokens_in_order(vocabulary: Vocabulary, text: str, language: str) -> None:
    """Times and confidences of words are read off their tokens."""
    tokens = vocabulary.encode(text)
    words = vocabulary.words(tokens, language)
    assert [token for word in words for token in word.tokens] == tokens


def test_blanks_are_no_words(vocabulary: Vocabulary) -> None:
    blank = vocabulary.encode(" ")
    assert vocabulary.words(blank, "en") == []
    assert [word.text for word in vocabulary.words([*blank, *blank, *vocabulary.encode(" so"), *blank], "en")] == ["so"]


def test_a_character_cut_in_two_is_a_word_of_its_own(vocabulary: Vocabulary) -> None:
    """A decode can stop between the bytes of a character."""
    tokens = vocabulary.encode("\u9f98")
    assert [word.tokens for word in vocabulary.words(tokens[:-1], "zh")] == [tuple(tokens[:-1])]


def test_punctuation_stays_with_its_word(vocabulary: Vocabulary) -> None:
    words = vocabulary.words(vocabulary.encode(SENTENCES[0]), "en")
    assert [word.text for word in words] == ["Hello,", "I'm", "here", "at", "10:30", "pm."]
    words = vocabulary.words(vocabulary.encode(SENTENCES[1]), "es")
    assert [word.text for word in words] == ["¿Qué", "tal,", "señor?", "Ça", "va", "d'accord..."]


def test_languages_without_spaces_are_split_between_characters(vocabulary: Vocabulary) -> None:
    words = [word.text for word in vocabulary.words(vocabulary.encode(SENTENCES[2]), "zh")]
    assert "".join(words) == "你好\uff0c世界"
    assert len(words) > 2


def test_special_tokens_spell_nothing(vocabulary: Vocabulary) -> None:
    assert vocabulary.text([vocabulary.sot, vocabulary.timestamp_begin + 7, vocabulary.eot]) == ""
    assert vocabulary.eot < vocabulary.sot < vocabulary.timestamp_begin
    assert vocabulary.language("en") == vocabulary.sot + 1
    assert vocabulary.language("tlh") is None


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json is missing"):
        Vocabulary(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json cannot be read"):
        Vocabulary(tmp_path)


def test_a_tokenizer_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}')
    with pytest.raises(ModelDamaged, match="not a Whisper model"):
        Vocabulary(tmp_path)
