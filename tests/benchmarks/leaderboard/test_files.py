"""The published files agree with the records, and bad records change nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from snn4.benchmarks.leaderboard import files
from snn4.benchmarks.leaderboard.pages import PAGES
from snn4.benchmarks.records import RESULTS

Cli = Callable[..., Any]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A few of the published records, with a leaderboard beside them."""
    folder = tmp_path / "results"
    for name in ("control/cartpole.json", "images/cifar10.json", "continual/split_cifar10.json", "speed.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / name, folder / name)
    return folder


def beside(results: Path) -> dict[str, bytes]:
    """The files beside the records."""
    return {path.name: path.read_bytes() for path in results.parent.iterdir() if path.is_file()}


def test_the_published_files_agree_with_the_records(cli: Cli) -> None:
    assert cli("--check") == (0, "", ""), "snn4-agent leaderboard writes them again"


def test_a_check_is_quick_because_it_needs_no_torch() -> None:
    script = (
        "import sys; sys.argv = ['snn4-agent', 'leaderboard', '--check']\n"
        "from snn4.benchmarks.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "scipy", "gymnasium"} & set(done.stdout.split())


def test_a_leaderboard_of_other_records(cli: Cli, results: Path) -> None:
    assert cli("--results", results).out.splitlines() == [
        f"{results.parent / name}: written" for name in ("LEADERBOARD.md", "leaderboard.json")
    ]
    assert cli("--results", results).out.count(": unchanged") == 2
    assert cli("--results", results, "--check") == (0, "", "")
    content = json.loads(cli("--results", results, "--json").out)
    assert content == json.loads((results.parent / "leaderboard.json").read_text())
    assert {row["task"] for row in content["rows"]} == {"CartPole-v1", "cifar10", "split_cifar10"}
    assert sorted(beside(results)) == ["LEADERBOARD.md", "leaderboard.json"]


def test_a_check_names_each_file_that_disagrees(cli: Cli, results: Path) -> None:
    cli("--results", results)
    (results.parent / "LEADERBOARD.md").write_text("# Better\n")
    (results.parent / "leaderboard.json").unlink()
    output = cli("--results", results, "--check")
    assert (output.status, output.out) == (1, "")
    assert [line.removeprefix("error: ") for line in output.err.splitlines()] == [
        f"{results.parent / name}: disagrees with {results}; write it again with: snn4-agent leaderboard"
        for name in ("LEADERBOARD.md", "leaderboard.json")
    ]
    listed = json.loads(cli("--results", results, "--check", "--json").out)
    assert listed == {"disagree": [str(results.parent / name) for name in ("LEADERBOARD.md", "leaderboard.json")]}
    assert list(beside(results)) == ["LEADERBOARD.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_changed_table_of_a_page_is_found(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    for name in PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(files.ROOT / name, tmp_path / name)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    before, marker, table = (tmp_path / page).read_text().partition("<!-- begin: ")
    (tmp_path / page).write_text(before + marker + table.replace("| ---", "| more | ---", 1))
    monkeypatch.chdir(tmp_path)
    output = cli("--check")
    assert output.status == 1
    assert output.err.startswith(f"error: {page}: disagrees with ")
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda record: record.pop("commit_hash"), "commit_hash: missing"),
     (lambda record: record.pop("config"), "config: missing"),
     (lambda record: record["seeds"][0].pop("seed"), "seeds.0.seed: missing"),
     (lambda record: record.update(schema=2), "schema: got 2, allowed is 1"),
     (lambda record: record["seeds"].append(record["seeds"][0]), "repeats seeds.0")],
    ids=["commit", "config", "seed", "version", "row"],
)  # fmt: skip
@pytest.mark.parametrize("option", [(), ("--check",)])
def test_a_bad_record_leaves_everything_as_it_is(
    change: Callable[[Any], None], message: str, option: tuple[str, ...], cli: Cli, results: Path
) -> None:
    cli("--results", results)
    before = beside(results)
    record = json.loads((results / "control" / "cartpole.json").read_text())
    record["seeds"][0]["tasks"]["CartPole-v1"]["return_mean"] = 1.0
    change(record)
    (results / "control" / "cartpole.json").write_text(json.dumps(record))
    output = cli("--results", results, *option)
    assert (output.status, output.out) == (2, "")
    assert output.err.startswith(f"{results / 'control' / 'cartpole.json'}: ")
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert beside(results) == before


def test_a_duplicate_leaves_everything_as_it_is(cli: Cli, results: Path) -> None:
    cli("--results", results)
    before = beside(results)
    shutil.copy(results / "images" / "cifar10.json", results / "again.json")
    output = cli("--results", results)
    assert output.status == 2
    assert "duplicate of" in output.err
    assert beside(results) == before


def test_no_records(cli: Cli, tmp_path: Path) -> None:
    output = cli("--results", tmp_path / "nowhere")
    assert (output.status, output.out) == (2, "")
    assert "has no records, allowed is a folder of results (benchmarks/results)" in output.err
    assert not list(tmp_path.iterdir())
