"""A few pages over HTTP, for processes that serve nothing else: alive, ready, metrics."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from server.errors import BadSetting, why
from server.health import ReadinessProbe
from server.metrics import Metrics

_QUIET: Final = logging.getLogger("trunkline.websockets")


@asynccontextmanager
async def serve_pages(host: str, port: int, readiness: ReadinessProbe, metrics: Metrics) -> AsyncGenerator[int]:
    """Serve /healthz, /readyz and /metrics for the length of the context; its value is the port.

    Raises:
        BadSetting: If the address cannot be listened on.
    """

    def answer(_: ServerConnection, request: Request) -> Response:
        match urlsplit(request.path).path:
            case "/healthz":
                return _page(200, "application/json", b'{"alive":true}')
            case "/readyz":
                now = readiness()
                body = json.dumps({"ready": now.ready, "reason": now.reason}).encode()
                return _page(200 if now.ready else 503, "application/json", body)
            case "/metrics":
                return _page(200, "text/plain; version=0.0.4; charset=utf-8", metrics.exposition())
            case _:
                return _page(404, "text/plain", b"here are /healthz, /readyz and /metrics; calls go to a gateway\n")

    try:
        server = await serve(_hang_up, host, port, process_request=answer, server_header=None, logger=_QUIET)
    except OSError as problem:
        raise BadSetting(f"cannot listen on {host}:{port}: {why(problem)}; choose another host or port") from problem
    async with server:
        yield next(iter(server.sockets)).getsockname()[1]


async def _hang_up(socket: ServerConnection) -> None:
    await socket.close()


def _page(status: int, content_type: str, body: bytes) -> Response:
    headers = Headers({"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, http.HTTPStatus(status).phrase, headers, body)
