"""Requests with a body: each is let in, read, answered; at most so many at a time."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog
from structlog.typing import FilteringBoundLogger

from server.dialect import Upgrade
from server.errors import Refusal
from server.front import Front
from server.gate import Gate, read_caller
from server.http_exchange import HttpExchange, PeerGone
from server.metrics import Metrics
from server.routes import Post, native_refusal

log: FilteringBoundLogger = structlog.get_logger()


class Posting:
    """Answers every POST of a gateway.

    Args:
        posts: What is served.
        gate: Lets requests in.
        metrics: Counts refusals.
        at_once: Requests that are read and answered at a time; the others wait, unread.
    """

    def __init__(self, posts: Sequence[Post], gate: Gate, metrics: Metrics, at_once: int) -> None:
        self._posts = {post.pattern: post for post in posts}
        self._gate = gate
        self._metrics = metrics
        self._places = asyncio.Semaphore(at_once)
        self._fronts: set[Front] = set()

    def abort(self) -> None:
        """Break off what is not answered yet."""
        for front in self._fronts:
            front.transport.abort()

    async def answer(self, front: Front, exchange: HttpExchange) -> None:
        """Answer one request."""
        self._fronts.add(front)
        request_id = str(uuid.uuid4())
        try:
            await self._answer(str(front.remote_address[0]), exchange, request_id)
        except (PeerGone, ConnectionError):
            log.info("request.abandoned", request=request_id)
        finally:
            self._fronts.discard(front)

    async def _answer(self, peer: str, exchange: HttpExchange, request_id: str) -> None:
        post: Post | None = None
        try:
            await exchange.read_head()
            post = self._find(exchange.target)
            caller = read_caller(peer, exchange.headers, exchange.target, {})
            tenant = self._gate.admit(post, caller, opens_call=True)
            async with self._places:
                await post.serve(exchange, Upgrade(tenant, request_id, caller.path, caller.query))
        except Refusal as refusal:
            await self._refuse(exchange, post, refusal, request_id)
        except (PeerGone, ConnectionError):
            raise
        except Exception:
            log.exception("request.failed", request=request_id)
            problem = Refusal(500, "internal", "the server failed at this request; try again")
            await self._refuse(exchange, post, problem, request_id)

    def _find(self, target: str) -> Post:
        post = self._posts.get(urlsplit(target).path)
        if post is None:
            raise Refusal(404, "unknown_path", f"nothing takes a POST here; {', '.join(self._posts)} do")
        return post

    async def _refuse(self, exchange: HttpExchange, post: Post | None, refusal: Refusal, request_id: str) -> None:
        self._metrics.refusals.labels(str(refusal.status), refusal.code).inc()
        if exchange.answered:  # its stream ends early, which is all that can be said now
            return
        headers = {"Content-Type": "application/json", **refusal.headers}
        if post is not None:
            headers |= post.headers(request_id)
        said = (native_refusal if post is None else post.refusal)(refusal, request_id)
        await exchange.answer(refusal.status, headers, json.dumps(said).encode())
