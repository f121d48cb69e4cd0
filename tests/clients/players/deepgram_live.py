"""deepgram-sdk, version 5 and newer."""

from __future__ import annotations

import asyncio

from _play import Job, play
from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment


async def player(job: Job) -> None:
    ws, web = f"ws://127.0.0.1:{job.port}", f"http://127.0.0.1:{job.port}"
    environment = DeepgramClientEnvironment(base=web, production=ws, agent=ws, **_more(web))
    client = AsyncDeepgramClient(api_key="any", environment=environment)
    metadata = []

    def heard(message: object) -> None:
        if getattr(message, "type", "") == "Metadata":
            metadata.append(message)
        if getattr(message, "type", "") == "Results":
            text = message.channel.alternatives[0].transcript
            (job.finals if message.is_final else job.partials).append(text)

    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=job.rate, interim_results=True
    ) as connection:
        connection.on(EventType.MESSAGE, heard)
        listening = asyncio.create_task(connection.start_listening())
        async for piece in job.live():
            await connection.send_media(piece)
        await _close(connection)
        await listening
    assert metadata, "no Metadata came"
    with open(job.path, "rb") as file:
        whole = await client.listen.v1.media.transcribe_file(request=file.read(), model="nova-3")
    assert whole.results.channels[0].alternatives[0].transcript
    job.report("deepgram-sdk", "live results, Metadata, POST /v1/listen")


async def _close(connection: object) -> None:
    if hasattr(connection, "send_close_stream"):
        await connection.send_close_stream()
    else:  # version 5
        from deepgram.extensions.types.sockets import ListenV1ControlMessage

        await connection.send_control(ListenV1ControlMessage(type="CloseStream"))


def _more(web: str) -> dict[str, str]:
    return {"agent_rest": web} if "agent_rest" in DeepgramClientEnvironment.__init__.__annotations__ else {}


play(player)
