"""The image: its recipe is sound, its locks agree, and what goes into it runs from there alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.support.ports import free_port
from tests.support.servers import ROOT, launch, until

IMAGE: Final = ROOT / "deploy" / "image"
BUILD: Final = IMAGE / "build"
READY_S: Final = 90.0


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    ended = subprocess.run(  # noqa: S603 - our own scripts and tools
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def pins(file: Path) -> dict[str, str]:
    """Return the versions of a lock."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", file.read_text("utf-8"), re.MULTILINE))


def test_the_recipe_is_what_the_linter_finds_nothing_in() -> None:
    """Hadolint reads it as Docker does, and the shell in it as ShellCheck does."""
    run(Path(sys.executable).with_name("hadolint"), IMAGE / "Dockerfile")


def test_what_is_installed_is_what_was_tested() -> None:
    """The image's lock takes its versions from the one the tests run with."""
    tested = pins(ROOT / "requirements" / "dev.lock")
    installed = pins(ROOT / "requirements" / "image.lock")

    assert installed
    assert {name: version for name, version in installed.items() if tested.get(name) != version} == {}


@pytest.mark.parametrize("lock", ["run", "kafka"])
def test_all_that_a_server_needs_is_installed(lock: str) -> None:
    """A lock that was forgotten when a dependency came shows only in the image, as a module that is not there."""
    needed = pins(ROOT / "requirements" / f"{lock}.lock")

    assert {name for name in needed if name not in pins(ROOT / "requirements" / "image.lock")} == set()


@pytest.mark.parametrize("variant", ["cuda", "torch"])
def test_what_a_gpu_needs_besides_changes_nothing_else(variant: str) -> None:
    """A second version of a package would undo the first."""
    base = pins(ROOT / "requirements" / "image.lock")
    besides = pins(IMAGE / f"{variant}.lock")

    assert any(name.startswith("nvidia-cudnn") for name in besides)
    assert {name for name in base.keys() & besides.keys() if base[name] != besides[name]} == set()


def test_an_image_without_a_name_or_of_an_unknown_kind_is_refused() -> None:
    """Before minutes are spent on it."""
    for arguments, said in (
        ([], "--tag"),
        (["--tag", "t", "--variant", "tpu"], "cpu, cuda or torch"),
        (["--fast"], "--fast"),
    ):
        ended = subprocess.run([BUILD, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - ours
        assert ended.returncode == 2
        assert said in ended.stderr


def test_the_chart_and_compose_start_what_the_image_has() -> None:
    """The entry point is the server; only the autoscaling service has another."""
    recipe = (IMAGE / "Dockerfile").read_text("utf-8")
    composition = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text("utf-8"))

    assert 'ENTRYPOINT ["python", "-m", "server"]' in recipe
    assert composition["services"]["shard-1"]["command"][0] == "shard"
    assert "args: [shard," in (ROOT / "deploy" / "helm" / "trunkline" / "templates" / "shard.yaml").read_text("utf-8")


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_what_goes_into_the_image_serves_from_there_alone(tmp_path: Path) -> None:
    """The folder an image is built from holds all it needs: no file of the repository, no model from elsewhere."""
    context = tmp_path / "image"
    run(BUILD, "--context-only", context, "--model", "tiny.en")
    app = context / "app"
    env = {
        "TRUNKLINE_MODELS": str(context / "models"),
        "TRUNKLINE_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
    }
    assert "[listen]" in run(sys.executable, "-m", "server", "defaults", cwd=app, env=env)
    assert "--metrics" in run(sys.executable, "-m", "scaler.autoscaling", "keda", "--help", cwd=app, env=env)

    port = free_port()
    model = context / "models" / "tiny.en"
    command = [sys.executable, "-m", "server", "standalone", "--port", str(port), "--set", f"models.final={model}"]
    server = launch(command, port, tmp_path / "server.log", env=env, cwd=app)
    try:
        until(lambda: server.is_ready, READY_S, "the server to be ready", server.process)
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()
