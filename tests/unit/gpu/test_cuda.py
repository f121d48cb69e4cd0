"""Where NVIDIA's libraries are looked for."""

from __future__ import annotations

import ctypes
import sys

import pytest

from gpu.cuda import load_cublas
from gpu.errors import EngineError


def test_a_machine_without_the_library_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """CTranslate2 itself says only that a file cannot be opened, in the middle of the first batch."""
    tried: list[str] = []

    def missing(library: str, mode: int) -> None:
        assert mode == ctypes.RTLD_GLOBAL
        tried.append(library)
        raise OSError("no such file")

    monkeypatch.setattr("gpu.cuda.ctypes.CDLL", missing)
    with pytest.raises(EngineError, match="pip install nvidia-cublas-cu12"):
        load_cublas()
    assert tried[0] == "libcublasLt.so.12"


def test_a_library_in_a_wheel_is_loaded_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The loader does not look into packages; what is loaded already it finds by name."""
    site = tmp_path_factory.mktemp("site")
    (site / "nvidia" / "cublas").mkdir(parents=True)
    (site / "nvidia" / "cublas" / "__init__.py").touch()
    monkeypatch.setattr("sys.path", [str(site), *sys.path])
    monkeypatch.setitem(sys.modules, "nvidia", sys)  # so that what is found here is forgotten again
    del sys.modules["nvidia"]
    loaded: list[str] = []

    def only_there(library: str, mode: int) -> None:
        del mode
        if not library.startswith(str(site)):
            raise OSError("no such file")
        loaded.append(library)

    monkeypatch.setattr("gpu.cuda.ctypes.CDLL", only_there)
    load_cublas()

    assert loaded == [
        str(site / "nvidia" / "cublas" / "lib" / f"{name}.so.12") for name in ("libcublasLt", "libcublas")
    ]
