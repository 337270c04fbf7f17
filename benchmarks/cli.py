"""The whole command line: the agent's commands, and those that measure. Entry point of ``snn4-agent``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from snn4.agent.cli import app
from snn4.agent.cli import main as run_commands

bench = typer.Typer(no_args_is_help=True, help="Measure this installation.")
app.add_typer(bench, name="bench")


@bench.command()
def speed(
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 7,
    only: Annotated[str, typer.Option(help="Run only the sections whose names contain this.")] = "",
    results_dir: Annotated[
        Path, typer.Option(help="Folder of the results; speed/ in it keeps each section as it ends.")
    ] = Path("runs/benchmarks/results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure kept sections anew.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything that was measured.")] = False,
) -> None:
    """Compare speed and memory with snnTorch, Norse and SpikingJelly (pip install 'snn4-agent\\[peers]') and SB3.

    Goes on where it was interrupted.
    """
    from snn4.benchmarks.speed import report

    report(rounds, only, json, results_dir, fresh)


@bench.command()
def continual(
    changes: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="training.passes=2 for all strategies, replay:strategy.memory=1000 for one …"),
    ] = None,
    benchmark: Annotated[str, typer.Option(help="A shipped stream (split-cifar10), or a YAML file.")] = "",
    strategies: Annotated[str, typer.Option(help="Their names, with commas.")] = "naive,replay",
    seeds: Annotated[int, typer.Option(min=1, help="How many, from 0.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Cells (a strategy with a seed) at a time.")] = 1,
    runs_dir: Annotated[Path, typer.Option(help="Folder of the run folders.")] = Path("runs/benchmarks"),
    results_dir: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Folder of the results; left out, results/ in --runs-dir, and for --table the published ones."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything that was measured.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Run nothing; print all results as a Markdown table.")] = False,
) -> None:
    """Compare strategies against forgetting, spiking network beside ANN twin. Goes on where it was interrupted."""
    from snn4.benchmarks.continual import command

    command(benchmark, strategies, seeds, changes or [], jobs, runs_dir, results_dir, json, table)


def main() -> None:
    """``snn4-agent``."""
    run_commands()
