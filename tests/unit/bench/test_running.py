"""What a server uses of the machine, read from what the kernel writes."""

from __future__ import annotations

import os

import pytest

from tests.bench.running import (
    PAGES_PER_MIB,
    TICKS_PER_S,
    ProcessStat,
    Usage,
    busy_s,
    descendants,
    parse_stat,
    usage,
    usage_row,
)


def stat(pid: int, parent: int) -> ProcessStat:
    return ProcessStat(pid, parent, 1.0, 10.0)


def test_a_name_with_spaces_and_brackets_is_no_obstacle() -> None:
    """Anybody may call a process anything."""
    ticks = TICKS_PER_S
    line = f"42 (a) b (c) S 7 1 1 0 -1 0 0 0 0 0 {3 * ticks} {2 * ticks} 9 9 20 0 1 0 55 1000 {5 * PAGES_PER_MIB} 0"

    assert parse_stat(line) == ProcessStat(42, 7, 5.0, 5.0)


def test_devices_are_children_and_theirs() -> None:
    """A device that starts helpers answers for them."""
    processes = [stat(4, 3), stat(2, 1), stat(3, 2), stat(9, 8)]

    assert [process.pid for process in descendants(1, processes)] == [2, 3, 4]


def test_waiting_for_a_disk_is_not_being_busy() -> None:
    """Idle time and waiting are left out; what interrupts and other machines took counts."""
    fields = " ".join(str(seconds * TICKS_PER_S) for seconds in (1, 2, 3, 400, 500, 4, 5, 6, 7, 8))

    assert busy_s(f"cpu  {fields}\ncpu0 1 1 1 1\n") == 1 + 2 + 3 + 4 + 5 + 6


def test_usage_is_shared_out_by_seconds_of_audio() -> None:
    """Two channels for ten seconds are twenty seconds of audio; what nobody of ours used, others did."""
    before = Usage(100.0, 1.0, 2.0, 0.5, 50.0, 100.0, 200.0)
    after = Usage(110.0, 3.0, 7.0, 1.0, 62.0, 110.4, 210.0)

    row = usage_row(before, after, 20.0)

    assert (row["server_cpu_s_per_audio_s"], row["devices_cpu_s_per_audio_s"]) == (0.1, 0.25)
    assert (row["server_cores"], row["devices_cores"], row["generator_cores"]) == (0.2, 0.5, 0.05)
    assert row["others_cores"] == pytest.approx(0.45)
    assert (row["server_mib"], row["devices_mib"]) == (110, 210)


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110
def test_this_process_can_be_looked_at() -> None:
    """The format is the kernel's, not ours."""
    found = usage(os.getpid())

    assert found.server_cpu_s > 0
    assert found.server_rss_mib > 10


def test_a_server_that_is_gone_is_said_to_be() -> None:
    """A bench must not report zeros for a crash."""
    with pytest.raises(ProcessLookupError, match="its log says why"):
        usage(2**30)
