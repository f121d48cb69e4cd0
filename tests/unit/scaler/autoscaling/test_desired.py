"""The number of shards that should be, from metrics and from several processes."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from scaler.autoscaling.desired import METRIC, DesiredShards, MetricsAddress, read_desired
from scaler.autoscaling.errors import BadAddress, NoAnswer
from server.metrics import Metrics
from tests.support.metrics_page import answering


def exposition(desired: int) -> str:
    metrics = Metrics(CollectorRegistry())
    metrics.desired_shards.set(desired)
    return metrics.exposition().decode()


def test_the_number_is_read_from_what_a_server_really_writes() -> None:
    """Writer and reader know the metric by name only; this holds the two together."""
    assert read_desired(exposition(7)) == 7


def test_metrics_without_the_number_say_nothing() -> None:
    """An address may belong to a process that has other metrics."""
    assert read_desired("# TYPE up gauge\nup 1\n") == 0


@pytest.mark.parametrize("url", ["shards:8080", "https://shards/metrics", "http://", "http://shards:port/metrics", ""])
def test_an_address_that_cannot_be_one_is_refused_at_the_start(url: str) -> None:
    """A typing error must end the start, not show as no answer for ever."""
    with pytest.raises(BadAddress):
        MetricsAddress.parse(url)


def test_an_address_may_leave_out_port_and_path() -> None:
    """Both have the values everybody expects."""
    assert MetricsAddress.parse("http://shards") == MetricsAddress("shards", 80, "/metrics")


async def test_the_highest_number_counts() -> None:
    """Only the leader decides; the others say 0, and a former leader may say less."""
    with answering(exposition(0)) as idle, answering(exposition(5)) as leader, answering(exposition(4)) as former:
        source = DesiredShards([MetricsAddress.parse(url) for url in (idle, leader, former)])

        assert await source.read() == 5


async def test_a_process_that_does_not_answer_does_not_hide_one_that_does() -> None:
    """Shards die; the number must survive them."""
    with answering(exposition(3)) as alive, answering("", status=503) as ill:
        gone = "http://127.0.0.1:9/metrics"
        source = DesiredShards([MetricsAddress.parse(url) for url in (gone, ill, alive)], timeout_s=1.0)

        assert await source.read() == 3


async def test_if_nobody_has_decided_there_is_no_number() -> None:
    """A 0 that is passed on would end every shard."""
    with answering(exposition(0)) as idle, pytest.raises(NoAnswer, match=METRIC):
        await DesiredShards([MetricsAddress.parse(idle)]).read()


async def test_what_went_wrong_is_said_with_the_address() -> None:
    """Whoever reads it must know where to look."""
    with answering("", status=503) as ill, pytest.raises(NoAnswer, match="503") as caught:
        await DesiredShards([MetricsAddress.parse(ill)]).read()

    assert "127.0.0.1" in str(caught.value)


async def test_a_name_without_an_address_is_no_answer() -> None:
    """A headless service has no address while no pod runs."""
    with pytest.raises(NoAnswer, match="has no address"):
        await DesiredShards([MetricsAddress.parse("http://shards.invalid/metrics")]).read()
