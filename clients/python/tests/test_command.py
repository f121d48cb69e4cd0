"""The command line, as a user at a shell has it."""

from __future__ import annotations

import json
import socket
import struct
import sys
import wave
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import trunkline
from trunkline import cli
from trunkline.messages import Closed, Error, Watching
from trunkline.testing import FakeServer, Peer

Serve = Callable[..., AbstractContextManager[FakeServer]]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of both sides, mu-law."""
    data = b"\xff" * 32_000
    head = struct.pack("<HHIIHH", 7, 2, 8000, 16_000, 2, 8)
    chunks = b"fmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
    path = tmp_path / "call.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the command line in this process; gives the exit code."""

    def run_command(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["trunkline", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert isinstance(code, int)
        return code

    return run_command


def test_a_file_is_transcribed_side_by_side(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal every final is a plain line: times, side, words."""
    with server_in_thread() as server:
        code = run("transcribe", recording, "--fast", "--url", server.url, "--label", "customer", "--label", "agent")
    lines = capsys.readouterr().out.splitlines()

    assert code == 0
    assert lines == [" 0:00.0  0:02.0  customer  one two", " 0:00.0  0:02.0  agent     one two"]
    assert server.peers[0].start is not None
    assert not server.peers[0].start.interim


def test_json_is_one_message_a_line(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts read the protocol's own messages, interim ones too."""
    with server_in_thread() as server:
        code = run("transcribe", recording, "--fast", "--json", "--url", server.url)
    types = [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]

    assert code == 0
    assert types[-3:] == ["final", "final", "closed"]
    assert "partial" in types


def test_standard_input_may_be_bare_samples(
    run: Callable[..., int],
    tmp_path: Path,
    server_in_thread: Serve,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Telephony tools write to pipes, without heads."""
    raw = tmp_path / "raw"
    raw.write_bytes(b"\xd5" * 16_000)
    with server_in_thread() as server, raw.open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        code = run("transcribe", "-", "--fast", "--encoding", "alaw", "--rate", "16000", "--url", server.url)

    assert code == 0
    assert "one" in capsys.readouterr().out
    assert server.peers[0].start is not None
    assert server.peers[0].start.audio == trunkline.Audio("alaw", 16000, 1)


def test_a_missing_server_is_one_clear_line(
    run: Callable[..., int], recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first thing every new user sees must say what to do."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code = run("transcribe", recording, "--url", f"ws://127.0.0.1:{unused.getsockname()[1]}")
    said = capsys.readouterr().err

    assert code == 2
    assert "is the server running?" in said
    assert said.count("\n") == 1


def test_a_refusal_is_one_clear_line(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong key is the caller's to mend."""
    with server_in_thread(refusal=trunkline.Refused("unauthorized", "the API key is not known", status=401)) as server:
        code = run("transcribe", recording, "--url", server.url)

    assert code == 2
    assert capsys.readouterr().err == "trunkline: unauthorized: the API key is not known\n"


def test_a_call_that_fails_exits_with_one(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts tell a broken call from one that never was."""

    async def fail(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send(Error("internal", "our fault", fatal=True))
        await peer.socket.close(1011)

    with server_in_thread(fail) as server:
        code = run("transcribe", recording, "--url", server.url)

    assert code == 1
    assert capsys.readouterr().err == "trunkline: internal: our fault\n"


@pytest.mark.parametrize("arguments", [["transcribe"], ["transcribe", "a.wav", "--mic"], ["load"], ["shout"]])
def test_a_command_that_makes_no_sense_exits_with_two(run: Callable[..., int], arguments: list[str]) -> None:
    """As everywhere on the command line."""
    assert run(*arguments) == 2


def test_a_missing_file_is_one_clear_line(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """A traceback would help nobody."""
    assert run("transcribe", "no-such-file.wav") == 2
    assert "no-such-file.wav" in capsys.readouterr().err


def test_a_call_can_be_watched(
    run: Callable[..., int], server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Supervisors look over a bridge's shoulder."""

    async def tell(peer: Peer) -> None:
        await peer.send(Watching("c1", ("a", "b")), Closed("c1", "hangup", 1.0, 0.0, 0))

    with server_in_thread(tell) as server:
        code = run("watch", "c1", "--json", "--url", server.url)

    assert code == 0
    assert json.loads(capsys.readouterr().out)["type"] == "closed"


def test_load_reports_in_json(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs are kept and compared."""
    with server_in_thread() as server:
        code = run("load", recording, "-n", 2, "--ramp", 0, "--duration", 1.1, "--json", "--url", server.url)
    found = json.loads(capsys.readouterr().out)

    assert code == 0
    assert (found["framing"], found["calls"], found["done"], found["failed"]) == ("native", 2, 2, 0)
    assert found["first_partial_s"]["count"] == 4
    assert found["setup_s"]["count"] == 2


def test_load_names_what_failed(
    run: Callable[..., int], recording: Path, server_in_thread: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full server is the answer that a load test looks for."""
    with server_in_thread(refusal=trunkline.Refused("overloaded", "no room", status=503)) as server:
        code = run("load", recording, "-n", 3, "--ramp", 0, "--url", server.url)
    said = capsys.readouterr()

    assert code == 2
    assert "overloaded: 3" in said.out
    assert said.err == "trunkline: overloaded: no room\n"


def test_the_demonstration_takes_only_what_twilio_sends(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user is told how to convert the recording, in one line."""
    recording, reference = tmp_path / "call.wav", tmp_path / "call.json"
    with wave.open(str(recording), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(640))
    reference.write_text('{"turns": [{"channel": 0, "start_s": 0, "end_s": 1, "text": "hello"}]}')

    assert run("demo", recording, reference) == 2
    assert "sox" in capsys.readouterr().err
