"""The external scaler as KEDA meets it: a gRPC client on a socket, and metrics that a server really writes."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc.aio import Channel, insecure_channel
from prometheus_client import CollectorRegistry

from scaler.autoscaling import externalscaler_pb2 as messages
from scaler.autoscaling.errors import BadAddress, NoAnswer
from scaler.autoscaling.keda import SERVICE, ExternalScaler, serve
from server.metrics import Metrics
from tests.support.metrics_page import answering
from tests.support.ports import free_port
from tests.support.servers import ROOT

OBJECT = messages.ScaledObjectRef(name="trunkline-shard", namespace="calls")


class Told:
    """Knows what the test says; None stands for not knowing."""

    def __init__(self, number: int | None) -> None:
        self.number = number

    async def read(self) -> int:
        if self.number is None:
            raise NoAnswer("nobody answers")
        return self.number


@asynccontextmanager
async def asked(source: Told) -> AsyncGenerator[Channel]:
    """Serve what a source knows while the context lasts; its value is a client's channel."""
    stop = asyncio.Event()
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(ExternalScaler(source, poll_s=0.01), "127.0.0.1:0", stop, bound))
    async with insecure_channel(f"127.0.0.1:{await bound}") as channel:
        yield channel
    stop.set()
    await serving


async def is_active(channel: Channel) -> bool:
    call = channel.unary_unary(
        f"/{SERVICE}/IsActive",
        request_serializer=messages.ScaledObjectRef.SerializeToString,
        response_deserializer=messages.IsActiveResponse.FromString,
    )
    return (await call(OBJECT)).result


async def value(channel: Channel) -> messages.MetricValue:
    call = channel.unary_unary(
        f"/{SERVICE}/GetMetrics",
        request_serializer=messages.GetMetricsRequest.SerializeToString,
        response_deserializer=messages.GetMetricsResponse.FromString,
    )
    answer = await call(messages.GetMetricsRequest(scaledObjectRef=OBJECT, metricName="trunkline-desired-shards"))
    [found] = answer.metricValues
    return found


async def test_keda_is_told_the_number_in_both_its_fields() -> None:
    """Versions before 2.9 read the whole number, later ones the other."""
    async with asked(Told(6)) as channel:
        found = await value(channel)

    assert (found.metricName, found.metricValue, found.metricValueFloat) == ("trunkline-desired-shards", 6, 6.0)


async def test_the_target_is_one_shard() -> None:
    """With a target of 1 the autoscaler's replicas are the number itself."""
    async with asked(Told(6)) as channel:
        call = channel.unary_unary(
            f"/{SERVICE}/GetMetricSpec",
            request_serializer=messages.ScaledObjectRef.SerializeToString,
            response_deserializer=messages.GetMetricSpecResponse.FromString,
        )
        [spec] = (await call(OBJECT)).metricSpecs

    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("trunkline-desired-shards", 1, 1.0)


async def test_a_wanted_shard_makes_it_active() -> None:
    """KEDA keeps at least one replica only while this is true."""
    async with asked(Told(1)) as channel:
        assert await is_active(channel)


async def test_what_is_not_known_is_unavailable_and_never_a_number() -> None:
    """KEDA's fallback then keeps what there is; a 0 would end shards that work."""
    async with asked(Told(None)) as channel:
        for question in (is_active, value):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await question(channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_stream_says_it_once_and_again_when_it_changes() -> None:
    """Not knowing is no change: the stream stays silent, and stays open."""
    source = Told(None)
    async with asked(source) as channel:
        call = channel.unary_stream(
            f"/{SERVICE}/StreamIsActive",
            request_serializer=messages.ScaledObjectRef.SerializeToString,
            response_deserializer=messages.IsActiveResponse.FromString,
        )
        stream = call(OBJECT)
        source.number = 2
        first = await anext(aiter(stream))
        source.number = 0
        second = await anext(aiter(stream))
        stream.cancel()

    assert (first.result, second.result) == (True, False)


async def test_an_address_in_use_is_said() -> None:
    """The process ends with one line that says why, not with a trace."""
    loop = asyncio.get_running_loop()
    with pytest.raises(BadAddress, match="cannot listen"):
        await serve(ExternalScaler(Told(1)), "203.0.113.1:1", asyncio.Event(), loop.create_future())


@pytest.mark.e2e
async def test_the_service_reads_metrics_and_ends_when_asked(tmp_path: Path) -> None:
    """The command the chart runs, on a page a server writes."""
    metrics = Metrics(CollectorRegistry())
    metrics.desired_shards.set(4)
    port = free_port()
    with answering(metrics.exposition().decode()) as page, (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "scaler.autoscaling", "keda", "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen([*command, "--metrics", page], cwd=ROOT, stderr=log)  # noqa: ASYNC220, S603 - ours
        try:
            async with insecure_channel(f"127.0.0.1:{port}") as channel:
                await channel.channel_ready()
                found = await value(channel)
            process.send_signal(signal.SIGTERM)
            status = await asyncio.to_thread(process.wait, 10)
        finally:
            process.kill()
            await asyncio.to_thread(process.wait)

    assert (found.metricValue, status) == (4, 0)


@pytest.mark.e2e
def test_a_wrong_address_ends_the_start_in_one_line() -> None:
    """Exit code 2 is that of every process here that was asked for what cannot be."""
    command = [sys.executable, "-m", "scaler.autoscaling", "hook", "--metrics", "shards:8080", "--", "true"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    assert ended.returncode == 2
    assert ended.stderr.startswith("trunkline: shards:8080:")
    assert len(ended.stderr.splitlines()) == 1


def test_the_generated_module_is_that_of_the_definition(tmp_path: Path) -> None:
    """Whoever changes one without the other is told to run make protocols."""
    tool = importlib.util.find_spec("grpc_tools")
    assert tool is not None
    name = "scaler/autoscaling/externalscaler"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, f"{name}.proto"], cwd=ROOT, check=True)  # noqa: S603 - a tool of the environment

    for ending in ("_pb2.py", "_pb2.pyi"):
        assert (tmp_path / f"{name}{ending}").read_text("utf-8") == (ROOT / f"{name}{ending}").read_text("utf-8")
