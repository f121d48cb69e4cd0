"""A Whisper model's tokens: what they are called, what they spell, and where words begin.

Whisper's tokens are byte-level BPE: each stands for a few bytes of UTF-8, a character may be spread over several. The
bytes of all tokens are kept in a list, so that splitting a hypothesis into words is a loop over a few lookups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from gpu.errors import ModelDamaged

__all__ = ["Spelled", "Vocabulary"]

TOKENIZER: Final = "tokenizer.json"

UNSPACED: Final = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages written without spaces, where every character counts as a word."""

MARKS: Final = frozenset(b"!\"'),-./:;?]}%")
"""Punctuation that belongs to the word before it."""


@dataclass(frozen=True, slots=True)
class Spelled:
    """A word and the tokens that spell it."""

    text: str
    """Without surrounding space."""
    tokens: tuple[int, ...]


class Vocabulary:
    """Reads the tokenizer of a model folder.

    Args:
        folder: The model's folder.

    Raises:
        ModelDamaged: If the tokenizer is missing or cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        file = folder / TOKENIZER
        if not file.is_file():
            raise ModelDamaged(f"{file} is missing; copy it from the original model's folder")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as problem:  # the library raises no narrower one
            raise ModelDamaged(f"{file} cannot be read; copy it again from the original model's folder") from problem
        self._bytes = [self._spell(token) for token in range(self._tokenizer.get_vocab_size())]
        self.eot = self._special("<|endoftext|>")
        self.sot = self._special("<|startoftranscript|>")
        self.sot_prev = self._special("<|startofprev|>")
        self.transcribe = self._special("<|transcribe|>")
        self.timestamp_begin = self._special("<|notimestamps|>") + 1

    def language(self, code: str) -> int | None:
        """Token of a language, or None if the model has no such language."""
        found: int | None = self._tokenizer.token_to_id(f"<|{code}|>")
        return found

    def code(self, language: int) -> str:
        """Code of a language's token."""
        name: str | None = self._tokenizer.id_to_token(language)
        return (name or "").strip("<|>")

    def encode(self, text: str) -> list[int]:
        """Spell a text in tokens."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens spell; special tokens spell nothing."""
        return b"".join(self._bytes[token] for token in tokens if token < self.eot).decode(errors="replace")

    def words(self, tokens: Sequence[int], language: str) -> list[Spelled]:
        """Split text tokens into words.

        Args:
            tokens: Text tokens, no special ones.
            language: ISO 639-1 code.

        Returns:
            Words in order, none empty; together they hold every token, but those behind the last visible one.
        """
        groups = self._characters(tokens) if language in UNSPACED else self._spaced(tokens)
        words: list[Spelled] = []
        blank: list[int] = []
        for group in groups:
            blank += group
            if text := self.text(blank).strip():
                words.append(Spelled(text, tuple(blank)))
                blank = []
        return words

    def _spaced(self, tokens: Sequence[int]) -> Iterator[list[int]]:
        word: list[int] = []
        for token in tokens:
            spelled = self._bytes[token]
            marks_only = spelled.strip() and set(spelled.strip()) <= MARKS
            if word and spelled.startswith(b" ") and not marks_only:
                yield word
                word = []
            word.append(token)
        if word:
            yield word

    def _characters(self, tokens: Sequence[int]) -> Iterator[list[int]]:
        word: list[int] = []
        for token in tokens:
            word.append(token)
            if "\ufffd" not in self.text(word):
                yield word
                word = []
        if word:
            yield word

    def _spell(self, token: int) -> bytes:
        piece: str | None = self._tokenizer.id_to_token(token)
        return bytes(_BYTE_OF.get(character, 0x3F) for character in piece or "")

    def _special(self, name: str) -> int:
        found: int | None = self._tokenizer.token_to_id(name)
        if found is None:
            raise ModelDamaged(f"the tokenizer has no token {name}: this is not a Whisper model")
        return found


def _byte_table() -> dict[str, int]:
    """Byte-level BPE's alphabet: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}


_BYTE_OF: Final = _byte_table()
