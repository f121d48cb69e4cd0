"""whisper-live-client, whose socket runs in a thread of its own."""

from __future__ import annotations

import asyncio

import numpy as np
from _play import Job, play
from whisper_live.client import Client


async def player(job: Job) -> None:
    client = Client("127.0.0.1", job.port, lang="en", log_transcription=False)

    def heard(segments: list[dict[str, object]]) -> None:
        job.partials.append(str(segments[-1]["text"]))

    client.register_callback("process_segments", heard)
    while not client.recording:
        await asyncio.sleep(0.01)
    async for piece in job.live():
        samples = np.frombuffer(piece, "<i2").astype(np.float32) / 32_768
        client.send_packet_to_server(samples.tobytes())
    client.send_packet_to_server(Client.END_OF_AUDIO.encode())
    while client.recording:
        await asyncio.sleep(0.01)
    job.finals += [str(segment["text"]) for segment in client.transcript]
    client.close_websocket()
    job.report("whisper-live-client", "SERVER_READY, segments, DISCONNECT")


play(player)
