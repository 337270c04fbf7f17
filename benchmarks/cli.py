"""The whole command line, with the agent's commands and the benchmarks. Entry point of ``snn4-agent``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Optional

import typer

from snn4.agent.cli import app
from snn4.agent.cli import main as run_commands
from snn4.benchmarks.suites import SUITES

bench = typer.Typer(no_args_is_help=True, help="Measure this installation, and configs of yours, for several seeds.")
app.add_typer(bench, name="bench")
leaderboard = typer.Typer(help="Generate the leaderboard from the published records, or check it.")
app.add_typer(leaderboard, name="leaderboard")

_Words = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(help="Configs, or groups of the suite (default: all), and key=value for all of them."),
]
_Vary = Annotated[Optional[list[str]], typer.Option(help="KEY=A,B: measure with each of these values. May repeat.")]  # noqa: UP045
_Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds, from 0. Default: 3; with --quick, 1.")]
_Jobs = Annotated[int, typer.Option(min=1, help="Cells (a config with changes and a seed) at the same time.")]
_Runs = Annotated[Path, typer.Option(help="Folder of the run folders.")]
_Results = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Folder of the results. Default: results/ with the runs; for --table, the published results."),
]
_Quick = Annotated[bool, typer.Option("--quick", help="Minutes instead of hours: tiny budgets, one seed.")]
_Json = Annotated[bool, typer.Option("--json", help="Print all measurements.")]
_Table = Annotated[bool, typer.Option("--table", help="Run nothing; print all results as Markdown.")]
_Figures = Annotated[Optional[Path], typer.Option(help="Write learning curves and profiles (SVG) to this folder.")]  # noqa: UP045
RUNS = Path("runs/benchmarks")


@bench.command(help=SUITES["control"])
def control(
    configs: _Words = None, vary: _Vary = None, seeds: _Seeds = None, quick: _Quick = False, jobs: _Jobs = 1,
    runs_dir: _Runs = RUNS, results_dir: _Results = None, figures: _Figures = None, json: _Json = False,
    table: _Table = False,
) -> None:  # fmt: skip
    _bench("control", configs, vary, seeds, quick, jobs, runs_dir, results_dir, json, table, figures)


def _command(name: str) -> Callable[..., None]:
    """The command of a suite without options of its own."""

    def command(
        configs: _Words = None, vary: _Vary = None, seeds: _Seeds = None, quick: _Quick = False, jobs: _Jobs = 1,
        runs_dir: _Runs = RUNS, results_dir: _Results = None, json: _Json = False, table: _Table = False,
    ) -> None:  # fmt: skip
        _bench(name, configs, vary, seeds, quick, jobs, runs_dir, results_dir, json, table)

    return command


for _name in ("classification", "conversion", "distillation", "evolution", "drift", "export"):
    bench.command(_name, help=SUITES[_name])(_command(_name))


def _bench(
    name: str, words: list[str] | None, vary: list[str] | None, seeds: int | None, quick: bool, jobs: int,
    runs: Path, results: Path | None, as_json: bool, only_table: bool, figures: Path | None = None,
) -> None:  # fmt: skip
    from snn4.benchmarks.suites.commands import bench_suite
    from snn4.benchmarks.suites.suite import Order

    changes = [word for word in words or [] if "=" in word]
    sources = [word for word in words or [] if "=" not in word]
    bench_suite(
        name, Order(sources, changes, vary or [], seeds, quick, runs, results, jobs), as_json, only_table, figures
    )


@bench.command()
def continual(
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="training.passes=2 for all strategies, replay:strategy.memory=1000 for one …"),
    ] = None,
    benchmark: Annotated[str, typer.Option(help="A shipped stream (split-cifar10), or a YAML file.")] = "",
    strategies: Annotated[str, typer.Option(help="Names, separated by commas.")] = "naive,replay",
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds, from 0. Default: 5; with --quick, 1.")] = None,
    quick: _Quick = False, jobs: _Jobs = 1, runs_dir: _Runs = RUNS, results_dir: _Results = None, json: _Json = False,
    table: _Table = False,
) -> None:  # fmt: skip
    """Compare strategies against forgetting, for spiking networks and ANN twins. Resumes an interrupted comparison."""
    from snn4.benchmarks.suites.commands import bench_continual
    from snn4.benchmarks.suites.suite import Order

    order = Order((), changes or [], (), seeds, quick, runs_dir, results_dir, jobs)
    bench_continual(order, benchmark, strategies, json, table)


@bench.command()
def speed(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of measurements.")] = 7,
    only: Annotated[str, typer.Option(help="Run only the sections whose names contain this.")] = "",
    quick: _Quick = False,
    results_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the results; its subfolder speed/ keeps each finished section."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure kept sections again.")] = False,
    json: _Json = False,
    device: Annotated[str, typer.Option(help="cpu; or cuda, for the sections of a GPU.")] = "cpu",
) -> None:
    """Compare speed and memory with snnTorch, Norse and SpikingJelly (pip install 'snn4-agent\\[peers]') and SB3.

    An interrupted measurement continues after its last finished section. --quick measures one round of decisions.
    """
    from snn4.benchmarks.speed import report

    folder = results_dir or (RUNS / "quick" if quick else RUNS) / "results"
    report(1 if quick else rounds, only or ("act mlp" if quick else ""), json, folder, fresh, device)


@bench.command("all")
def every(
    seeds: _Seeds = None, quick: _Quick = False, jobs: _Jobs = 1, runs_dir: _Runs = RUNS, results_dir: _Results = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of measurements of speed.")] = 7, json: _Json = False,
) -> None:  # fmt: skip
    """Measure all suites. What is missing is named before anything runs."""
    from snn4.benchmarks.suites.commands import bench_all
    from snn4.benchmarks.suites.suite import Order

    bench_all(Order((), (), (), seeds, quick, runs_dir, results_dir, jobs), rounds, json)


@leaderboard.callback(invoke_without_command=True)
def generate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a file disagrees with the records.")
    ] = False,
    results: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of the records; the leaderboard is written beside it. Default: benchmarks/results."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all rows, or the files that disagree.")] = False,
) -> None:
    """Write LEADERBOARD.md, leaderboard.json, and the tables of results in README.md and docs/."""
    if context.invoked_subcommand is None:
        from snn4.benchmarks.leaderboard.files import command
        from snn4.benchmarks.records import RESULTS

        command(results or RESULTS, check, json)


@leaderboard.command()
def submit(
    run: Annotated[Path, typer.Argument(help="The folder of a finished run.")],
    results: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder for the record. Default: benchmarks/results/submitted."),
    ] = None,
) -> None:
    """Make a record of a finished run, for the leaderboard."""
    from snn4.benchmarks.leaderboard.submission import SUBMITTED, submit

    print(f"record: {submit(run, results or SUBMITTED)}\nshow it with: snn4-agent leaderboard")


def main() -> None:
    """``snn4-agent``."""
    run_commands()
