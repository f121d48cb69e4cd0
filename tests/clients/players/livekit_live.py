"""livekit-plugins-deepgram and livekit-plugins-openai (Realtime): which one is the fourth argument."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from _play import Job, play
from livekit import rtc
from livekit.agents import stt
from livekit.plugins import deepgram, openai

QUIET_S = 4.0
"""Seconds without an event after which all of them came: its Realtime stream has no end."""


async def player(job: Job) -> None:
    which = sys.argv[4]
    async with aiohttp.ClientSession() as session:
        if which == "deepgram":
            url = f"http://127.0.0.1:{job.port}/v1/listen"
            made = deepgram.STT(base_url=url, api_key="any", http_session=session, sample_rate=job.rate)
        else:
            made = openai.STT(base_url=f"http://127.0.0.1:{job.port}/v1", api_key="any", use_realtime=True)
            made._session = session
        stream = made.stream()

        async def send() -> None:
            async for piece in job.live():
                stream.push_frame(rtc.AudioFrame(piece, job.rate, 1, len(piece) // 2))
            stream.end_input()

        sending = asyncio.create_task(send())
        events = stream.__aiter__()
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    event = await events.__anext__()
            except (TimeoutError, StopAsyncIteration):
                break
            if event.type == stt.SpeechEventType.INTERIM_TRANSCRIPT:
                job.partials.append(event.alternatives[0].text)
            if event.type == stt.SpeechEventType.FINAL_TRANSCRIPT:
                job.finals.append(event.alternatives[0].text)
        await sending
        job.report(f"livekit-plugins-{which}", "interim and final transcripts")
        await stream.aclose()


play(player)
