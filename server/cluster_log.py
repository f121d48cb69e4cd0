"""The log of a cluster, as the settings name it: waited for while no broker answers, refused where it cannot work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from server.errors import BadSetting
from server.settings import Kafka
from streaming.errors import LogMisconfigured, LogRefused, LogUnavailable
from streaming.log.kafka import KafkaLog, KafkaSecurity, KafkaSettings

log = structlog.get_logger()

RETRY_S: Final = 2.0
"""Seconds until a cluster that did not answer is tried again."""


@asynccontextmanager
async def cluster_log(kafka: Kafka, stop: asyncio.Event) -> AsyncGenerator[KafkaLog | None]:
    """Connect to the cluster for the length of the context; None if asked to stop before any broker answered.

    Raises:
        BadSetting: If the cluster refuses, or settings and topics do not fit each other.
    """
    source = await _connected(kafka, stop)
    try:
        yield source
    finally:
        if source is not None:
            await source.close()


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


async def _connected(kafka: Kafka, stop: asyncio.Event) -> KafkaLog | None:
    chosen = log_settings(kafka)
    while not stop.is_set():
        try:
            return await KafkaLog.connect(chosen)
        except (LogMisconfigured, LogRefused) as problem:
            raise BadSetting(str(problem)) from problem
        except LogUnavailable as problem:
            log.warning("log.unavailable", problem=str(problem), retry_s=RETRY_S)
        try:
            async with asyncio.timeout(RETRY_S):
                await stop.wait()
        except TimeoutError:
            pass
    return None
