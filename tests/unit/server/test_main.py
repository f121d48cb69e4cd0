"""The command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import structlog

from server.__main__ import main
from server.errors import BadSetting
from server.settings import Settings, default_file


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class FakeStandalone(ModuleType):
    """Stands for the composition root: what it runs has tests of its own."""

    def __init__(self, problem: Exception | None = None) -> None:
        super().__init__("server.standalone")
        self.settings: Settings | None = None
        self._problem = problem

    async def run(self, settings: Settings) -> int:
        """Remember the settings."""
        self.settings = settings
        if self._problem is not None:
            raise self._problem
        return 0


def test_defaults_prints_the_settings_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defaults"]) == 0
    assert capsys.readouterr().out == default_file()


def test_standalone_runs_with_what_the_flags_say(monkeypatch: pytest.MonkeyPatch) -> None:
    standalone = FakeStandalone()
    monkeypatch.setitem(sys.modules, "server.standalone", standalone)
    assert main(["standalone", "--host", "127.0.0.2", "--port", "8081", "--set", "limits.max_calls=7"]) == 0
    assert standalone.settings is not None
    assert (standalone.settings.listen.host, standalone.settings.listen.port) == ("127.0.0.2", 8081)
    assert standalone.settings.limits.max_calls == 7


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--set", "limits.max_calls"], ["--settings", "no.toml"]])
def test_bad_settings_are_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Supervisors tell a wrong setting from a crash by the code; people by the line."""
    monkeypatch.setitem(sys.modules, "server.standalone", FakeStandalone())
    assert main(["standalone", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("trunkline: ")
    assert line.count("\n") == 1


def test_a_port_in_use_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = BadSetting("cannot listen on 127.0.0.1:8080")
    monkeypatch.setitem(sys.modules, "server.standalone", FakeStandalone(problem))
    assert main(["standalone"]) == 2
    assert capsys.readouterr().err == "trunkline: cannot listen on 127.0.0.1:8080\n"


def test_a_bad_setting_found_among_running_tasks_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Task groups wrap what their tasks raise."""
    problem = BadSetting("cannot listen on 127.0.0.1:8080")
    several = ExceptionGroup("tasks", [ExceptionGroup("more", [ValueError()]), ExceptionGroup("more", [problem])])
    monkeypatch.setitem(sys.modules, "server.standalone", FakeStandalone(several))
    assert main(["standalone"]) == 2
    assert capsys.readouterr().err == "trunkline: cannot listen on 127.0.0.1:8080\n"

    monkeypatch.setitem(sys.modules, "server.standalone", FakeStandalone(ExceptionGroup("tasks", [ValueError()])))
    with pytest.raises(ExceptionGroup):
        main(["standalone"])
