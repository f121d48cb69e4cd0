"""The boundary to aiokafka: the only place that imports it, and that translates what it raises.

It is loaded on first use: who runs without Kafka need not have it.
"""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, cast

from streaming.errors import LogError, LogMisconfigured, LogRefused, LogUnavailable, RecordTooLarge
from streaming.log.kafka_settings import KafkaSecurity
from streaming.log.kafka_types import AdminLibrary, Library, Producer

FLUSH_S: Final = 5.0
"""Longest wait, in seconds, for records still on their way when a producer is let go."""

ENDING_S: Final = 1.0
"""How long a producer's sender may take to end, once it is told to, before it is told again."""


def library() -> Library:
    """Return aiokafka.

    Raises:
        LogMisconfigured: If it is not installed.
    """
    try:
        return cast("Library", importlib.import_module("aiokafka"))
    except ModuleNotFoundError as problem:
        raise LogMisconfigured(
            "the log is set to Kafka but aiokafka is not installed; install requirements/kafka.lock, "
            "or 'aiokafka', or set the log to memory"
        ) from problem


def admin_library() -> AdminLibrary:
    """Return aiokafka's half for administrators."""
    library()
    return cast("AdminLibrary", importlib.import_module("aiokafka.admin"))


def connection(bootstrap: str, security: KafkaSecurity) -> dict[str, object]:
    """Return the settings that every client of a cluster takes. Reads certificate files: blocks.

    Raises:
        LogMisconfigured: If a certificate file cannot be used.
    """
    common: dict[str, object] = {"bootstrap_servers": bootstrap, "security_protocol": security.protocol}
    if security.mechanism is not None:
        common |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    if security.tls:
        try:
            context = ssl.create_default_context(cafile=security.ca_file)
            if security.certificate_file is not None:
                context.load_cert_chain(security.certificate_file, security.key_file)
        except OSError as problem:
            raise LogMisconfigured(
                f"a certificate for Kafka cannot be used ({type(problem).__name__}); check ca_file "
                f"{security.ca_file}, certificate_file {security.certificate_file}, key_file {security.key_file}"
            ) from problem
        common["ssl_context"] = context
    return common


async def reached(start: Callable[[], Awaitable[None]], common: Mapping[str, object]) -> None:
    """Start a client.

    Where no broker lets it in, a client logs why and raises only that it could not connect: the first broker is then
    asked once more.

    Args:
        start: Of the client.
        common: As ``connection`` returns it.
    """
    try:
        await start()
    except library().errors.KafkaConnectionError:
        module = importlib.import_module("aiokafka.conn")
        settings = {name: value for name, value in common.items() if name != "bootstrap_servers"}
        host, port, _ = module.collect_hosts(common["bootstrap_servers"])[0]
        (await module.create_conn(host, port, **settings)).close()
        raise


_REFUSED: Final = frozenset(
    {
        "AuthenticationFailedError",
        "AuthenticationMethodNotSupported",
        "ClusterAuthorizationFailedError",
        "IllegalSaslStateError",
        "SaslAuthenticationFailed",
        "TopicAuthorizationFailedError",
        "UnsupportedSaslMechanismError",
    }
)
_TOO_LARGE: Final = frozenset({"MessageSizeTooLargeError", "RecordListTooLargeError", "RecordTooLargeError"})
_MISCONFIGURED: Final = frozenset(
    {
        "InvalidConfigurationError",
        "InvalidPartitionsError",
        "InvalidReplicationFactorError",
        "InvalidRequiredAcksError",
        "InvalidTopicError",
        "PolicyViolationError",
        "UnknownTopicOrPartitionError",
    }
)
_UNAVAILABLE: Final = frozenset({"KafkaTimeoutError", "KafkaUnavailableError", "ProducerClosed"})


def may_pass(problem: BaseException) -> bool:
    """Tell whether a failure is one of those that end by themselves."""
    return bool(getattr(problem, "retriable", isinstance(problem, OSError))) or type(problem).__name__ in _UNAVAILABLE


def translated(problem: BaseException, doing: str) -> LogError:
    """Return our exception for one of aiokafka's.

    Args:
        problem: What was raised.
        doing: What could not be done, and where: the beginning of the message.
    """
    name = type(problem).__name__
    if isinstance(problem, ssl.SSLError):
        return LogRefused(
            f"{doing}: no TLS with the broker ({name}); check kafka.tls, ca_file, certificate_file, and that the "
            "brokers' certificates bear the names that kafka.bootstrap and the brokers themselves use"
        )
    if name in _REFUSED:
        return LogRefused(
            f"{doing}: the Kafka cluster refused ({name}); check user, password, mechanism and TLS, and that the user "
            "may read, write, describe and create the topics"
        )
    if name in _TOO_LARGE:
        return RecordTooLarge(
            f"{doing}: the record is too large ({name}); send shorter chunks, or raise max.message.bytes of the topic"
        )
    if name in _MISCONFIGURED:
        return LogMisconfigured(
            f"{doing}: topic and settings do not fit ({name}); check prefix and slots, and that the topics exist"
        )
    if may_pass(problem):
        return LogUnavailable(f"{doing}: no broker answers ({name}); check that the cluster is up and reachable")
    return LogError(f"{doing}: Kafka failed ({name})")


@contextmanager
def translating(doing: str) -> Generator[None, None, None]:
    """Turn what aiokafka and the network raise into ours.

    Raises:
        LogError: The one that fits; see ``translated``.
    """
    try:
        yield
    except (library().errors.KafkaError, OSError) as problem:  # a TimeoutError is an OSError
        raise translated(problem, doing) from problem


async def let_go(producer: Producer) -> None:
    """Flush, at most for ``FLUSH_S``, and stop, whether any broker answers or not.

    A producer that is still sending does not stop by itself: an idempotent one waits for brokers for ever, any other
    for its request timeout. Its sender is ended instead. Told so once, the sender first waits for the requests it has
    on their way, and these may wait for metadata that nobody fetches any more; told again, it ends these too.
    """
    with suppress(library().errors.KafkaError, OSError):
        try:
            async with asyncio.timeout(FLUSH_S):
                await producer.flush()
        except TimeoutError:
            sending = producer._sender.sender_task  # pyright: ignore[reportPrivateUsage]  there is no public way
            while sending is not None and not sending.done():
                sending.cancel()
                await asyncio.wait([sending], timeout=ENDING_S)
        await producer.stop()
