"""How a server says why it does not start, and how it ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

import pytest

from gpu.models import ModelStore
from server.__main__ import BAD_SETTINGS
from tests.support.calls import calling
from tests.support.servers import ROOT, SCRIPTED, is_running, kill, serving, standalone, until
from tests.support.tones import flat, sentences, spoken
from trunkline import Audio, CallFailed

pytestmark = pytest.mark.e2e

REFUSED_WITHIN_S: Final = 60.0
AUDIO: Final = Audio("mulaw", 8000)


def refusal(*flags: str, port: int = 0) -> str:
    """Start a server that cannot start, and return the one line it says."""
    done = subprocess.run(  # noqa: S603 - our own
        standalone(*flags, port=port), cwd=ROOT, capture_output=True, text=True, timeout=REFUSED_WITHIN_S, check=False
    )
    assert done.returncode == BAD_SETTINGS
    assert done.stdout == ""
    *logged, line = done.stderr.splitlines()
    assert line.startswith("trunkline: ")
    assert all(each.startswith("{") for each in logged), "nothing but log lines may be around it"
    return line


def test_a_model_that_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    nowhere = tmp_path / "no-such-model"
    line = refusal("--set", f"models.final={nowhere}")
    assert str(nowhere) in line
    line = refusal("--set", "models.final=enormous.en")
    assert "enormous.en" in line
    assert "TRUNKLINE_MODELS" in line


@pytest.mark.parametrize(("file", "length"), [("model.bin", 1_000_000), ("config.json", 10), ("tokenizer.json", 0)])
def test_a_damaged_model_file_is_named_with_what_to_do(tmp_path: Path, file: str, length: int) -> None:
    """A download that broke off is the most common of all."""
    whole = ModelStore.from_environment({}).find("tiny.en")
    broken = tmp_path / "broken"
    shutil.copytree(whole, broken)
    with (broken / file).open("rb+") as opened:
        opened.truncate(length)

    line = refusal("--set", f"models.final={broken}")

    assert str(broken) in line
    assert "copy" in line


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        line = refusal(*SCRIPTED, port=port)
    assert f"127.0.0.1:{port}" in line
    assert "listen.port" in line


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--set", "limits.max_calls=none"), "limits.max_calls"),
        (("--set", "limits.max_cals=1"), "limits.max_cals"),
        (("--set", "devices.engine=magic"), "devices.engine"),
        (("--settings", "no-such-file.toml"), "no-such-file.toml"),
        (("--settings", "Makefile"), "Makefile"),
    ],
)
def test_bad_settings_are_named(flags: tuple[str, str], named: str) -> None:
    assert named in refusal(*flags)


async def test_a_server_that_is_told_to_stop_finishes_its_calls_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A rolling update must not cost a word, nor leave a process that holds a GPU."""
    said = sentences(3, seed=5)
    with serving(*SCRIPTED, log=tmp_path / "log") as server:
        devices = server.device_pids()
        assert devices
        async with calling(server.url, AUDIO) as caller:
            await caller.call.send(spoken(said)[:-5000])  # the last pause is not over, its final not due
            await asyncio.to_thread(until, lambda: len(caller.finals) >= 2, 60.0, "the first finals")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(CallFailed) as ended:
                await caller.listening
        assert ended.value.code == "draining"
        code = await asyncio.to_thread(server.process.wait, 60.0)
        log = server.written()

    assert caller.words() == flat(said)
    assert caller.numbers() == list(range(len(said)))
    assert code == 0
    assert not [pid for pid in devices if is_running(pid)]
    for complaint in ("Traceback", "never retrieved", "never awaited", "Warning"):
        assert complaint not in log


def test_the_devices_of_a_server_that_is_killed_end_by_themselves(tmp_path: Path) -> None:
    """Nobody is left to end them."""
    with serving(*SCRIPTED, log=tmp_path / "log") as server:
        devices = server.device_pids()
        assert devices
        kill(server.process.pid)
        server.process.wait()
        until(lambda: not any(map(is_running, devices)), 60.0, "the devices to end")
