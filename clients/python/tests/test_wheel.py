"""The wheel, without the repository around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


@pytest.mark.e2e
def test_the_wheel_works_where_nothing_else_of_the_repository_is(tmp_path: Path) -> None:
    """Users install the wheel; a module left out of it works for everybody but them."""
    source, built, installed = tmp_path / "source", tmp_path / "built", tmp_path / "installed"
    shutil.copytree(PROJECT, source, ignore=shutil.ignore_patterns("__pycache__", ".*", "dist", "build"))
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COV_CORE_SOURCE")}

    def run(*command: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("-c", f"import os, hatchling.build as b; os.chdir({str(source)!r}); b.build_wheel({str(built)!r})")
    [wheel] = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(installed)

    assert {f"trunkline/{path.relative_to(PROJECT / 'src' / 'trunkline').as_posix()}" for path in _modules()} <= names
    assert "trunkline/py.typed" in names
    entry = next(name for name in names if name.endswith("entry_points.txt"))
    assert "trunkline = trunkline.cli:main" in (installed / entry).read_text()
    where = run(
        "-c",
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import trunkline, trunkline.cli, trunkline.sync, trunkline.demo, trunkline.testing\n"
        "assert not {'server', 'streaming', 'gpu', 'scaler', 'numpy', 'soundfile', 'sounddevice'} & set(sys.modules)\n"
        "print(trunkline.__file__)",
    )
    assert where.strip() == str(installed / "trunkline" / "__init__.py")


def _modules() -> list[Path]:
    return sorted((PROJECT / "src" / "trunkline").rglob("*.py"))
