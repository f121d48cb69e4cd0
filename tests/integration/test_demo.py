"""The demonstration that a newcomer runs first, where things are not as they should be."""

from __future__ import annotations

import socket
import sys

import pytest

from tests import demo


def test_a_server_that_is_not_there_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With --url nothing is started, so the address is what is wrong."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code = demo.main(["--url", f"ws://127.0.0.1:{unused.getsockname()[1]}"])

    assert code == 2
    assert "is the server running?" in capsys.readouterr().out


def test_a_server_that_does_not_start_shows_the_end_of_its_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason stands in the log, and the log would be gone with the server."""
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # a server that repeats its arguments and leaves

    assert demo.main([]) == 2
    said = capsys.readouterr().out
    assert "ended with exit code 0" in said
    assert "-m server standalone" in said
