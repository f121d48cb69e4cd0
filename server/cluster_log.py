"""The log of a cluster, as the settings name it: waited for while no broker answers or lets us in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from server.errors import BadSetting
from server.health import Readiness
from server.settings import Kafka
from streaming.errors import LogError, LogMisconfigured, LogUnavailable
from streaming.log.asking import asked
from streaming.log.kafka import KafkaLog, KafkaSecurity, KafkaSettings
from streaming.log.kafka_client import connection, library

T = TypeVar("T")

log: FilteringBoundLogger = structlog.get_logger()

RETRY_S: Final = 2.0
"""Seconds until a cluster that did not answer, or refused, is tried again."""

MOST_RETRY_S: Final = 30.0
"""The same where it goes on refusing: twice as long each time, up to this."""

CLOCK_EVERY_S: Final = 5.0
"""Seconds between looks at the clock."""

CLOCK_OFF_S: Final = 5.0
"""Seconds by which clocks may differ before somebody is told; more than a record waits on an ordinary day."""


class ClusterLog:
    """The log of a cluster, and how it fares.

    Args:
        kafka: The settings.

    Raises:
        BadSetting: If they contradict each other.
    """

    def __init__(self, kafka: Kafka) -> None:
        self.settings = log_settings(kafka)
        self._trouble_s = kafka.trouble_s
        self._source: KafkaLog | None = None
        self._problem = "no broker has answered yet"

    def trouble(self) -> str:
        """Say why the log cannot be used at the moment; nothing where it can."""
        return self._problem if self._source is None else self._source.trouble(self._trouble_s)

    def readiness(self) -> Readiness:
        """Tell whether the log can be used."""
        return Readiness(ready=not self.trouble(), reason=self.trouble())

    @asynccontextmanager
    async def connected(self, stop: asyncio.Event) -> AsyncGenerator[KafkaLog | None]:
        """Connect for the length of the context, however long that takes; None if asked to stop before.

        Raises:
            BadSetting: If settings and topics do not fit each other.
        """
        connecting = reached(lambda: KafkaLog.connect(self.settings), "log", note=self._note)
        self._source = source = await unless(stop, connecting)
        if source is None:
            yield None
            return
        watching = asyncio.create_task(_watch_clock(source), name="cluster-clock")
        try:
            yield source
        finally:
            watching.cancel()
            await source.close()

    def _note(self, problem: LogError) -> None:
        if isinstance(problem, LogMisconfigured):
            raise BadSetting(str(problem)) from problem
        self._problem = str(problem)


async def _watch_clock(source: KafkaLog) -> None:
    """Say when this machine's clock is wrong, or the brokers' is: no audio depends on it, but times of calls do."""
    told = False
    while True:
        await asyncio.sleep(CLOCK_EVERY_S)
        ahead_s = source.clock_ahead_s or 0.0
        before, told = told, abs(ahead_s) > CLOCK_OFF_S
        if told and not before:
            log.warning(
                "clock.differs",
                ahead_s=round(ahead_s, 1),
                problem="this machine's clock is not that of the Kafka brokers, so the times at which calls began are "
                "wrong in one of them; set both by NTP",
            )


def log_settings(kafka: Kafka) -> KafkaSettings:
    """Hand the settings to the log as plain values.

    Raises:
        BadSetting: If they contradict each other.
    """
    if not kafka.bootstrap:
        raise BadSetting(
            "kafka.bootstrap is not set; name the brokers, such as TRUNKLINE_KAFKA__BOOTSTRAP=kafka-0:9092, or run "
            "'standalone', which needs none"
        )
    try:
        security = KafkaSecurity(
            tls=kafka.tls,
            ca_file=kafka.ca_file,
            certificate_file=kafka.certificate_file,
            key_file=kafka.key_file,
            mechanism=kafka.mechanism,
            username=kafka.username,
            password=kafka.password.get_secret_value() if kafka.password else "",
        )
    except ValueError as problem:
        raise BadSetting(f"kafka: {problem}") from problem
    return KafkaSettings(
        kafka.bootstrap,
        prefix=kafka.prefix,
        slots=kafka.slots,
        create_topics=kafka.create_topics,
        audio_keep_s=kafka.audio_keep_s,
        out_keep_s=kafka.out_keep_s,
        linger_ms=kafka.linger_ms,
        request_timeout_s=kafka.request_timeout_s,
        security=security,
    )


async def check_connection(settings: KafkaSettings) -> None:
    """Find out what can be found out without the brokers, before calls are served.

    Raises:
        BadSetting: If the client is not installed, or a certificate cannot be used.
    """
    try:
        library()
        await asyncio.to_thread(connection, settings.bootstrap, settings.security)
    except LogMisconfigured as problem:
        raise BadSetting(str(problem)) from problem


async def reached(
    what: Callable[[], Awaitable[T]], part: str, *, note: Callable[[LogError], None] = lambda _: None, **where: object
) -> T:
    """Return what a cluster gives once it answers and allows it; meanwhile it is asked again and again.

    Args:
        what: Asks once.
        part: Of the server, which asks; each failure is logged as ``PART.unavailable``, ``PART.refused`` or, as an
            error, ``PART.misconfigured``.
        note: Called with each failure before that; may raise what ends the asking.
        where: Logged with it.
    """
    refused_s = RETRY_S

    def trouble(problem: LogError) -> float:
        nonlocal refused_s
        note(problem)
        retry_s, how, say = RETRY_S, "unavailable", log.warning
        if not isinstance(problem, LogUnavailable):  # that is settled at the brokers, and may be while we wait
            retry_s, how = refused_s, "refused"
            refused_s = min(2 * refused_s, MOST_RETRY_S)
        if isinstance(problem, LogMisconfigured):
            how, say = "misconfigured", log.error
        event = f"{part}.{how}"
        say(event, problem=str(problem), retry_s=retry_s, **where)
        return retry_s

    return await asked(what, trouble)


async def unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """Return what some work returns; None, and the work is cancelled, if told to stop before."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
