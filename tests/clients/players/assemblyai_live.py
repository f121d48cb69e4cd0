"""assemblyai's streaming client, version 3 of the protocol."""

from __future__ import annotations

from _play import Job, play
from assemblyai.streaming.v3 import (
    AsyncStreamingClient,
    StreamingClientOptions,
    StreamingEvents,
    StreamingParameters,
)


async def player(job: Job) -> None:
    client = AsyncStreamingClient(StreamingClientOptions(api_host=f"ws://127.0.0.1:{job.port}", api_key="any"))
    kinds = []

    async def heard(_client: object, event: object) -> None:
        kinds.append(event.type)
        if event.type == "Turn":
            text = " ".join(word.text for word in event.words)
            (job.finals if event.end_of_turn else job.partials).append(text)

    for kind in (StreamingEvents.Begin, StreamingEvents.Turn, StreamingEvents.Termination):
        client.on(kind, heard)
    await client.connect(StreamingParameters(sample_rate=job.rate, format_turns=True))
    async for piece in job.live():
        await client.stream(piece)
    await client.disconnect(terminate=True)
    assert (kinds[0], kinds[-1]) == ("Begin", "Termination"), kinds
    job.report("assemblyai", "Begin, turns, Termination")


play(player)
