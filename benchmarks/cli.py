"""The whole command line, with the agent's commands and the benchmarks. Entry point of ``snn4-agent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from snn4.agent.cli import app
from snn4.agent.cli import main as run_commands

bench = typer.Typer(no_args_is_help=True, help="Measure this installation.")
app.add_typer(bench, name="bench")
leaderboard = typer.Typer(help="Generate the leaderboard from the published records, or check it.")
app.add_typer(leaderboard, name="leaderboard")


@bench.command()
def speed(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of measurements.")] = 7,
    only: Annotated[str, typer.Option(help="Run only the sections whose names contain this.")] = "",
    results_dir: Annotated[
        Path, typer.Option(help="Folder of the results; its subfolder speed/ keeps each finished section.")
    ] = Path("runs/benchmarks/results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure kept sections again.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print all measurements.")] = False,
    device: Annotated[str, typer.Option(help="cpu; or cuda, for the sections of a GPU.")] = "cpu",
) -> None:
    """Compare speed and memory with snnTorch, Norse and SpikingJelly (pip install 'snn4-agent\\[peers]') and SB3.

    An interrupted measurement continues after its last finished section.
    """
    from snn4.benchmarks.speed import report

    report(rounds, only, json, results_dir, fresh, device)


@bench.command()
def continual(
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="training.passes=2 for all strategies, replay:strategy.memory=1000 for one …"),
    ] = None,
    benchmark: Annotated[str, typer.Option(help="A shipped stream (split-cifar10), or a YAML file.")] = "",
    strategies: Annotated[str, typer.Option(help="Names, separated by commas.")] = "naive,replay",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Cells (a strategy with a seed) that run at the same time.")] = 1,
    runs_dir: Annotated[Path, typer.Option(help="Folder of the run folders.")] = Path("runs/benchmarks"),
    results_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Folder of the results. Default: results/ in --runs-dir; for --table, the published results."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all measurements.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Run nothing; print all results as a Markdown table.")] = False,
) -> None:
    """Compare strategies against forgetting, for spiking networks and ANN twins. Resumes an interrupted comparison."""
    from snn4.benchmarks.continual import command

    command(benchmark, strategies, seeds, changes or [], jobs, runs_dir, results_dir, json, table)


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
