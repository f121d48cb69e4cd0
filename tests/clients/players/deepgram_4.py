"""deepgram-sdk, version 4: another programming interface."""

from __future__ import annotations

from _play import Job, play
from deepgram import DeepgramClient, DeepgramClientOptions, LiveOptions, LiveTranscriptionEvents


async def player(job: Job) -> None:
    client = DeepgramClient("any", DeepgramClientOptions(url=f"http://127.0.0.1:{job.port}"))
    connection = client.listen.asyncwebsocket.v("1")

    async def heard(_self: object, result: object, **_more: object) -> None:
        text = result.channel.alternatives[0].transcript
        (job.finals if result.is_final else job.partials).append(text)

    connection.on(LiveTranscriptionEvents.Transcript, heard)
    options = LiveOptions(model="nova-2", encoding="linear16", sample_rate=job.rate, channels=1, interim_results=True)
    assert await connection.start(options)
    async for piece in job.live():
        await connection.send(piece)
    await connection.finish()
    job.report("deepgram-sdk", "live results")


play(player)
