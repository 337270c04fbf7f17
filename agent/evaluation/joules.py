"""Measured energy: the joules of a decision, where the processor counts them (RAPL, Linux's powercap).

The counters are those of whole packages and of the memory beside them: they include idle power, and all other work of
the machine. Most systems let only root read them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
NOT_MEASURABLE = "not measurable here"
"""Stands in summaries and records where no counter can be read."""
SECONDS = 0.5
"""Least duration of a measurement: counters are updated about once per millisecond."""


def joules_per_decision(prepare: Callable[[], Callable[[], object]]) -> float | str:
    """Mean energy of a decision, or `NOT_MEASURABLE` where no counter can be read.

    Args:
        prepare: returns a function that decides once; called only where the energy can be measured.
    """
    if not _microjoules():
        return NOT_MEASURABLE
    decide = prepare()
    decide()  # compiles code, allocates memory
    before, decisions, started = _microjoules(), 0, time.perf_counter()
    while decisions == 0 or time.perf_counter() - started < SECONDS:
        decide()
        decisions += 1
    after = _microjoules()
    if before.keys() != after.keys():
        return NOT_MEASURABLE
    return sum(_spent(zone, before[zone], after[zone]) for zone in before) * 1e-6 / decisions


def _microjoules() -> dict[Path, int]:
    """The counter of each zone that can be read: packages, and memory, which packages do not include."""
    counters: dict[Path, int] = {}
    for zone in sorted(POWERCAP.glob("intel-rapl:*")):  # AMD's processors, too
        try:
            name = (zone / "name").read_text(encoding="ascii").strip()
            if name.startswith("package") or name == "dram":
                counters[zone] = int((zone / "energy_uj").read_text(encoding="ascii"))
        except (OSError, ValueError):  # not allowed, or no counter
            continue
    return counters


def _spent(zone: Path, before: int, after: int) -> int:
    """Microjoules between two readings; a counter begins again at its end."""
    if after >= before:
        return after - before
    return after - before + int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
