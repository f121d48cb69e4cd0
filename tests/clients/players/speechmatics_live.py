"""speechmatics-rt."""

from __future__ import annotations

from _play import Job, play
from speechmatics.rt import AsyncClient, AudioEncoding, AudioFormat, ServerMessageType, TranscriptionConfig


async def player(job: Job) -> None:
    async with AsyncClient(api_key="any", url=f"ws://127.0.0.1:{job.port}/v2") as client:
        client.on(ServerMessageType.ADD_TRANSCRIPT, lambda told: job.finals.append(told["metadata"]["transcript"]))
        client.on(
            ServerMessageType.ADD_PARTIAL_TRANSCRIPT, lambda told: job.partials.append(told["metadata"]["transcript"])
        )
        await client.start_session(
            transcription_config=TranscriptionConfig(language="en", enable_partials=True),
            audio_format=AudioFormat(encoding=AudioEncoding.PCM_S16LE, sample_rate=job.rate),
        )
        async for piece in job.live():
            await client.send_audio(piece)
        await client.stop_session()
    job.report("speechmatics-rt", "RecognitionStarted, transcripts, EndOfTranscript")


play(player)
