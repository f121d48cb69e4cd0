"""Everything on one machine: gateway, log, shard, devices. The one module that knows server, scaler and gpu at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from gpu.errors import BadProfile, EngineError
from gpu.loudness import LoudnessVad
from gpu.models import ModelStore, mel_bands
from gpu.pool import DevicePool
from gpu.profile import read_profile
from gpu.spec import DeviceSpec
from gpu.status import DeviceStatus
from gpu.vad import SileroVad
from gpu.wire import UNSTARTED
from scaler.ears import SpeechDetector
from scaler.governor import Governor
from scaler.policy.desired import Bounds
from scaler.shard import Shard
from server.cluster_log import log_settings
from server.errors import BadSetting
from server.gateway import Gateway
from server.governed import GovernedDevices, show
from server.health import Readiness
from server.ingest.running import ingesting
from server.metrics import Metrics
from server.outlets.running import outlets
from server.page.load import DeviceLoad, Sample, ShardLoad
from server.page.tally import Tally, TallyingDeviceObserver, TallyingShardObserver
from server.quality import channel_settings, quality_ladder
from server.settings import Devices, Settings
from streaming.ladder import Ladder
from streaming.log.memory import MemoryLog

GPU_STUCK_AFTER_S = 5.0
"""Least seconds after which a batch on a GPU is given up."""
CPU_STUCK_AFTER_S = 20.0
"""The same on a processor, which other programs slow down: beside busy ones, single windows were seen to take over 5 s,
and every call misses a device that is ended for being slow while the next one loads its model."""

SLOTS = 64
"""Slots of the log in memory; there is one owner, so they need only be enough to keep a slot's calls few."""

SCRIPTED_MELS = 80
"""Mel bands of the scripted engine."""

RATE_SAMPLES = 5
"""Samples of the load that rates are taken over: a batch counts when it is done, so that one period alone jumps."""

START_POLL_S = 0.05
"""Seconds between looks at whether devices have started."""


async def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        The exit code: 0 after a stop that was asked for.

    Raises:
        BadSetting: If a model is missing or damaged, or the address cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, stop)
    return 0


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until told to stop.

    Raises:
        BadSetting: If a model is missing or damaged, or the address cannot be listened on.
    """
    ladder = quality_ladder(settings)
    scripted = settings.devices.engine == "scripted"
    mels = find_models(settings, ladder)
    metrics = Metrics(CollectorRegistry())
    source = MemoryLog(SLOTS)
    tally = Tally()
    specs = device_specs(settings.devices, ladder)
    devices = GovernedDevices(specs, ladder, metrics, TallyingDeviceObserver(metrics, tally))
    pool, governor = devices.pool, Governor(ladder, devices, bounds=Bounds(promised=settings.ladder.promised))
    show(governor, metrics)
    shard = Shard(
        source,
        LoudnessVad() if scripted else find_detector(),
        pool,
        settings=channel_settings(settings.speech, ladder[0].beam, mels),
        governor=governor,
        observer=TallyingShardObserver(metrics, tally),
        idle_s=settings.limits.call_idle_s,
    )
    fenced = asyncio.Event()

    def readiness() -> Readiness:
        ready = fenced.is_set() and governor.served and pool.status().ready
        return Readiness(ready=ready, reason="" if ready else "no device is ready yet: models are loading")

    def open_slots() -> range:
        room = not settings.limits.by_load or governor.has_room(gateway.directory.live)
        return range(source.slots if room else 0)

    metrics.ready_shards.set_function(lambda: readiness().ready)
    sampler = LoadSampler(shard, pool, specs, tally, ladder=ladder, slots=source.slots)
    gateway = Gateway(
        settings,
        source,
        models=ladder.models,
        readiness=readiness,
        slots=open_slots,
        metrics=metrics,
        sampler=sampler,
    )
    async with pool, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(shard.run(range(source.slots), fenced), name="shard")
        starting = tasks.create_task(check_start(pool), name="first-start")
        public = log_settings(settings.kafka) if settings.kafka.bootstrap else None
        async with (
            outlets(settings, source, metrics, cluster=public, shared=False),
            ingesting(settings.ingest, public, gateway.services),
        ):
            await gateway.run(stop)
        starting.cancel()
        running.cancel()


class LoadSampler:
    """Looks at the shard and its devices, once per period of the load feed.

    Args:
        shard: The only one.
        pool: Its devices.
        specs: As they were described.
        tally: What both did.
        ladder: Of quality.
        slots: Of the log.
    """

    def __init__(
        self,
        shard: Shard,
        pool: DevicePool,
        specs: Sequence[DeviceSpec],
        tally: Tally,
        *,
        ladder: Ladder,
        slots: int,
    ) -> None:
        self._shard = shard
        self._pool = pool
        self._streams = {spec.name: spec.streams for spec in specs}
        self._tally = tally
        self._ladder = ladder
        self._slots = slots
        self._before: dict[str, deque[tuple[float, float, int, int]]] = {}

    def __call__(self) -> Sample:
        """Look."""
        status = self._pool.status()
        rung = self._tally.rung or self._ladder[0]
        shard = ShardLoad(
            name="standalone",
            calls=self._shard.calls,
            slots=self._slots,
            cadence_s=rung.cadence_s,
            rung=self._ladder.rungs.index(rung),
            rungs=len(self._ladder),
            models=rung.models,
            devices=tuple(self._device(device) for device in status.devices),
        )
        return Sample((shard,), self._tally.happenings())

    def _device(self, status: DeviceStatus) -> DeviceLoad:
        did, load, now = self._tally.device(status.name), status.load, self._tally.clock()
        before = self._before.setdefault(status.name, deque([(now, 0.0, 0, 0)], maxlen=RATE_SAMPLES))
        then, busy_s, batches, windows = before[0]
        before.append((now, did.busy_s, did.batches, did.windows))
        passed_s = max(now - then, 1e-3)
        new_batches, new_windows = did.batches - batches, did.windows - windows
        return DeviceLoad(
            name=status.name,
            state=status.state,
            utilisation=min((did.busy_s - busy_s) / passed_s / self._streams[status.name], 1.0),
            waiting=load.finals + load.partials if load else 0,
            running=load.running if load else 0,
            final_wait_s=load.final_wait_s if load else None,
            backlog_s=load.wait_s if load else None,
            queue_p95_s=did.queue.percentile(0.95),
            batch=new_windows / new_batches if new_batches else None,
            windows=new_windows / passed_s,
            restarts=status.restarts,
            problem=status.problem,
        )


async def check_start(pool: DevicePool) -> None:
    """Wait until a device is ready for the first time.

    Raises:
        BadSetting: If none can be started: so early it is how they were set up, and trying again changes nothing.
    """
    while not (status := pool.status()).ready:
        problems = [device.problem for device in status.devices if not UNSTARTED.isdisjoint(device.faults)]
        if len(problems) == len(status.devices):
            raise BadSetting(
                f"no device can be started: {problems[0]}. Check devices.* and models.* in the settings; of a model "
                "that is damaged, copy the whole folder again"
            )
        await asyncio.sleep(START_POLL_S)


def find_models(settings: Settings, ladder: Ladder) -> int | None:
    """Find every model before anything is started, and return how many mel bands the windows have.

    Returns:
        The models' bands; None where windows carry audio, of which every model gets what it takes.

    Raises:
        BadSetting: If a model is missing or damaged, or if they take different features and windows carry features.
    """
    on_host = settings.devices.front_end == "host"
    if settings.devices.engine == "scripted":
        return SCRIPTED_MELS if on_host else None
    store = ModelStore.from_environment(os.environ, allow_hub=settings.models.allow_hub)
    try:
        bands = {name: mel_bands(store.find(name)) for name in ladder.models}
    except EngineError as problem:
        raise BadSetting(str(problem)) from problem
    if not on_host:
        return None
    if len(set(bands.values())) > 1:
        raise BadSetting(
            f"models of {bands} mel bands cannot share a channel's features; choose models of one kind, or let the "
            "devices make the features: devices.front_end"
        )
    return bands[ladder[0].final_model]


def find_detector() -> SpeechDetector:
    """Load the voice activity model.

    Raises:
        BadSetting: If it is not installed.
    """
    try:
        return SileroVad()
    except FileNotFoundError as problem:
        raise BadSetting(str(problem)) from problem


def device_specs(devices: Devices, ladder: Ladder) -> list[DeviceSpec]:
    """Describe the device processes; devices named twice share nothing but the name's meaning.

    Raises:
        BadSetting: If the file of measured costs cannot be read.
    """
    try:
        costs = read_profile(Path(devices.profile)).costs if devices.profile else ()
    except BadProfile as problem:
        raise BadSetting(str(problem)) from problem
    cores = max(1, len(os.sched_getaffinity(0)) // max(1, devices.names.count("cpu")))
    specs: list[DeviceSpec] = []
    for number, name in enumerate(devices.names):
        on_cpu = name == "cpu"
        compute_type = devices.compute_type
        if compute_type == "auto":
            compute_type = "int8" if on_cpu else "float16"
        specs.append(
            DeviceSpec(
                name=f"{name}-{number}" if on_cpu else name,
                models=ladder.models,
                engine=devices.engine,
                device=name,
                front_end=devices.front_end,
                compute_type=compute_type,
                streams=devices.streams or (cores if on_cpu else 2),
                max_batch=devices.max_batch,
                stuck_after_s=CPU_STUCK_AFTER_S if on_cpu else GPU_STUCK_AFTER_S,
                options=devices.options,
                decodes=ladder.decodes,
                profile=costs,
            )
        )
    return specs
