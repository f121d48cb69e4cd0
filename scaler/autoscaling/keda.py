"""KEDA's external scaler: answers, over gRPC, how many shards there should be.

KEDA divides the value by the target, which is 1, so that a Kubernetes autoscaler sets replicas to the value itself. All
hysteresis is the policy's, which decides it; KEDA's own delays should be short (the chart sets them).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import grpc
import structlog
from grpc.aio import ServicerContext
from structlog.typing import FilteringBoundLogger

from scaler.autoscaling.desired import Source
from scaler.autoscaling.errors import BadAddress, NoAnswer
from scaler.autoscaling.externalscaler_pb2 import (
    GetMetricSpecResponse,
    GetMetricsRequest,
    GetMetricsResponse,
    IsActiveResponse,
    MetricSpec,
    MetricValue,
    ScaledObjectRef,
)

log: FilteringBoundLogger = structlog.get_logger()

SERVICE: Final = "externalscaler.ExternalScaler"
METRIC_NAME: Final = "trunkline-desired-shards"
POLL_S: Final = 5.0
"""Seconds between looks of a stream, KEDA's own polling interval in the chart."""
GRACE_S: Final = 1.0
"""Seconds answers under way may take at the end."""


class ExternalScaler:
    """The four calls KEDA makes.

    What is not known is answered with UNAVAILABLE, never with a number: KEDA then holds on to what there is (`fallback`
    in the ScaledObject), where a 0 would end shards that work.

    Args:
        source: Knows the number.
        poll_s: Seconds between looks of a stream.
    """

    def __init__(self, source: Source, poll_s: float = POLL_S) -> None:
        self._source = source
        self._poll_s = poll_s

    async def is_active(
        self, _request: ScaledObjectRef, context: ServicerContext[ScaledObjectRef, IsActiveResponse]
    ) -> IsActiveResponse:
        """Say whether any shard is wanted."""
        try:
            return IsActiveResponse(result=await self._source.read() > 0)
        except NoAnswer as problem:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))

    async def stream_is_active(
        self, _request: ScaledObjectRef, _context: ServicerContext[ScaledObjectRef, IsActiveResponse]
    ) -> AsyncIterator[IsActiveResponse]:
        """Say whether any shard is wanted, now and whenever that changes; not knowing changes nothing."""
        said: bool | None = None
        while True:
            try:
                active = await self._source.read() > 0
            except NoAnswer as problem:
                log.warning("keda.unknown", problem=str(problem))
            else:
                if active != said:
                    said = active
                    yield IsActiveResponse(result=active)
            await asyncio.sleep(self._poll_s)

    async def get_metric_spec(
        self, _request: ScaledObjectRef, _context: ServicerContext[ScaledObjectRef, GetMetricSpecResponse]
    ) -> GetMetricSpecResponse:
        """Say what is measured: one unit of it is one shard."""
        return GetMetricSpecResponse(metricSpecs=[MetricSpec(metricName=METRIC_NAME, targetSize=1, targetSizeFloat=1)])

    async def get_metrics(
        self, _request: GetMetricsRequest, context: ServicerContext[GetMetricsRequest, GetMetricsResponse]
    ) -> GetMetricsResponse:
        """Say how many shards there should be."""
        try:
            number = await self._source.read()
        except NoAnswer as problem:
            log.warning("keda.unknown", problem=str(problem))
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
        value = MetricValue(metricName=METRIC_NAME, metricValue=number, metricValueFloat=number)
        return GetMetricsResponse(metricValues=[value])

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the calls under the names KEDA knows them by."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "IsActive": grpc.unary_unary_rpc_method_handler(
                    self.is_active,
                    request_deserializer=ScaledObjectRef.FromString,
                    response_serializer=IsActiveResponse.SerializeToString,
                ),
                "StreamIsActive": grpc.unary_stream_rpc_method_handler(
                    self.stream_is_active,
                    request_deserializer=ScaledObjectRef.FromString,
                    response_serializer=IsActiveResponse.SerializeToString,
                ),
                "GetMetricSpec": grpc.unary_unary_rpc_method_handler(
                    self.get_metric_spec,
                    request_deserializer=ScaledObjectRef.FromString,
                    response_serializer=GetMetricSpecResponse.SerializeToString,
                ),
                "GetMetrics": grpc.unary_unary_rpc_method_handler(
                    self.get_metrics,
                    request_deserializer=GetMetricsRequest.FromString,
                    response_serializer=GetMetricsResponse.SerializeToString,
                ),
            },
        )


async def serve(scaler: ExternalScaler, listen: str, stop: asyncio.Event, bound: asyncio.Future[int]) -> None:
    """Serve until told to stop.

    Args:
        scaler: Answers.
        listen: Address and port, such as ``127.0.0.1:9090``; port 0 lets the system choose.
        stop: Ends it.
        bound: Is given the port once it is listened on.

    Raises:
        BadAddress: If it cannot be listened there.
    """
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((scaler.handler(),))
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as problem:
        raise BadAddress(f"cannot listen on {listen}: {problem}") from problem
    await server.start()
    log.info("keda.listening", address=listen, port=port)
    bound.set_result(port)
    try:
        await stop.wait()
    finally:
        await server.stop(GRACE_S)
