"""openai: Realtime sessions and files."""

from __future__ import annotations

import asyncio
import base64

from _play import Job, play
from openai import AsyncOpenAI

DONE = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"

QUIET_S = 4.0
"""Seconds without an event after which all of them came: these sessions have no end of their own."""


async def player(job: Job) -> None:
    client = AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{job.port}/v1")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        wished = {"format": {"type": "audio/pcm", "rate": job.rate}, "transcription": {"model": "whisper-1"}}
        await connection.session.update(session={"type": "transcription", "audio": {"input": wished}})

        async def send() -> None:
            async for piece in job.live():
                await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())

        sending = asyncio.create_task(send())
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    event = await connection.recv()
            except TimeoutError:
                break
            assert event.type != "error", event
            if event.type == DELTA:
                job.partials.append(event.delta)
            if event.type == DONE:
                job.finals.append(event.transcript)
        await sending
    with open(job.path, "rb") as file:
        told = await client.audio.transcriptions.create(file=file, model="whisper-1", response_format="verbose_json")
    assert told.segments
    with open(job.path, "rb") as file:
        stream = await client.audio.transcriptions.create(file=file, model="whisper-1", stream=True)
        events = [event async for event in stream]
    assert events[-1].text
    assert [model async for model in client.models.list()]
    job.report("openai", "realtime deltas and turns, file verbose_json, file stream, models")


play(player)
