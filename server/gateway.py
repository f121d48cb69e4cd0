"""The listener: takes requests, answers what is HTTP, and gives every WebSocket its dialect and its connection."""

from __future__ import annotations

import asyncio
import http
import json
import logging
import random
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog
from prometheus_client import CollectorRegistry
from structlog.typing import FilteringBoundLogger
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from server import events, native, tcp
from server.admission import Admission, CountingAdmission
from server.apis import routes as api_routes
from server.auth import Keyring
from server.bridges import routes as bridge_routes
from server.bridges import twilio
from server.connection import Connection
from server.delivery import Delivery, Start, from_the_beginning
from server.dialect import Dialect, Ill, Upgrade
from server.directory import Directory
from server.errors import BadSetting, Refusal, why
from server.front import Front
from server.gate import Gate, read_caller
from server.health import ReadinessProbe, always_ready
from server.http_exchange import HttpExchange
from server.metrics import Metrics
from server.page import calls, files, load
from server.posting import Posting
from server.routes import Route
from server.services import Services
from server.settings import Settings
from server.transcriber import Transcriber
from server.transport import Socket
from streaming.log import Log

log: FilteringBoundLogger = structlog.get_logger()

PULSE_S: Final = 0.05
"""Seconds between looks at what is due on each connection."""

CLOSE_S: Final = 5.0
"""Seconds a peer has to answer a close."""

JSON: Final = "application/json"

Page = Callable[[], tuple[int, str, bytes]]
"""Answers a GET: status, content type, body."""

_QUIET: Final = logging.getLogger("trunkline.websockets")
_QUIET.setLevel(logging.CRITICAL)  # what peers do wrong is counted and answered here; keys in addresses stay unlogged
_QUIET.propagate = False


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of a connection once it is open."""

    route: Route
    tenant: str
    dialect: Dialect
    request_id: str


class _Socket(Front):
    """A connection that remembers what its request was found to want."""

    plan: _Plan | None = None
    route: Route | None = None
    request_id: str = ""


class Gateway:
    """Serves calls over WebSockets.

    Args:
        settings: All of them.
        source: The log that calls are written to and their text is read from.
        models: Names of the models served, the default one first; none given means any name is passed on.
        readiness: Tells whether calls can be served.
        admission: Decides about calls; None for counting them.
        slots: Returns the slots that are served, for counting; None for all of the log.
        starts: Tells where to begin with the output of slots.
        log_trouble: Says why the log cannot be used, if that has lasted for so long that calls must be told.
        metrics: Where things are counted; None for metrics of its own.
        pages: Path to what a plain GET gets there, besides /healthz, /readyz, /metrics and the live page.
        shared: Whether other gateways share the log, so that calls can go on there when this one stops.
        sampler: Looks at the load, for the live page and who else follows /v1/load.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        source: Log,
        *,
        models: Collection[str] = (),
        readiness: ReadinessProbe = always_ready,
        admission: Admission | None = None,
        slots: Callable[[], Collection[int]] | None = None,
        starts: Callable[[], Awaitable[Mapping[int, Start]]] = from_the_beginning,
        log_trouble: Callable[[], str] = str,
        metrics: Metrics | None = None,
        pages: Mapping[str, Page] | None = None,
        shared: bool = False,
        sampler: load.Sampler = load.Sample,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        limits = settings.limits
        self._settings = settings
        self._readiness = readiness
        self._metrics = metrics or Metrics(CollectorRegistry())
        self._clock = clock
        self._log_trouble = log_trouble
        self._told_away = False
        self.directory = Directory(source)
        """Which slot each call lives in."""
        self._admission = admission or CountingAdmission(
            self.directory,
            slots or (lambda: range(source.slots)),
            limits.max_calls,
            limits.max_calls_per_tenant,
            limits.retry_after_s,
            rng=random.Random(),  # noqa: S311  chance, not secrecy
        )
        self.delivery = Delivery(source, self.directory, self._metrics, clock, limits.keep_ended_s, starts=starts)
        """What calls say."""
        self.services = Services(
            source, self.directory, self.delivery, self._admission, self._metrics, limits, clock, time.time, shared
        )
        keyring = Keyring({who: [key.get_secret_value() for key in keys] for who, keys in settings.auth.keys.items()})
        self._connections: set[Connection] = set()
        self._models = names = tuple(models)
        transcriber = Transcriber(self.services, self._enter, self._leave)
        self._gate = Gate(settings.auth, self._admission, self._metrics, clock)
        posts = api_routes.posts(keyring, settings, transcriber, names)
        self._posting = Posting(posts, self._gate, self._metrics, settings.files.at_once)
        self._resources = {
            **api_routes.resources(keyring, names),
            calls.PATH: calls.resource(keyring, self.directory),
        }
        self._load = load.LoadHistory(sampler, lambda: self.directory.live, self._late)
        self._files = files.load(key_needed=bool(settings.auth.keys), models=names)
        self._routes = [
            *native.routes(keyring, limits, models),
            *api_routes.routes(keyring, settings, names),
            *twilio.routes(keyring, settings.twilio, limits.idle_s),
            *bridge_routes.routes(keyring, settings),
            events.route(keyring, self.directory),
            calls.route(keyring),
            load.route(keyring, self._load),
        ]
        self._pages: dict[str, Page] = {
            "/healthz": lambda: (200, JSON, b'{"alive":true}'),
            "/readyz": self._ready_page,
            "/metrics": self._metrics_page,
            **(pages or {}),
        }
        self._background: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self.audiosocket_port: int | None = None
        """Where AudioSocket is listened for while serving; None if that is off."""
        self.wyoming_port: int | None = None
        """Where Wyoming is listened for while serving; None if that is off."""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, then let calls finish within the limit.

        Raises:
            BadSetting: If the address cannot be listened on.
        """
        async with self.serving() as port:
            log.info("gateway.listening", host=self._settings.listen.host, port=port)
            stopping = asyncio.create_task(stop.wait(), name="gateway-stop")
            await asyncio.wait({stopping, *self._background}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            log.info("gateway.draining", connections=len(self._connections))

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[int]:
        """Serve while the context lasts; its value is the port.

        Raises:
            BadSetting: If the address cannot be listened on.
        """
        server = await self._listen()
        background = asyncio.create_task(self._work(), name="gateway-background")
        self._background.add(background)
        try:
            chosen, idle_s = self._settings, self._settings.limits.idle_s
            async with (
                tcp.audiosocket(chosen.audiosocket, idle_s, self.carry) as self.audiosocket_port,
                tcp.wyoming(chosen.wyoming, idle_s, self.carry, self._models) as self.wyoming_port,
            ):
                yield next(iter(server.sockets)).getsockname()[1]
                await self.drain()
        finally:
            self._posting.abort()
            server.close(code=1012, reason=Ill.DRAINING)
            await server.wait_closed()
            background.cancel()
            with suppress(asyncio.CancelledError):
                await background  # raises what made it end by itself

    async def drain(self) -> None:
        """Take no more calls and let those in progress finish, within the limit."""
        self._gate.draining = True
        for connection in list(self._connections):
            connection.drain()
        if self._connections:
            self._empty.clear()
            try:
                async with asyncio.timeout(self._settings.limits.drain_s):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("gateway.drain_cut_short", connections=len(self._connections))

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.directory.run(), name="directory")
            tasks.create_task(self.delivery.run(), name="delivery")
            tasks.create_task(self._pulse(), name="pulse")
            tasks.create_task(self._load.run(), name="load-history")

    async def _listen(self) -> Server:
        listen, limits = self._settings.listen, self._settings.limits
        try:
            return await serve(
                self._serve,
                listen.host,
                listen.port,
                process_request=self._process_request,
                process_response=self._process_response,
                select_subprotocol=self._select_subprotocol,
                create_connection=self._socket_class(),
                compression=None,  # u-law does not compress, and each compressor costs 64 KB
                server_header=None,
                open_timeout=None,  # the connection's own: an upgrade and a file take different times
                ping_interval=limits.ping_s,
                ping_timeout=limits.ping_s,
                close_timeout=CLOSE_S,
                max_size=limits.message_bytes,
                logger=_QUIET,
            )
        except OSError as problem:
            raise BadSetting(
                f"cannot listen on {listen.host}:{listen.port}: {why(problem)}; "
                "choose another listen.host or listen.port"
            ) from problem

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            now = self._clock()
            self._tell_of_the_log(now)
            for connection in list(self._connections):
                connection.pulse(now)
            self.delivery.prune(now)
            self.directory.tidy(now)
            self._metrics.calls.set(self.directory.live)

    def _tell_of_the_log(self, now: float) -> None:
        """Tell calls that their audio is not acknowledged and their text will be late, and when that is over."""
        trouble = self._log_trouble()
        away = bool(trouble)
        if away == self._told_away:
            return
        self._told_away = away
        if away:
            log.error("log.away", problem=trouble)
        else:
            log.info("log.back")
        for connection in list(self._connections):
            connection.tell_of_the_log(now, away=away)

    async def _serve(self, socket: ServerConnection) -> None:
        if not isinstance(socket, _Socket) or socket.plan is None:  # pragma: no cover - set before every upgrade
            return
        plan = socket.plan
        await self.carry(socket, plan.dialect, plan.tenant, plan.route.idle_s)

    async def carry(self, socket: Socket, dialect: Dialect, tenant: str, idle_s: float) -> None:
        """Serve an open connection, of whatever transport, until it is closed.

        Args:
            socket: The connection.
            dialect: Translates for it.
            tenant: Whose it is.
            idle_s: Silence on the wire after which a call counts as gone, in seconds.
        """
        connection = Connection(socket, dialect, tenant, idle_s, self.services)
        self._enter(connection)
        try:
            await connection.run()
        finally:
            self._leave(connection)

    def _enter(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._gate.draining:
            connection.drain()

    def _leave(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    # --- requests ---

    def _process_request(self, socket: ServerConnection, request: Request) -> Response | None:
        address = urlsplit(request.path)
        plain = request.headers.get("Upgrade", "").lower() != "websocket"
        page = self._pages.get(address.path)
        if page is not None and plain:
            status, content_type, body = page()
            return _response(status, body, {"Content-Type": content_type})
        file = self._files.get(address.path)
        if file is not None and plain:
            answer = file.answer(request.headers.get("If-None-Match"))
            return _response(answer.status, answer.body, answer.headers)
        request_id = str(uuid.uuid4())
        resource = self._resources.get(address.path)
        if resource is not None and plain:
            try:
                caller = read_caller(str(socket.remote_address[0]), request.headers, request.path, {})
                status, content_type, body = resource.answer(self._gate.admit(resource, caller, opens_call=False))
            except Refusal as refusal:
                status, content_type = refusal.status, JSON
                body = json.dumps(resource.refusal(refusal, request_id)).encode()
            return _response(status, body, {"Content-Type": content_type})
        try:
            self._plan(socket, request, address.path, request_id)
        except Refusal as refusal:
            self._metrics.refusals.labels(str(refusal.status), refusal.code).inc()
            route = socket.route if isinstance(socket, _Socket) else None
            if route is None:
                route = self._routes[0]
            headers = {"Content-Type": JSON, **route.headers(request_id), **refusal.headers}
            return _response(refusal.status, route.refusal_body(refusal, request_id), headers)
        return None

    def _plan(self, socket: ServerConnection, request: Request, path: str, request_id: str) -> None:
        route, captured = self._route(path)
        if not isinstance(socket, _Socket):  # pragma: no cover - made by this gateway
            return
        socket.route = route
        socket.request_id = request_id
        caller = read_caller(str(socket.remote_address[0]), request.headers, request.path, captured)
        tenant = self._gate.admit(route, caller, opens_call=route.opens_call)
        read = {name: ",".join(request.headers.get_all(name)) for name in route.reads if name in request.headers}
        dialect = route.build(Upgrade(tenant, request_id, path, caller.query, captured, read))
        socket.plan = _Plan(route, tenant, dialect, request_id)

    def _route(self, path: str) -> tuple[Route, dict[str, str]]:
        for route in self._routes:
            captured = route.match(path)
            if captured is not None:
                return route, captured
        raise Refusal(404, "unknown_path", "nothing is served here; see /v1/stream and the other documented paths")

    def _process_response(self, socket: ServerConnection, _request: Request, response: Response) -> None:
        if isinstance(socket, _Socket) and socket.plan is not None:
            for name, value in socket.plan.route.headers(socket.plan.request_id).items():
                response.headers[name] = value

    def _select_subprotocol(self, socket: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        route = socket.route if isinstance(socket, _Socket) else None
        known = route.subprotocols if route is not None else ()
        return next((name for name in offered if name.lower() in known), None)

    def _socket_class(self) -> type[_Socket]:
        posting = self._posting

        class Socket(_Socket):
            patience_s = self._settings.limits.open_s

            async def post(self, exchange: HttpExchange) -> None:
                await posting.answer(self, exchange)

        return Socket

    # --- pages ---

    def _late(self) -> load.Finals:
        late = self.delivery.late
        return load.Finals(late.percentile(0.5), late.percentile(0.95), len(late))

    def _ready_page(self) -> tuple[int, str, bytes]:
        readiness = self._readiness()
        reason = "draining" if self._gate.draining else readiness.reason
        ready = readiness.ready and not self._gate.draining
        return (200 if ready else 503), JSON, json.dumps({"ready": ready, "reason": reason}).encode()

    def _metrics_page(self) -> tuple[int, str, bytes]:
        return 200, "text/plain; version=0.0.4; charset=utf-8", self._metrics.exposition()


def _response(status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    fields = Headers({**headers, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status, http.HTTPStatus(status).phrase, fields, body)
