"""Forms with files."""

from __future__ import annotations

import pytest

from server.apis.forms import read_form
from server.errors import Refusal
from tests.support.dice import dice

TYPE = "multipart/form-data; boundary=XX"
BODY = (
    b'--XX\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="timestamp_granularities[]"\r\n\r\nword\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="timestamp_granularities"\r\n\r\nsegment\r\n'
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a b.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"\x00\r\n--X\r\n\xff\r\n--XX--\r\n"
)


def test_fields_and_files_come_apart_byte_by_byte() -> None:
    """A file may hold anything, even most of the boundary."""
    form = read_form(TYPE, BODY)
    file = form.file("file")
    assert file is not None
    assert (file.filename, file.value) == ("a b.wav", b"\x00\r\n--X\r\n\xff")
    assert form.last("model") == "whisper-1"
    assert form.every("timestamp_granularities") == ["word", "segment"]
    assert form.last("language") is None
    assert form.file("model") is None


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", BODY, 415),
        ("multipart/form-data", BODY, 415),
        ("", BODY, 415),
        (TYPE, b"", 400),
        (TYPE, BODY[:-6], 400),
        (TYPE, b"--XX\r\n\r\nno name\r\n--XX--\r\n", 400),
        (TYPE, b'--XX\r\nContent-Disposition: form-data; name="x"\r\n--XX--\r\n', 400),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes, status: int) -> None:
    """With the status that says which part was wrong."""
    with pytest.raises(Refusal) as refused:
        read_form(content_type, body)
    assert refused.value.status == status


def test_a_broken_form_is_refused_or_read() -> None:
    """Whatever comes, nothing else is raised."""
    chance = dice()
    for _ in range(2000):
        body = bytearray(BODY)
        for _ in range(chance.randint(1, 8)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        del body[chance.randint(len(body) // 2, len(body)) :]
        try:
            read_form(TYPE, bytes(body)).every("model")
        except Refusal as refused:
            assert refused.status == 400  # noqa: PT017 - it may as well be read
