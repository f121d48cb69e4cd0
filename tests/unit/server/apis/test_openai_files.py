"""What a form asks for, and what the answer says."""

from __future__ import annotations

import json

import pytest

from server.apis.forms import Field, Form
from server.apis.openai_files import Asked, Format, models_page, read_asked, render
from server.errors import Refusal
from server.transcriber import Wishes
from tests.support.dialects import final


def form(*pairs: tuple[str, str]) -> Form:
    return Form([Field("file", b"sound", "a.wav"), *(Field(name, value.encode()) for name, value in pairs)])


def test_a_file_alone_is_enough() -> None:
    """Everything else has a default."""
    assert read_asked(form(), ()) == Asked(b"sound", Format.JSON, False, False, True, Wishes())


def test_everything_asked_for_is_read() -> None:
    """Lists come with brackets or without."""
    asked = read_asked(
        form(
            ("model", "tiny.en"),
            ("language", "en-GB"),
            ("prompt", "Trunkline"),
            ("keywords[]", "Ada"),
            ("response_format", "verbose_json"),
            ("timestamp_granularities[]", "word"),
            ("stream", "true"),
            ("temperature", "0.2"),
        ),
        ("tiny.en",),
    )
    assert asked == Asked(b"sound", Format.VERBOSE, True, True, False, Wishes("en", ("Ada", "Trunkline"), "tiny.en"))
    assert read_asked(form(("languages[]", "fr"), ("model", "whisper-1")), ("tiny.en",)).wishes == Wishes("fr")
    assert read_asked(form(("languages[]", "fr"), ("languages[]", "de")), ()).wishes.language is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("response_format", "docx", "invalid_value"),
        ("timestamp_granularities[]", "letter", "invalid_value"),
        ("language", "?", "invalid_language"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: str, code: str) -> None:
    """Silence would look like success."""
    with pytest.raises(Refusal) as refused:
        read_asked(form((name, value)), ())
    assert (refused.value.status, refused.value.code) == (400, code)


def test_a_form_without_a_file_is_refused() -> None:
    """A common mistake: the file as text."""
    with pytest.raises(Refusal) as refused:
        read_asked(Form([Field("file", b"sound")]), ())
    assert refused.value.code == "missing_required_parameter"


def shown(chosen: Format, *, words: bool = False) -> dict[str, object]:
    finals = [final("you too", 2.0, 3.0, channel=1), final("good morning", 0.0, 1.0)]
    told: dict[str, object] = json.loads(render(Asked(b"", chosen, False, words, True, Wishes()), finals, 3.2)[1])
    return told


def test_answers_are_in_the_order_of_time_whatever_side_was_done_first() -> None:
    """Sides become final one by one."""
    assert shown(Format.JSON) == {"text": "good morning you too", "usage": {"type": "duration", "seconds": 4}}
    diarized = shown(Format.DIARIZED)
    assert diarized["segments"] == [
        {
            "type": "transcript.text.segment",
            "id": "seg_0",
            "start": 0.0,
            "end": 1.0,
            "text": "good morning",
            "speaker": "channel_0",
        },
        {
            "type": "transcript.text.segment",
            "id": "seg_1",
            "start": 2.0,
            "end": 3.0,
            "text": "you too",
            "speaker": "channel_1",
        },
    ]


def test_verbose_answers_have_what_libraries_index() -> None:
    """Whisper's own fields, though a streaming engine has no use for some."""
    told = shown(Format.VERBOSE, words=True)
    assert (told["task"], told["language"], told["duration"]) == ("transcribe", "english", 3.2)
    assert told["words"] == [
        {"word": "good", "start": 0.0, "end": 0.5},
        {"word": "morning", "start": 0.5, "end": 1.0},
        {"word": "you", "start": 2.0, "end": 2.5},
        {"word": "too", "start": 2.5, "end": 3.0},
    ]
    nothing = json.loads(render(Asked(b"", Format.VERBOSE, False, True, False, Wishes("sw")), [], 1.0)[1])
    assert (nothing["language"], nothing["text"], "segments" in nothing) == ("sw", "", False)


def test_the_models_are_listed_as_clients_expect() -> None:
    """User interfaces fill a menu with it."""
    assert json.loads(models_page(["tiny.en"])[2]) == {
        "object": "list",
        "data": [{"id": "tiny.en", "object": "model", "created": 0, "owned_by": "trunkline"}],
    }
