"""The official deepgram-sdk, unmodified, against the gateway."""

from __future__ import annotations

import pytest

from tests.support.deepgram_sdk import (
    ApiError,
    Heard,
    ListenV1Metadata,
    ListenV1SpeechStarted,
    client,
    media,
    transcript,
)
from tests.support.gateways import SECOND, running, settings
from tests.support.sound import tone


async def test_interim_and_final_results_reach_the_sdk_and_tile_the_audio() -> None:
    """A client that was written for Deepgram gets what it expects, in the order and with the times it expects."""
    async with (
        running() as served,
        client(served).listen.v1.connect(
            model="nova-3", encoding="mulaw", sample_rate=8000, interim_results=True, vad_events=True
        ) as connection,
    ):
        heard = Heard(connection)
        for _ in range(5):
            await connection.send_media(SECOND[:4000])
            await connection.send_keep_alive()
        await heard.until(2)
        await connection.send_close_stream()
        await heard.listening

    assert any(not result.is_final for result in heard.results)
    assert [transcript(result) for result in heard.finals] == ["word0", "word1", "word2"]
    ends = 0.0
    for result in heard.finals:
        assert result.start == ends
        ends = result.start + result.duration
    assert ends == 2.5
    assert [result.speech_final for result in heard.finals] == [True, True, True]
    assert isinstance(heard.messages[0], ListenV1SpeechStarted)
    last = heard.messages[-1]
    assert isinstance(last, ListenV1Metadata)
    assert (last.duration, last.channels) == (2.5, 1)
    assert None not in heard.messages


async def test_without_interim_results_only_finals_come() -> None:
    """Interims nobody asked for would be taken for text."""
    async with (
        running() as served,
        client(served).listen.v1.connect(model="nova-3", encoding="mulaw", sample_rate=8000) as connection,
    ):
        heard = Heard(connection)
        await connection.send_media(SECOND + SECOND[:4000])
        await connection.send_close_stream()
        await heard.listening

    assert all(result.is_final for result in heard.results)


async def test_channels_are_told_apart_only_where_multichannel_is_asked() -> None:
    """Two channels without multichannel are one conversation on one track."""
    async with running() as served:
        for multichannel, expected in ((True, [[0, 2], [1, 2]]), (False, [[0, 1]])):
            async with client(served).listen.v1.connect(
                model="nova-3", encoding="mulaw", sample_rate=8000, channels=2, multichannel=multichannel
            ) as connection:
                heard = Heard(connection)
                await connection.send_media(SECOND + SECOND)
                await connection.send_close_stream()
                await heard.listening
                assert [result.channel_index for result in heard.finals] == expected


async def test_finalize_is_answered_even_if_nothing_was_said() -> None:
    """Voice agents wait for this answer before they speak."""
    async with (
        running() as served,
        client(served).listen.v1.connect(model="nova-3", encoding="mulaw", sample_rate=8000) as connection,
    ):
        heard = Heard(connection)
        await connection.send_media(SECOND[:4000])
        await connection.send_finalize()
        await heard.until(1)
        await connection.send_finalize()
        await heard.until(2)
        await connection.send_close_stream()
        await heard.listening

    assert [(transcript(result), result.from_finalize) for result in heard.finals] == [("word0", True), ("", True)]


async def test_recordings_are_transcribed_by_channel() -> None:
    """The SDK's other half: a file in, all of its words out."""
    async with running() as served:
        recordings = media(served)
        told = await recordings.transcribe_file(request=tone(2.5, 44_100, 2), model="nova-3", multichannel=True)
        channels = told.results.channels
        assert [side.alternatives[0].transcript for side in channels] == ["word0 word1 word2"] * 2
        assert (told.metadata.duration, told.metadata.channels) == (2.5, 2)
        raw = await recordings.transcribe_file(
            request=SECOND, encoding="mulaw", request_options={"additional_query_parameters": {"sample_rate": 8000}}
        )
        assert raw.results.channels[0].alternatives[0].transcript == "word0"
        listed = await recordings.transcribe_file(request=tone(1.5), utterances=True)
        assert [utterance.transcript for utterance in listed.results.utterances] == ["word0", "word1"]
        with pytest.raises(ApiError) as refused:
            await recordings.transcribe_file(request=b"no sound", model="nova-3")
        assert refused.value.status_code == 400
        with pytest.raises(ApiError):
            await recordings.transcribe_url(url="https://example.com/a.wav", model="nova-3")


async def test_a_bad_key_is_refused_before_the_upgrade() -> None:
    """The SDK reports the status, so the status must be right."""
    async with running(settings(auth__keys='{acme = ["good"]}')) as served:
        with pytest.raises(ApiError) as refused:
            async with client(served, "bad").listen.v1.connect(model="nova-3", encoding="mulaw", sample_rate=8000):
                pass
        assert refused.value.status_code == 401
        async with client(served, "good").listen.v1.connect(
            model="nova-3", encoding="mulaw", sample_rate=8000
        ) as connection:
            heard = Heard(connection)
            await connection.send_close_stream()
            await heard.listening
        assert isinstance(heard.messages[-1], ListenV1Metadata)
