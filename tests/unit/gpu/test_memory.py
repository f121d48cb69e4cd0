"""What is read of a device's memory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gpu.memory import MIB, CardLost, CardMemory, Memory, ProcessMemory, meter_of


class DriverError(Exception):
    """What the driver's library raises."""


@dataclass
class Info:
    used: int
    total: int


class Driver:
    """A driver with three cards, one of which has fallen off the bus."""

    NVMLError = DriverError

    def __init__(self) -> None:
        self.started = 0

    def nvmlInit(self) -> None:  # noqa: N802  the name is NVML's
        self.started += 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802  the same
        if index > 2:
            raise DriverError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:  # noqa: N802  the same
        return {"GPU-aaaa": 0, "GPU-bbbb": 1}[name]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Info:  # noqa: N802  the same
        if handle == 2:
            raise DriverError("GPU is lost")
        return Info((handle + 1) * 1000 * MIB, 80_000 * MIB)


def test_a_processors_memory_is_that_of_the_process() -> None:
    memory = ProcessMemory().read()

    assert 5 < memory.used_mib < memory.total_mib
    assert isinstance(meter_of("cpu"), ProcessMemory)


@pytest.mark.parametrize(
    ("number", "visible", "used_mib"), [(0, "", 1000), (1, "", 2000), (0, "1,0", 2000), (1, "GPU-bbbb,GPU-aaaa", 1000)]
)
def test_cards_are_counted_as_cuda_counts_them(number: int, visible: str, used_mib: int) -> None:
    """The driver knows all cards, the process only those it may use, in an order of their own."""
    assert CardMemory(Driver(), number, visible).read() == Memory(used_mib, 80_000)


@pytest.mark.parametrize("act", [lambda: CardMemory(Driver(), 7), lambda: CardMemory(Driver(), 2).read()])
def test_a_card_that_the_driver_lost_is_said_to_be_lost(act: Callable[[], object]) -> None:
    """Starting the process again does not bring it back; whoever decides must know."""
    with pytest.raises(CardLost, match="driver"):
        act()


def test_without_the_drivers_library_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra; a GPU works without it."""
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed

    assert meter_of("cuda:0") is None
