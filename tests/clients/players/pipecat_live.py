"""pipecat's Deepgram and OpenAI Realtime services: which one is the fourth argument."""

from __future__ import annotations

import asyncio
import sys

from _play import Job, play
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineParams, PipelineTask
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


class Keep(FrameProcessor):
    """The end of the pipeline."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._job = job

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InterimTranscriptionFrame):
            self._job.partials.append(frame.text)
        if isinstance(frame, TranscriptionFrame):
            self._job.finals.append(frame.text)
        await self.push_frame(frame, direction)


def service(which: str, port: int) -> FrameProcessor:
    if which == "deepgram":
        from pipecat.services.deepgram.stt import DeepgramSTTService

        return DeepgramSTTService(api_key="any", base_url=f"ws://127.0.0.1:{port}")
    from pipecat.services.openai.stt import OpenAIRealtimeSTTService

    return OpenAIRealtimeSTTService(api_key="any", base_url=f"ws://127.0.0.1:{port}/v1/realtime", turn_detection=None)


async def player(job: Job) -> None:
    which = sys.argv[4]
    pipeline = Pipeline([service(which, job.port), Keep(job)])
    task = PipelineTask(pipeline, params=PipelineParams(audio_in_sample_rate=job.rate))
    running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(task))
    await asyncio.sleep(1.0)
    async for piece in job.live():
        await task.queue_frame(InputAudioRawFrame(audio=piece, sample_rate=job.rate, num_channels=1))
    await asyncio.sleep(2.0)
    await task.queue_frame(EndFrame())
    await running
    job.report("pipecat-ai", f"transcription frames of its {which} service")


play(player)
