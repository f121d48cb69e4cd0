"""What the settings mean for devices and calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpu.models import NEEDED
from server.errors import BadSetting
from server.quality import quality_ladder
from server.settings import Devices, Ladder, LadderRung, Models, Settings, Speech
from server.standalone import SCRIPTED_MELS, device_specs, find_models
from streaming.ladder import Rung


def test_without_a_ladder_there_is_that_of_the_models_set() -> None:
    """One model, nothing to configure."""
    ladder = quality_ladder(Settings(models=Models(final="base"), speech=Speech(cadence_s=0.5, lead_s=4.0)))

    assert ladder[0] == Rung("base", "base", cadence_s=0.5, beam=5, lead_s=4.0, longest_s=15.0)
    assert ladder.models == ("base",)


def test_a_rung_says_only_what_is_different() -> None:
    """Whoever sets a ladder thinks of models; the rest is as elsewhere in the file."""
    rungs = (
        LadderRung(),
        LadderRung(beam=1, lead_s=0.0, cadence_s=2.0),
        LadderRung(final="tiny"),
        LadderRung(partial="tiny.en", longest_s=8.0, speculate=False),
    )
    settings = Settings(models=Models(final="turbo", partial="base"), ladder=Ladder(rungs=rungs))

    assert quality_ladder(settings).rungs == (
        Rung("base", "turbo", beam=5, lead_s=5.0),
        Rung("base", "turbo", cadence_s=2.0),
        Rung("tiny", "tiny", beam=5, lead_s=5.0),
        Rung("tiny.en", "turbo", beam=5, lead_s=5.0, longest_s=8.0, speculate=False),
    )


def test_a_step_that_changes_nothing_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(BadSetting, match=r"ladder\.rungs: two rungs in a row are the same"):
        quality_ladder(Settings(ladder=Ladder(rungs=(LadderRung(), LadderRung()))))


def test_a_rung_that_is_not_there_cannot_be_promised() -> None:
    """Shards would be provided for nothing, and nobody would know why."""
    rungs = (LadderRung(), LadderRung(beam=1))

    assert len(quality_ladder(Settings(ladder=Ladder(rungs=rungs, promised=1)))) == 2
    with pytest.raises(BadSetting, match=r"ladder\.promised is 2, and the last rung, counted from 0, is 1"):
        quality_ladder(Settings(ladder=Ladder(rungs=rungs, promised=2)))


def test_finals_are_decoded_with_the_care_that_the_engine_can_take() -> None:
    """PyTorch's engine is greedy: nobody who chooses it must know that there are beams."""
    assert quality_ladder(Settings())[0].beam == 5
    assert {rung.beam for rung in quality_ladder(Settings(devices=Devices(engine="torch")))} == {1}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            Settings(devices=Devices(engine="torch"), models=Models(final_beam=3)),
            r"models\.final_beam asks for a beam of 3",
        ),
        (
            Settings(devices=Devices(engine="torch"), ladder=Ladder(rungs=(LadderRung(), LadderRung(beam=2)))),
            r"rung 1 of ladder\.rungs asks for a beam of 2, and the engine torch decodes greedily",
        ),
    ],
)
def test_a_beam_that_the_engine_cannot_keep_is_a_mistake_in_the_settings(settings: Settings, problem: str) -> None:
    """Else every final of that rung would be refused by the devices."""
    with pytest.raises(BadSetting, match=problem):
        quality_ladder(settings)


def test_devices_hold_the_models_of_all_rungs() -> None:
    """A step down must not wait for weights."""
    settings = Settings(models=Models(final="turbo"), ladder=Ladder(rungs=(LadderRung(), LadderRung(final="base"))))
    devices = Devices(names=("cpu", "cuda:1"), options={"graphs": False})
    specs = device_specs(devices, quality_ladder(settings))

    assert [spec.name for spec in specs] == ["cpu-0", "cuda:1"]
    assert [spec.options for spec in specs] == [{"graphs": False}] * 2
    assert {spec.models for spec in specs} == {("turbo", "base")}


def test_a_profile_that_cannot_be_read_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """Else a typing error would show as a slow first minute."""
    with pytest.raises(BadSetting, match="nowhere"):
        device_specs(Devices(profile=str(tmp_path / "nowhere.json")), quality_ladder(Settings()))


def test_windows_carry_audio_where_devices_make_the_features() -> None:
    """The session and the devices must mean the same."""
    for front_end, mels in (("host", SCRIPTED_MELS), ("numpy", None), ("torch", None), ("dali", None)):
        settings = Settings(devices=Devices.model_validate({"engine": "scripted", "front_end": front_end}))
        ladder = quality_ladder(settings)

        assert find_models(settings, ladder) == mels
        assert {spec.front_end for spec in device_specs(settings.devices, ladder)} == {front_end}


def test_models_of_unlike_features_may_share_a_ladder_only_where_devices_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small model's partials under the finals of large-v3-turbo."""
    monkeypatch.setenv("TRUNKLINE_MODELS", str(tmp_path))
    for name, bands in (("small", 80), ("turbo", 128)):
        (tmp_path / name).mkdir()
        for file in NEEDED:
            (tmp_path / name / file).write_text("not read yet")
        (tmp_path / name / "preprocessor_config.json").write_text(json.dumps({"feature_size": bands}))
    on_host = Settings(models=Models(final="turbo", partial="small"))
    on_device = on_host.model_copy(update={"devices": Devices(front_end="numpy")})

    with pytest.raises(BadSetting, match=r"cannot share a channel's features.*devices\.front_end"):
        find_models(on_host, quality_ladder(on_host))
    assert find_models(on_device, quality_ladder(on_device)) is None
