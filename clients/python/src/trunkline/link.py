"""Connections to a server: addresses, keys, and what a refused or broken connection means."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI
from websockets.http11 import Response

from trunkline.errors import Refused, TrunklineError, Unreachable
from trunkline.wire import Fields, read_object

CLOSE_S: Final = 5.0
"""Seconds a server has to answer a close."""

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_log: Final = logging.getLogger("trunkline")


def address(url: str, path: str) -> str:
    """Return where a path of the server is.

    Args:
        url: Address of the server, or of this very path: ``ws://127.0.0.1:8080``, ``https://host/prefix``.
        path: Path below the server's address, such as ``/v1/stream``.

    Raises:
        ValueError: If the address is none.
    """
    if "://" not in url:
        url = f"ws://{url}"
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"{url!r} is no server's address; write one such as ws://127.0.0.1:8080")
    base = parts.path.rstrip("/").removesuffix(path)
    return urlunsplit((scheme, parts.netloc, base + path, parts.query, ""))


def authorization(key: str | None, scheme: str = "Bearer") -> dict[str, str]:
    """Return the header that shows a key."""
    return {} if key is None else {"Authorization": f"{scheme} {key}"}


@asynccontextmanager
async def open_socket(
    url: str, headers: Mapping[str, str], *, open_timeout_s: float = 10.0
) -> AsyncGenerator[ClientConnection]:
    """Connect, and disconnect at the end.

    Raises:
        Refused: If the server answers with something else than a WebSocket.
        Unreachable: If nobody answers.
    """
    socket = await connect_socket(url, headers, open_timeout_s=open_timeout_s)
    try:
        yield socket
    finally:
        await socket.close()


async def connect_socket(url: str, headers: Mapping[str, str], *, open_timeout_s: float = 10.0) -> ClientConnection:
    """Connect; see ``open_socket``. Whoever asks must close it."""
    where = f"{urlsplit(url).hostname}:{urlsplit(url).port or '(default port)'}"
    try:
        return await connect_websocket(
            url,
            additional_headers=headers,
            compression=None,  # neither u-law nor short JSON shrinks enough to pay for it
            open_timeout=open_timeout_s,
            close_timeout=CLOSE_S,
            max_size=None,  # who is trusted with the audio is trusted with the length of its text
            proxy=None if _is_loopback(urlsplit(url).hostname) else True,
            logger=_log,
            process_exception=_give_up,
        )
    except InvalidStatus as refusal:
        raise _refused(refusal.response) from refusal
    except InvalidURI as problem:
        raise Unreachable(f"{where} is no address that can be connected to") from problem
    except InvalidMessage as problem:
        raise Unreachable(f"what listens at {where} does not speak HTTP") from problem
    except InvalidHandshake as problem:
        raise Unreachable(f"what listens at {where} does not speak WebSocket: {problem}") from problem
    except TimeoutError as problem:
        raise Unreachable(f"{where} did not answer within {open_timeout_s:g} s") from problem
    except (OSError, EOFError) as problem:
        raise Unreachable(f"cannot connect to {where}: {_reason(problem)}; is the server running?") from problem


def _give_up(problem: Exception) -> Exception:
    """Hand every problem of connecting to the caller instead of trying again behind its back."""
    return problem


def _refused(response: Response) -> TrunklineError:
    error = _error(response.body)
    after = response.headers.get("Retry-After")
    return Refused(
        error.maybe_text("code") or f"http_{response.status_code}",
        error.maybe_text("message") or f"the server answered {response.status_code} {response.reason_phrase}",
        status=response.status_code,
        retry_after_s=float(after) if after is not None and after.isdecimal() else None,
    )


def _error(body: bytes | bytearray | None) -> Fields:
    """Return code and message of a refusal, in the native form or in Deepgram's."""
    try:
        fields = read_object(bytes(body or b"").decode("utf-8", "replace"))
    except ValueError:
        return Fields({})
    if code := fields.maybe_text("err_code"):
        return Fields({"code": code, "message": fields.maybe_text("err_msg")})
    return fields.section("error")


def _is_loopback(host: str | None) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _reason(problem: Exception) -> str:
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or type(problem).__name__
