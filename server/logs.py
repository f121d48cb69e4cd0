"""Logs: events with fields, one JSON object a line unless a terminal reads them."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str, style: str, stream: TextIO | None = None) -> None:
    """Set up logging for the process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: ``json``, ``text``, or ``auto`` for text on a terminal.
        stream: Where lines go; stderr if None.
    """
    out = stream or sys.stderr
    text = style == "text" or (style == "auto" and out.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if text
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            drop_pii,
            show_faults,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    # What a broker says is in no exception of its client's, only in what that logs.
    kafka = logging.getLogger("aiokafka")
    kafka.handlers = [_Forwarder(logging.WARNING)]
    kafka.propagate = False


class _Forwarder(logging.Handler):
    """Makes what a library logs one of our events."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a line on."""
        fault = record.exc_info[1] if record.exc_info else None
        log: FilteringBoundLogger = structlog.get_logger()
        log.log(record.levelno, "kafka.client", source=record.name, said=record.getMessage(), exc_info=fault)


def drop_pii(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, object]:
    """Drop what callers said or what tells who they are: fields whose name begins with ``pii.``."""
    return {key: value for key, value in event.items() if not key.startswith("pii.")}


def show_faults(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, object]:
    """Say where an exception was raised and of which type, without its message: it might quote what was said."""
    held = event.pop("exc_info", None)
    problem = held if isinstance(held, BaseException) else sys.exc_info()[1]
    if held and problem is not None:
        event["exception"] = "\n".join(_told(problem))
    return event


def _told(problem: BaseException) -> Iterator[str]:
    """Yield where an exception came from, then the same of its cause or of those it holds."""
    yield f"Traceback (most recent call last):\n{''.join(traceback.format_tb(problem.__traceback__))}{_name(problem)}"
    held: tuple[BaseException, ...] = getattr(problem, "exceptions", ()) if _is_group(problem) else ()
    for each in (*held, problem.__cause__):
        if each is not None:
            yield from _told(each)


def _is_group(problem: BaseException) -> bool:  # apart: narrowed, the exceptions it holds have no known type
    return isinstance(problem, BaseExceptionGroup)


def _name(problem: BaseException) -> str:
    kind = type(problem)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
