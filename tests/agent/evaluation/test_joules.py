from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from snn4.agent.evaluation import joules
from snn4.agent.evaluation.joules import NOT_MEASURABLE, joules_per_decision


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of counters, in place of this machine's; decisions are not repeated."""
    monkeypatch.setattr(joules, "POWERCAP", tmp_path)
    monkeypatch.setattr(joules, "SECONDS", 0.0)
    return tmp_path


def zone(powercap: Path, name: str, kind: str, microjoules: int) -> Path:
    """A zone as Linux shows it."""
    folder = powercap / name
    folder.mkdir(parents=True)
    for file, text in (("name", kind), ("energy_uj", str(microjoules)), ("max_energy_range_uj", "1000000")):
        (folder / file).write_text(f"{text}\n")
    return folder


def spending(counter: Path, microjoules: int) -> Callable[[], Callable[[], object]]:
    """A decision that takes ``microjoules``; the counter begins again at 1,000,000."""

    def decide() -> None:
        counter.write_text(str((int(counter.read_text()) + microjoules) % 1_000_000))

    return lambda: decide


@pytest.mark.parametrize("start", [0, 999_000])
def test_a_decision_takes_what_the_counter_says(powercap: Path, start: int) -> None:
    package = zone(powercap, "intel-rapl:0", "package-0", start)
    zone(powercap, "intel-rapl:0:0", "core", 0)
    zone(powercap, "intel-rapl:0:2", "dram", 7)
    assert joules_per_decision(spending(package / "energy_uj", 300)) == pytest.approx(300e-6)


def test_zones_inside_a_package_do_not_count_twice(powercap: Path) -> None:
    zone(powercap, "intel-rapl:0", "package-0", 0)
    core = zone(powercap, "intel-rapl:0:0", "core", 0)
    dram = zone(powercap, "intel-rapl:0:2", "dram", 0)
    assert joules_per_decision(spending(core / "energy_uj", 300)) == 0.0
    assert joules_per_decision(spending(dram / "energy_uj", 300)) == pytest.approx(300e-6)


def test_without_counters_nothing_is_prepared(powercap: Path) -> None:
    def prepare() -> Callable[[], object]:
        raise AssertionError("must not be called")

    zone(powercap, "intel-rapl:0", "core", 0)
    assert joules_per_decision(prepare) == NOT_MEASURABLE
    (zone(powercap, "intel-rapl:1", "package-1", 0) / "energy_uj").unlink()
    assert joules_per_decision(prepare) == NOT_MEASURABLE
