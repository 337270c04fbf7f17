"""The whole command line: the agent's commands, and those that measure. Entry point of ``snn4-agent``."""

from __future__ import annotations

from typing import Annotated

import typer

from snn4.agent.cli import app
from snn4.agent.cli import main as run_commands

bench = typer.Typer(no_args_is_help=True, help="Measure this installation.")
app.add_typer(bench, name="bench")


@bench.command()
def speed(
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each contender takes.")] = 7,
    only: Annotated[str, typer.Option(help="Run only the sections whose names contain this.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print everything that was measured.")] = False,
) -> None:
    """Compare speed and memory with snnTorch, Norse and SpikingJelly (pip install 'snn4-agent[peers]') and SB3."""
    from snn4.benchmarks.speed import report

    report(rounds, only, as_json=json)


def main() -> None:
    """``snn4-agent``."""
    run_commands()
