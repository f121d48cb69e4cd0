"""Logs: events with fields, one JSON object a line unless a terminal reads them."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

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
    last: list[Processor] = (
        # Plain: the renderer's own tracebacks show local variables, which hold what people said.
        [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            drop_pii,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


def drop_pii(_logger: WrappedLogger, _method: str, event: EventDict) -> MutableMapping[str, object]:
    """Drop what callers said or what tells who they are: fields whose name begins with ``pii.``."""
    return {key: value for key, value in event.items() if not key.startswith("pii.")}
