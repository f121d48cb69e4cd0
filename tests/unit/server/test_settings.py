"""Settings from flags, environment, file and defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from server.errors import BadSetting
from server.settings import Settings, default_file, load


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trunkline.toml"
    file.write_text('[listen]\nhost = "0.0.0.0"\nport = 1\n[limits]\nmax_calls = 5\nidle_s = 7\n', encoding="utf-8")
    monkeypatch.setenv("TRUNKLINE_LISTEN__PORT", "2")
    monkeypatch.setenv("TRUNKLINE_LIMITS__MAX_CALLS", "6")

    settings = load(file, {"listen.port": "3"})

    assert (settings.listen.host, settings.listen.port) == ("0.0.0.0", 3)  # noqa: S104 - what the file says
    assert (settings.limits.max_calls, settings.limits.idle_s, settings.limits.start_s) == (6, 7.0, 10.0)


def test_keys_come_as_a_table_from_the_file_and_as_json_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trunkline.toml"
    file.write_text('[auth.keys]\nacme = ["one"]\n', encoding="utf-8")
    assert load(file).auth.keys["acme"][0].get_secret_value() == "one"
    monkeypatch.setenv("TRUNKLINE_AUTH__KEYS", '{"acme": ["two"]}')
    assert load().auth.keys["acme"][0].get_secret_value() == "two"
    assert load(None, {"twilio.auth_token": "0123"}).twilio.auth_token is not None


def test_secrets_are_not_shown() -> None:
    """Settings end up in logs and bug reports."""
    assert "hush" not in repr(load(None, {"auth.keys": '{acme = ["hush"]}', "twilio.auth_token": "hush"}))
    with pytest.raises(BadSetting) as refused:
        load(None, {"auth.keys": '{acme = "hush"}'})
    assert "hush" not in str(refused.value)
    assert "hush" not in str(refused.value.__cause__)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"listen.port": "70000"}, r"listen\.port"),
        ({"listen.prot": "1"}, r"listen\.prot"),
        ({"lisen.port": "1"}, "lisen"),
        ({"port": "1"}, "port"),
        ({"limits.speed": "[1"}, r"limits\.speed"),
    ],
)
def test_a_wrong_setting_is_named(flags: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=named):
        load(None, flags)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="cannot be read"):
        load(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[listen", encoding="utf-8")
    with pytest.raises(BadSetting, match="is not TOML"):
        load(broken)


def test_an_environment_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_AUTH__KEYS", "{acme")
    with pytest.raises(BadSetting, match="auth"):
        load()


def test_the_folder_of_the_models_is_not_taken_for_a_section(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_MODELS", "/srv/models")
    assert load() == Settings()


def test_the_default_file_says_the_defaults_and_explains_every_setting() -> None:
    """What the documentation shows is what the program does."""
    lines = default_file().splitlines()
    settings = [line[2:] if re.match(r"# [a-z_]+ = ", line) else line for line in lines]
    assert all(lines[at - 1].startswith("# ") for at, line in enumerate(settings) if line != lines[at])
    stated = tomllib.loads("\n".join(line for line in settings if not line.startswith("#") and "# not set" not in line))
    assert Settings.model_validate(stated) == Settings()
    assert set(stated) == set(Settings.model_fields)
