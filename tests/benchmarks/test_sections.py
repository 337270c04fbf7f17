from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from snn4.benchmarks.progress import Forecast
from snn4.benchmarks.sections import Kept, measure

SETTINGS = {"rounds": 3, "versions": {"torch": "1"}}


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def sections(calls: list[str]) -> dict[str, Callable[[], Any]]:
    """Three sections that note when they run."""

    def section(name: str) -> Callable[[], Any]:
        return lambda: calls.append(name) or {"run": len(calls)}  # type: ignore[func-returns-value]

    return {name: section(name) for name in ("train a", "train b", "memory")}


def printed(terminal: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100), file


def test_finished_sections_are_not_measured_again(sections: Any, calls: list[str], tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    store, (console, file) = Kept(tmp_path / "new" / "speed", SETTINGS), printed()
    with pytest.raises(KeyboardInterrupt):
        measure({**sections, "train b": interrupt}, store, console)
    assert calls == ["train a"]
    assert measure(sections, store, console) == {"train a": {"run": 1}, "train b": {"run": 2}, "memory": {"run": 3}}
    assert calls == ["train a", "train b", "memory"]
    assert measure(sections, store, console)["memory"] == {"run": 3}
    assert sorted(path.name for path in store.folder.iterdir()) == ["memory.json", "train-a.json", "train-b.json"]
    lines = file.getvalue().splitlines()
    assert lines[:3] == ["train a: 1 of 3, ETA unknown", "train b: 2 of 3, ETA 0:00:00",
                         f"1 of 3 sections are in {store.folder}; --fresh measures them again"]  # fmt: skip
    assert lines[3:5] == ["train b: 1 of 2, ETA 0:00:00", "memory: 2 of 2, ETA 0:00:00"]


def test_fresh_deletes_stored_sections_before_it_begins(sections: Any, calls: list[str], tmp_path: Path) -> None:
    store, (console, _) = Kept(tmp_path, SETTINGS), printed()
    measure(sections, store, console)
    assert measure({"memory": sections["memory"]}, store, console, fresh=True) == {"memory": {"run": 4}}
    with pytest.raises(ZeroDivisionError):
        measure({**sections, "train a": lambda: 1 / 0}, store, console, fresh=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"seconds": 1}'])
def test_other_settings_and_damaged_files_count_as_missing(sections: Any, damage: str, tmp_path: Path) -> None:
    store = Kept(tmp_path, SETTINGS)
    store.put("memory", 1, 20.0)
    assert ("memory" in store, store["memory"], store.seconds("memory")) == (True, 1, 20.0)
    changed = Kept(tmp_path, {**SETTINGS, "rounds": 4})
    assert ("memory" in changed, changed.seconds("memory")) == (False, 20.0)
    (tmp_path / "memory.json").write_text(damage)
    assert "memory" not in store


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Kept(tmp_path, SETTINGS)
    store.put("memory", 1, 20.0)
    with pytest.raises(TypeError):
        store.put("memory", {object()}, 1.0)
    assert json.loads((tmp_path / "memory.json").read_text()) == {"settings": SETTINGS, "seconds": 20.0, "result": 1}


def test_a_terminal_gets_a_bar(sections: Any, tmp_path: Path) -> None:
    console, file = printed(terminal=True)
    measure(sections, Kept(tmp_path, SETTINGS), console)
    assert "memory" in file.getvalue()
    assert "3/3" in file.getvalue()
    assert "ETA 0:00:00" in file.getvalue()


def test_the_time_that_is_left() -> None:
    forecast = Forecast({"a": 10.0, "b": None, "c": None})
    assert forecast.left(["a", "b", "c"]) == 30
    forecast.learn("b", 30.0)
    assert forecast.left(["a", "b", "c"], running=4.0) == 6 + 30 + 20
    assert forecast.left(["a"], running=11.0) == forecast.left([]) == 0
    assert Forecast({"a": None}).left(["a"]) is None
    assert Forecast({}).left(["a", "b"], running=5.0, share=0.25) == 15 + 20
