"""wyoming, as Home Assistant uses it."""

from __future__ import annotations

from _play import Job, play
from wyoming.asr import Transcript, TranscriptChunk
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncClient
from wyoming.info import Describe, Info


async def player(job: Job) -> None:
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{job.wyoming_port}") as client:
        await client.write_event(Describe().event())
        assert Info.from_event(await client.read_event()).asr
    async with AsyncClient.from_uri(f"tcp://127.0.0.1:{job.wyoming_port}") as client:
        await client.write_event(AudioStart(rate=job.rate, width=2, channels=1).event())
        async for piece in job.live():
            await client.write_event(AudioChunk(job.rate, 2, 1, piece).event())
        await client.write_event(AudioStop().event())
        while (event := await client.read_event()) is not None:
            if TranscriptChunk.is_type(event.type):
                job.partials.append(TranscriptChunk.from_event(event).text)
            if Transcript.is_type(event.type):
                job.finals.append(Transcript.from_event(event).text)
    job.report("wyoming", "describe, pieces, transcript")


play(player)
