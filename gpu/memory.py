"""How much memory a device has left: of the process on a processor, of the card on a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = ["CardLost", "CardMemory", "Memory", "Meter", "ProcessMemory", "meter_of"]

MIB: Final = 1 << 20


class CardLost(Exception):
    """The driver does not answer for the card any more: fallen off the bus, or in need of a reset."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is used and what there is, in MiB."""

    used_mib: int
    total_mib: int


class Meter(Protocol):
    """Reads memory."""

    def read(self) -> Memory:
        """Read it now; takes microseconds.

        Raises:
            CardLost: If the card is gone.
        """
        ...


class ProcessMemory:
    """Resident memory of this process, and the machine's."""

    def read(self) -> Memory:
        """Read it now."""
        page = os.sysconf("SC_PAGE_SIZE")
        resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return Memory(resident * page // MIB, os.sysconf("SC_PHYS_PAGES") * page // MIB)


class CardMemory:
    """Memory of a GPU, whoever uses it.

    Args:
        nvml: The module ``pynvml`` of the package nvidia-ml-py.
        number: As CUDA counts, that is after ``CUDA_VISIBLE_DEVICES``.
        visible: Value of ``CUDA_VISIBLE_DEVICES``, or empty.

    Raises:
        CardLost: If the driver has no such card.
    """

    def __init__(self, nvml: Any, number: int, visible: str = "") -> None:
        self._nvml = nvml
        chosen = visible.split(",")[number].strip() if visible else str(number)
        try:
            nvml.nvmlInit()
            by = nvml.nvmlDeviceGetHandleByIndex if chosen.isdigit() else nvml.nvmlDeviceGetHandleByUUID
            self._handle: Any = by(int(chosen) if chosen.isdigit() else chosen)
        except nvml.NVMLError as problem:
            raise CardLost(f"the driver does not know GPU {chosen}: {problem}") from problem

    def read(self) -> Memory:
        """Read it now."""
        try:
            found: Any = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError as problem:
            raise CardLost(f"the driver lost the GPU: {problem}") from problem
        return Memory(int(found.used) // MIB, int(found.total) // MIB)


def meter_of(device: str) -> Meter | None:
    """Find what reads a device's memory.

    Args:
        device: ``cpu``, or ``cuda:`` and a number.

    Returns:
        The meter; None for a GPU where nvidia-ml-py is not installed.

    Raises:
        CardLost: If the driver has no such card.
    """
    if not device.startswith("cuda"):
        return ProcessMemory()
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    return CardMemory(nvml, int(device.partition(":")[2] or 0), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
