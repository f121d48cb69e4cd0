"""The device process: jobs in, batches through the engine, hypotheses out. Nothing it holds matters to anybody else.

It is a child of the shard and talks to it over two inherited sockets, one for jobs and one for answers. A thread of its
own beats into a pipe, whatever the loop and the batches do: only a process that is stopped or gone falls silent there.
It leaves by itself

* when the shard is gone (the sockets close): at once, nobody is left to answer;
* on SIGTERM: after finishing what it has;
* when a batch is stuck or one window alone does not fit into memory: saying why. A thread inside a GPU library cannot
  be interrupted, only its process ended; the shard starts another and submits its jobs again.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from gpu.batcher import Batch, Batcher, Dropped
from gpu.cost import Cost, CostModel, Lane, Timing
from gpu.engine import Engine
from gpu.engines import build
from gpu.errors import EngineError, FrontEndFailed, OutOfMemory
from gpu.memory import CardLost, Meter, meter_of
from gpu.spec import DeviceSpec
from gpu.timing import costs_of, time_batches
from gpu.wire import (
    Answered,
    Began,
    Cancel,
    Failed,
    Fault,
    FaultKind,
    FrameProtocol,
    Leaving,
    LoadReport,
    Message,
    Ready,
    SetRung,
    Start,
    Submit,
    Undone,
)
from streaming.decoding import DecodeJob, Hypothesis, Kind, Window
from streaming.ladder import Rung

__all__ = ["Dispatcher", "main"]

REPORT_EVERY_S: Final = 0.25
STUCK_FACTOR: Final = 5.0
FAILURES: Final = 5
"""Batches in a row that an engine may fail before it is the device, not the windows, that is taken to be broken."""

BEAT_EVERY_S: Final = 0.2
"""Seconds between two heartbeats."""

LAST_WORDS_S: Final = 1.0
"""Seconds a process that ends itself gives its reason to cross the socket."""

EX_SOFTWARE: Final = 70
"""Exit status of a process that ended itself over a fault (sysexits.h)."""


class Dispatcher:
    """Runs batches on the engines' streams: the batcher decides, this acts.

    Args:
        spec: What this device is.
        rung: Models in force.
        engines: By model; all warm.
        warm_up: What their batches cost, as the warm-up showed.
        meter: Reads the device's memory, if anything does.
        send: Takes messages for the shard.
        die: Ends the process over a fault.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        rung: Rung,
        engines: Mapping[str, Engine],
        *,
        warm_up: Iterable[Cost] = (),
        meter: Meter | None = None,
        send: Callable[[Message], None],
        die: Callable[[Fault], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.idle = asyncio.Event()
        self._spec = spec
        self._rung = rung
        self._engines = engines
        self._meter = meter
        self._send = send
        self._die = die
        self._clock = clock
        self._costs = CostModel(spec.profile, warm_up)
        self._batcher = Batcher(self._bucket, self._costs, streams=spec.streams, max_batch=spec.max_batch)
        self._threads = ThreadPoolExecutor(spec.streams, thread_name_prefix="stream")
        self._loop = asyncio.get_running_loop()
        self._pumping: asyncio.Handle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._failures = 0  # batches in a row
        self._stopped = False

    def receive(self, message: Message) -> None:
        """Take a message of the shard."""
        match message:
            case Submit(job, alone):
                self._submit(job, alone)
            case Cancel(number):
                self._tell(self._batcher.cancel(number))
            case SetRung(rung):
                self._rung = rung
                self._batcher.rearrange()
            case _:
                raise ValueError(f"a device takes no {type(message).__name__}")
        self._soon()

    def report(self) -> None:
        """Tell how busy the device is, and drop what went stale."""
        try:
            memory = self._meter.read() if self._meter else None
        except CardLost as problem:
            self._die(Fault(FaultKind.CARD, str(problem), fatal=True))
            return
        self._send(LoadReport(self._batcher.load(self._clock()), self._costs.drifting, memory))
        self._soon()

    def stop(self) -> None:
        """Begin no more batches: the process is about to end."""
        self._stopped = True

    # --- jobs ------------------------------------------------------------------------------------------------------

    def _submit(self, job: DecodeJob, alone: bool) -> None:
        model = self._model(job)
        if model not in self._engines:
            problem = f"model {model} is not on device {self._spec.name}; it holds {', '.join(self._engines)}"
            self._send(Failed(job.job, problem))
            return
        try:
            dropped = self._batcher.add(job, self._clock(), alone=alone)
        except ValueError as problem:
            self._send(Failed(job.job, f"model {model} cannot take the window: {problem}"))
        else:
            self._tell(dropped)

    def _model(self, job: DecodeJob) -> str:
        of_rung = self._rung.final_model if job.window.kind is Kind.FINAL else self._rung.partial_model
        return job.window.model or of_rung

    def _bucket(self, job: DecodeJob) -> Lane:
        model = self._model(job)
        return model, self._engines[model].bucket(job.window)

    def _tell(self, dropped: Sequence[Dropped]) -> None:
        for gone in dropped:
            self._send(Undone(gone.job.job, gone.why))

    # --- batches ---------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        """Form batches once all messages that came together are taken in: they may share one."""
        if self._pumping is None:
            self._pumping = self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._stopped:
            return
        now = self._clock()
        self._tell(self._batcher.expire(now))
        while batch := self._batcher.take(now):
            self._begin(batch)
        wake_at = self._batcher.wake_at(now)
        if wake_at is not None:
            self._alarm = self._loop.call_later(wake_at - now, self._soon)
        if self._batcher.idle:
            self.idle.set()
        else:
            self.idle.clear()

    def _begin(self, batch: Batch) -> None:
        self._send(Began(tuple(job.job for job in batch.jobs)))
        windows = [job.window for job in batch.jobs]
        limit_s = max(self._spec.stuck_after_s, STUCK_FACTOR * batch.predicted_s)
        watchdog = self._loop.call_later(limit_s, self._stuck, batch, limit_s)
        running = self._loop.run_in_executor(self._threads, _timed, self._engines[batch.model], windows)
        running.add_done_callback(functools.partial(self._end, batch, watchdog))

    def _end(
        self,
        batch: Batch,
        watchdog: asyncio.TimerHandle,
        done: asyncio.Future[tuple[Sequence[Hypothesis], float]],
    ) -> None:
        watchdog.cancel()
        try:
            hypotheses, seconds = done.result()
        except OutOfMemory as problem:
            self._out_of_memory(batch, problem)
        except FrontEndFailed as problem:
            self._die(Fault(FaultKind.FRONT_END, f"{problem} (batch of {len(batch.jobs)})", fatal=True))
        except Exception as problem:  # noqa: BLE001  whatever an engine raises, only this batch is affected
            self._failed(batch, problem)
        else:
            self._failures = 0
            self._batcher.finished(batch, seconds, self._clock())
            self._answer(batch, hypotheses, seconds)
        self._soon()

    def _answer(self, batch: Batch, hypotheses: Sequence[Hypothesis], seconds: float) -> None:
        filled = tuple(
            replace(hypothesis, queue_s=queued_s, compute_s=seconds)
            for hypothesis, queued_s in zip(hypotheses, batch.queued_s, strict=True)
        )
        jobs = tuple(job.job for job in batch.jobs)
        beam = max(job.window.beam for job in batch.jobs)
        longest_s = max(job.window.seconds for job in batch.jobs)
        self._send(Answered(batch.model, beam, seconds, longest_s, jobs, filled))

    def _out_of_memory(self, batch: Batch, problem: OutOfMemory) -> None:
        jobs = tuple(job.job for job in batch.jobs)
        alone = len(jobs) == 1
        fault = Fault(FaultKind.OUT_OF_MEMORY, f"{problem} (batch of {len(jobs)})", jobs if alone else (), fatal=alone)
        if alone:
            self._die(fault)
            return
        self._send(fault)
        _, dropped = self._batcher.failed(batch, self._clock(), out_of_memory=True)
        self._tell(dropped)

    def _failed(self, batch: Batch, problem: Exception) -> None:
        # Only our own errors are known to hold nothing that a caller said.
        said = str(problem) if isinstance(problem, EngineError) else type(problem).__name__
        self._failures += 1
        fault = Fault(FaultKind.ENGINE, f"{said} (batch of {len(batch.jobs)}, model {batch.model})")
        if self._failures >= FAILURES:
            self._die(replace(fault, fatal=True))
            return
        self._send(fault)
        given_up, dropped = self._batcher.failed(batch, self._clock(), out_of_memory=False)
        self._tell(dropped)
        for job in given_up:
            self._send(Failed(job.job, said))

    def _stuck(self, batch: Batch, limit_s: float) -> None:
        problem = f"a batch of {len(batch.jobs)} took over {limit_s:.1f} s, {batch.predicted_s:.3f} s were expected"
        self._die(Fault(FaultKind.STUCK, problem, tuple(job.job for job in batch.jobs), fatal=True))


def _timed(engine: Engine, windows: Sequence[Window]) -> tuple[Sequence[Hypothesis], float]:
    began = time.perf_counter()
    hypotheses = engine.decode(windows)
    return hypotheses, time.perf_counter() - began


def _load(start: Start) -> tuple[dict[str, Engine], tuple[Timing, ...]]:
    engines = {model: build(start.spec, model) for model in start.spec.models}
    _check_beam(start.rung, engines)
    for engine in engines.values():
        engine.warm_up()
    return engines, start.timings or time_batches(start.spec, engines)


def _check_beam(rung: Rung, engines: Mapping[str, Engine]) -> None:
    """Refuse to start with finals that every window of would be refused.

    Raises:
        EngineError: If the rung asks an engine that is greedy for a beam.
    """
    if rung.beam > 1 and engines[rung.final_model].greedy:
        raise EngineError(
            f"finals of {rung.final_model} are to have a beam of {rung.beam}, and its engine decodes greedily;"
            " set models.final_beam, and beam in ladder.rungs, to 1"
        )


class _Process:
    """The life of the process around the dispatcher."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[Start] = self._loop.create_future()
        self._leave = asyncio.Event()
        self._jobs = FrameProtocol(self._receive, self._lost)
        self._answers = FrameProtocol(self._receive, self._lost)
        self._dispatcher: Dispatcher | None = None
        self._status = 0

    async def run(self, jobs: socket.socket, answers: socket.socket) -> None:
        self._loop.set_exception_handler(self._unforeseen)
        self._loop.add_signal_handler(signal.SIGTERM, self._leave.set)
        await self._loop.create_connection(lambda: self._answers, sock=answers)
        await self._loop.create_connection(lambda: self._jobs, sock=jobs)
        start = await self._started
        began = time.monotonic()
        try:
            # First: what libraries say of a card that is gone is hard to tell from a wrong setting.
            meter = await asyncio.to_thread(meter_of, start.spec.device)
            engines, timings = await asyncio.to_thread(_load, start)
        except CardLost as problem:
            self._die(Fault(FaultKind.CARD, str(problem), fatal=True))
            await asyncio.Event().wait()
            return
        except Exception as problem:  # noqa: BLE001  a folder, a library, a driver: whatever it is, the shard is told
            self._die(Fault(FaultKind.START, f"{type(problem).__name__}: {problem}", fatal=True))
            await asyncio.Event().wait()
            return
        self._dispatcher = Dispatcher(
            start.spec,
            start.rung,
            engines,
            warm_up=costs_of(engines, timings),
            meter=meter,
            send=self._answers.send,
            die=self._die,
        )
        self._answers.send(Ready(time.monotonic() - began, timings))
        async with asyncio.TaskGroup() as tasks:
            reports = tasks.create_task(self._report(self._dispatcher), name="device-load-reports")
            await self._leave.wait()
            self._answers.send(Leaving())
            self._dispatcher.report()
            await asyncio.sleep(0)
            await self._dispatcher.idle.wait()
            reports.cancel()
        self._answers.close()
        await asyncio.Event().wait()  # until the last answers have left and ``_lost`` ends the process

    async def _report(self, dispatcher: Dispatcher) -> None:
        while True:
            dispatcher.report()
            await asyncio.sleep(REPORT_EVERY_S)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Start):
            self._started.set_result(message)
        elif self._dispatcher is not None:
            self._dispatcher.receive(message)

    def _lost(self) -> None:
        # Not sys.exit: threads inside the engine would keep the process.
        os._exit(self._status)

    def _die(self, fault: Fault) -> None:
        self._status = EX_SOFTWARE
        if self._dispatcher is not None:
            self._dispatcher.stop()
        self._answers.send(fault)
        self._answers.close()
        self._loop.call_later(LAST_WORDS_S, os._exit, EX_SOFTWARE)

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        self._die(Fault(FaultKind.ENGINE, f"the device process failed: {type(context.get('exception')).__name__}"))


def _beat(heart: int) -> None:
    """Show that the process lives, for as long as it does."""
    with contextlib.suppress(BrokenPipeError):  # the shard is gone, and the sockets tell
        while True:
            with contextlib.suppress(BlockingIOError):  # it has not read for hours
                os.write(heart, b".")
            time.sleep(BEAT_EVERY_S)


async def _run(jobs: socket.socket, answers: socket.socket) -> None:
    await _Process().run(jobs, answers)


def main() -> None:
    """Run a device over the sockets whose numbers are the arguments: of the jobs, of the answers, then the pipe's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the terminal's Ctrl-C the shard decides
    jobs, answers = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    threading.Thread(target=_beat, args=(int(sys.argv[3]),), name="heart", daemon=True).start()
    asyncio.run(_run(jobs, answers))


if __name__ == "__main__":
    main()
