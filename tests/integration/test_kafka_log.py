"""The log in Kafka while brokers come and go, and where it cannot work: every error says what to do."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol, cast

import pytest

from streaming.errors import LogMisconfigured, LogRefused, LogUnavailable, RecordTooLarge
from streaming.log import Topic
from streaming.log.kafka import KafkaLog, KafkaReader, KafkaSecurity, KafkaSettings
from streaming.log.kafka_client import library
from streaming.log.kafka_reader import SHARE
from streaming.log.kafka_settings import MAX_RECORD_BYTES
from tests.support.kafka_broker import KafkaCluster, KafkaMissing
from tests.support.ports import HOST, free_ports

pytestmark = pytest.mark.kafka

RECORDS = 400


def start(brokers: int) -> KafkaCluster:
    """Start brokers, or skip where there can be none."""
    try:
        return KafkaCluster(brokers)
    except KafkaMissing as problem:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(problem))


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[KafkaCluster]:
    cluster = start(3)
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    cluster = start(1)
    yield cluster
    cluster.stop()


@asynccontextmanager
async def away(cluster: KafkaCluster) -> AsyncGenerator[None]:
    """Kill the first broker, and start it again whatever comes of it: other tests use it too."""
    await asyncio.to_thread(cluster.kill, 0)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.start, 0)


async def collect(reader: KafkaReader, slots: int, last: bytes) -> dict[int, list[bytes]]:
    """Read until every slot has had its last record."""
    found: dict[int, list[bytes]] = {slot: [] for slot in range(slots)}
    while any(values[-1:] != [last] for values in found.values()):
        for entry in await reader.next():
            found[entry.slot].append(entry.value)
    return found


async def test_a_leader_that_is_killed_costs_no_record_and_no_order(three_brokers: KafkaCluster) -> None:
    """Two of three brokers have every record before it counts, and a retry is not written twice."""
    # On a busy machine brokers may take longer to elect leaders than a producer waits by default.
    settings = KafkaSettings(three_brokers.bootstrap, prefix="killed", slots=3, request_timeout_s=60.0)
    log = await KafkaLog.connect(settings)
    reader = log.reader(Topic.OUT)
    reader.assign(dict.fromkeys(range(3), 0))
    reading = asyncio.create_task(collect(reader, 3, str(RECORDS - 1).encode()))
    sent: list[asyncio.Future[int]] = []
    for number in range(RECORDS):
        if number == RECORDS // 4:
            await asyncio.to_thread(three_brokers.kill, 0)
        sent += [await log.append(Topic.OUT, slot, "call", str(number).encode()) for slot in range(3)]
        await asyncio.sleep(0.005)
    offsets = [await done for done in sent]

    found = await reading

    assert offsets == [number for number in range(RECORDS) for _ in range(3)]
    assert all(values == [str(number).encode() for number in range(RECORDS)] for values in found.values())
    await log.close()
    await asyncio.to_thread(three_brokers.start, 0)


async def test_records_wait_while_the_only_broker_is_away(broker: KafkaCluster) -> None:
    """Whoever waits is told how long; nothing has to be started again."""
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="away", slots=1))
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 0})
    await (await log.append(Topic.AUDIO, 0, "call", b"0"))
    assert log.waiting_s() == 0.0

    async with away(broker):
        sent = [await log.append(Topic.AUDIO, 0, "call", str(number).encode()) for number in range(1, 50)]
        await asyncio.sleep(1.0)
        assert log.waiting_s() >= 1.0

    assert [await done for done in sent] == list(range(1, 50))
    assert (await collect(reader, 1, b"49"))[0] == [str(number).encode() for number in range(50)]
    assert log.waiting_s() == 0.0
    await log.close()


class Deleting(Protocol):
    """An administrator of a cluster that can delete records, as retention does in time."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def delete_records(self, records_to_delete: Mapping[object, object]) -> object: ...


class DeletingLibrary(Protocol):
    """The module ``aiokafka.admin``, as far as it deletes records."""

    def AIOKafkaAdminClient(self, **settings: object) -> Deleting: ...  # noqa: N802  their name
    def RecordsToDelete(self, before_offset: int) -> object: ...  # noqa: N802  their name


async def let_go(settings: KafkaSettings, topic: Topic, slot: int, before: int) -> None:
    """Delete the records of a slot that are older than an offset."""
    admins = cast("DeletingLibrary", importlib.import_module("aiokafka.admin"))
    admin = admins.AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    place = library().TopicPartition(settings.topic(topic), slot)
    await admin.delete_records({place: admins.RecordsToDelete(before)})
    await admin.close()


async def test_a_reader_from_before_what_is_kept_gets_the_oldest_kept_and_all_behind_it(broker: KafkaCluster) -> None:
    """Retention goes on while nobody reads; offsets never change."""
    settings = KafkaSettings(broker.bootstrap, prefix="kept", slots=2)
    log = await KafkaLog.connect(settings)
    for number in range(4):
        await (await log.append(Topic.AUDIO, 0, "call", str(number).encode()))

    await let_go(settings, Topic.AUDIO, 0, 2)
    reader = log.reader(Topic.AUDIO)
    reader.assign({0: 0})
    assert await collect(reader, 1, b"3") == {0: [b"2", b"3"]}
    assert await log.start_offsets(Topic.AUDIO) == {0: 2, 1: 0}
    await let_go(settings, Topic.AUDIO, 0, 4)
    assert await log.start_offsets(Topic.AUDIO) == await log.end_offsets(Topic.AUDIO) == {0: 4, 1: 0}
    await log.close()


async def test_a_reader_of_many_slots_reads_each_in_order_and_again_from_where_it_is_told(broker: KafkaCluster) -> None:
    """More than one consumer reads them; what one had read when the slots changed is read again, not skipped."""
    slots = 2 * SHARE + 6
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="many", slots=slots))
    reader = log.reader(Topic.AUDIO)
    reader.assign(dict.fromkeys(range(slots), 0))
    sent = [
        await log.append(Topic.AUDIO, slot, "call", str(number).encode())
        for number in range(20)
        for slot in range(slots)
    ]
    await asyncio.wait(sent)
    wanted = [str(number).encode() for number in range(20)]

    assert await collect(reader, slots, b"19") == dict.fromkeys(range(slots), wanted)

    reader.assign(dict.fromkeys(range(slots), 5))
    assert (await reader.next())[0].offset == 5
    await asyncio.sleep(0.5)  # others are read by now, and wait to be asked for
    reader.assign(dict.fromkeys(range(0, slots, 2), 11))
    found: dict[int, list[bytes]] = {slot: [] for slot in range(0, slots, 2)}
    while any(values[-1:] != [b"19"] for values in found.values()):
        for entry in await reader.next():
            found[entry.slot].append(entry.value)
    assert found == dict.fromkeys(range(0, slots, 2), wanted[11:])
    await log.close()


async def test_a_log_whose_broker_never_comes_back_can_be_closed(broker: KafkaCluster) -> None:
    """A process must be able to end; what was not durable says so."""
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="gone", slots=1))
    async with away(broker):
        sent = await log.append(Topic.AUDIO, 0, "call", b"lost")

        async with asyncio.timeout(30.0):
            await log.close()

        with pytest.raises(LogUnavailable):
            await sent


async def test_no_broker_at_all_is_said_at_once() -> None:
    (port,) = free_ports(1)

    with pytest.raises(LogUnavailable, match="no broker answers"):
        await KafkaLog.connect(KafkaSettings(f"{HOST}:{port}"))


async def test_another_number_of_slots_than_the_topics_have_is_refused(broker: KafkaCluster) -> None:
    """Calls would be looked for where they are not."""
    settings = KafkaSettings(broker.bootstrap, prefix="other", slots=2)
    await (await KafkaLog.connect(settings)).close()

    with pytest.raises(LogMisconfigured, match=r"other\.\w+ has 2 partitions and 3 slots"):
        await KafkaLog.connect(replace(settings, slots=3))


async def test_topics_that_may_not_be_created_must_be_there(broker: KafkaCluster) -> None:
    with pytest.raises(LogMisconfigured, match=r"none\.audio.* do not exist"):
        await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="none", create_topics=False))


async def test_a_record_that_is_too_large_is_refused_and_harms_no_other(broker: KafkaCluster) -> None:
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="large", slots=1))

    with pytest.raises(RecordTooLarge):
        await log.append(Topic.AUDIO, 0, "call", bytes(MAX_RECORD_BYTES + 1))
    assert await (await log.append(Topic.AUDIO, 0, "call", b"small")) == 0

    await log.close()


async def test_a_slot_that_does_not_exist_is_a_fault_of_ours(broker: KafkaCluster) -> None:
    log = await KafkaLog.connect(KafkaSettings(broker.bootstrap, prefix="slot", slots=1))

    with pytest.raises(IndexError):
        await log.append(Topic.CONTROL, 1, "", b"")

    await log.close()


async def test_a_certificate_that_is_not_there_is_named() -> None:
    security = KafkaSecurity(tls=True, ca_file="no-such-file.pem")

    with pytest.raises(LogMisconfigured, match=r"no-such-file\.pem"):
        await KafkaLog.connect(KafkaSettings("localhost:9", security=security))


async def test_a_cluster_that_knows_no_login_is_an_error_of_credentials(broker: KafkaCluster) -> None:
    security = KafkaSecurity(mechanism="PLAIN", username="user", password="secret")  # noqa: S106  nobody's

    with pytest.raises((LogRefused, LogUnavailable)) as refused:
        await KafkaLog.connect(KafkaSettings(broker.bootstrap, security=security))

    assert "secret" not in str(refused.value)
    assert "secret" not in repr(security)
