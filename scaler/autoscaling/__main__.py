"""The command line: ``python -m scaler.autoscaling keda`` and ``python -m scaler.autoscaling hook``."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

import structlog

from scaler.autoscaling.desired import DesiredShards, MetricsAddress
from scaler.autoscaling.errors import BadAddress
from scaler.autoscaling.hook import Hook

BAD_USE = 2
"""Exit code of a process that could not start because of how it was asked to."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand until SIGTERM or SIGINT.

    Args:
        arguments: The command line without the program's name; the process's own if None.

    Returns:
        The exit code: 0 after a stop that was asked for, 2 if it could not be done as asked.
    """
    chosen = _parser().parse_args(arguments)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        source = DesiredShards([MetricsAddress.parse(url) for url in chosen.metrics], chosen.timeout)
        asyncio.run(_run(chosen, source))
    except BadAddress as problem:
        sys.stderr.write(f"trunkline: {problem}\n")
        return BAD_USE
    return 0


async def _run(chosen: argparse.Namespace, source: DesiredShards) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if chosen.service == "hook":
        await Hook(source, chosen.command, chosen.limit).run(chosen.poll, stop)
        return
    from scaler.autoscaling.keda import ExternalScaler, serve  # noqa: PLC0415 - the hook needs no gRPC

    await serve(ExternalScaler(source, chosen.poll), chosen.listen, stop, loop.create_future())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaler.autoscaling", description="Tells others how many shards there should be."
    )
    services = parser.add_subparsers(dest="service", required=True)
    keda = services.add_parser("keda", help="KEDA's external scaler, over gRPC")
    keda.add_argument("--listen", default="127.0.0.1:9090", help="address and port; default: %(default)s")
    hook = services.add_parser("hook", help="run a command whenever the number changes")
    hook.add_argument("--limit", type=float, default=600.0, metavar="SECONDS", help="for the command; default 600")
    for service in (keda, hook):
        service.add_argument(
            "--metrics",
            action="append",
            required=True,
            metavar="URL",
            help="where shards serve metrics, such as http://shards:8080/metrics; may be given several times",
        )
        service.add_argument("--poll", type=float, default=5.0, metavar="SECONDS", help="between looks; default 5")
        service.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="for an answer; default 2")
    hook.add_argument("command", nargs="+", help="after --: the command and its arguments, run without a shell")
    return parser


if __name__ == "__main__":
    sys.exit(main())
