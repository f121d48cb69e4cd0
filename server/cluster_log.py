"""The log of a cluster, as the settings name it: waited for while no broker answers or lets us in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from server.errors import BadSetting
from server.health import Readiness
from server.settings import Kafka
from streaming.errors import LogMisconfigured, LogRefused, LogUnavailable
from streaming.log.kafka import KafkaLog, KafkaSecurity, KafkaSettings

log = structlog.get_logger()

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
        self._source = source = await self._connect(stop)
        if source is None:
            yield None
            return
        watching = asyncio.create_task(_watch_clock(source), name="cluster-clock")
        try:
            yield source
        finally:
            watching.cancel()
            await source.close()

    async def _connect(self, stop: asyncio.Event) -> KafkaLog | None:
        refused_s = RETRY_S
        while not stop.is_set():
            retry_s = RETRY_S
            try:
                return await KafkaLog.connect(self.settings)
            except LogMisconfigured as problem:
                raise BadSetting(str(problem)) from problem
            except LogRefused as problem:  # who may come is settled at the brokers, and may be while we wait
                retry_s, refused_s = refused_s, min(2 * refused_s, MOST_RETRY_S)
                self._problem = str(problem)
                log.warning("log.refused", problem=self._problem, retry_s=retry_s)
            except LogUnavailable as problem:
                self._problem = str(problem)
                log.warning("log.unavailable", problem=self._problem, retry_s=retry_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(retry_s):
                    await stop.wait()
        return None


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
