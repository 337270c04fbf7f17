"""Command line. Everything heavy is imported inside the commands, so that ``--help`` is there at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    name="snn4-agent", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="A long-running agent that thinks in spikes.",
)  # fmt: skip

_Runs = Annotated[Path, typer.Option("--runs-dir", envvar="SNN4_RUNS", help="Folder in which run folders are made.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]
_Run = Annotated[Path, typer.Argument(help="A run folder.")]


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (cartpole).")],
    overrides: Annotated[Optional[list[str]], typer.Argument(help="seed=3 policy.T=8 world.0.steps=1000 …")] = None,  # noqa: UP045
    backend: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Whose neurons: torch, snntorch or norse; as policy.backend=… (streams: network.backend=…)"),
    ] = None,
    runs_dir: _Runs = Path("runs"),
    quiet: _Quiet = False,
) -> None:
    """Live the life, or the stream of experiences, that CONFIG describes."""
    from snn4.agent.life.config import is_stream, load, load_continual

    changes = overrides or []
    if is_stream(config):
        from snn4.agent.stream.session import stream_session

        changes += [f"network.backend={backend}"] if backend else []
        stream_session(load_continual(config, changes), runs_dir, quiet=quiet)
        return
    from snn4.agent.run.old_session import begin

    begin(load(config, [*changes, *([f"policy.backend={backend}"] if backend else [])]), runs_dir, quiet=quiet)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (digits).")],
    overrides: Annotated[Optional[list[str]], typer.Argument(help="seed=3 network.T=2 training.epochs=5 …")] = None,  # noqa: UP045
    backend: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Whose neurons: torch, snntorch or norse; the same as network.backend=…"),
    ] = None,
    runs_dir: _Runs = Path("runs"),
    quiet: _Quiet = False,
) -> None:
    """Train the classifier that CONFIG describes, and test it beside its ANN twin."""
    from snn4.agent.life.config import load_training
    from snn4.agent.training.processes import train_session

    changes = [*(overrides or []), *([f"network.backend={backend}"] if backend else [])]
    train_session(load_training(config, changes), runs_dir, quiet=quiet)


@app.command()
def resume(run: _Run, quiet: _Quiet = False) -> None:
    """Go on with a life, a training or a stream that was interrupted, from its last checkpoint."""
    match _kind(run):
        case "training":
            from snn4.agent.training.processes import resume as resume_run
        case "stream":
            from snn4.agent.stream.session import resume as resume_run
        case _:
            from snn4.agent.run.old_session import resume as resume_run

    resume_run(run, quiet=quiet)


@app.command()
def watch(
    run: _Run,
    follow: Annotated[bool, typer.Option(help="Wait for more while the life goes on.")] = True,
    svg: Annotated[Optional[Path], typer.Option(help="Write the picture to this SVG file instead.")] = None,  # noqa: UP045
) -> None:
    """Show the dashboard of a life or a stream, or the progress of a training, live or replayed."""
    match _kind(run):
        case "training":
            from snn4.agent.training.processes import watch as watch_training

            _refuse(run, "a training", svg=svg)
            watch_training(run, follow)
        case "stream":
            from snn4.agent.stream.session import watch as watch_stream

            watch_stream(run, follow, svg)
        case _:
            from snn4.agent.run.old_session import watch as watch_run

            watch_run(run, follow, svg)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder, a model's folder, or zoo:NAME.")],
    episodes: Annotated[int | None, typer.Option(min=1, help="Lives: test episodes a task, not the config's.")] = None,
    data: Annotated[Optional[str], typer.Option(help="Classifiers: another data set, or a folder of images.")] = None,  # noqa: UP045
    root: Annotated[Optional[str], typer.Option(help="No life: folder of data sets, not SNN4_DATA.")] = None,  # noqa: UP045
    steps: Annotated[int | None, typer.Option(min=1, help="Classifiers: inner steps, not the config's T.")] = None,
    report: Annotated[Optional[Path], typer.Option(help="No life: write an HTML report here.")] = None,  # noqa: UP045
    json: Annotated[bool, typer.Option("--json", help="Print what summary.json holds.")] = False,
) -> None:
    """Test an organism on the test seeds, a classifier or what a stream taught on test data, beside its ANN twin."""
    from snn4.agent.models.files import find_model

    folder = find_model(run)
    match _kind(folder):
        case "training":
            from snn4.agent.training.test import evaluate_session

            _refuse(folder, "a classifier", episodes=episodes)
            evaluate_session(folder, data, root, steps, report, as_json=json)
        case "stream":
            from snn4.agent.stream.session import evaluate as evaluate_stream

            _refuse(folder, "a stream", episodes=episodes, data=data, steps=steps)
            evaluate_stream(folder, root, report, as_json=json)
        case _:
            from snn4.agent.run.old_session import evaluate as evaluate_run
            from snn4.agent.run.old_session import require_run

            require_run(folder)
            _refuse(folder, "a life", data=data, root=root, steps=steps, report=report)
            evaluate_run(folder, episodes, as_json=json)


@app.command()
def report(
    run: _Run,
    file: Annotated[Optional[Path], typer.Argument(help="An HTML file, not report.html in the run folder.")] = None,  # noqa: UP045
) -> None:
    """Write the report of a run, as far as it has come: scores, what is left of them, curves (training: these)."""
    from snn4.agent.run.old_session import require_run

    require_run(run)
    match _kind(run):
        case "training":
            from snn4.agent.training.processes import report as report_run
        case "stream":
            from snn4.agent.stream.session import report as report_run
        case _:
            from snn4.agent.run.old_session import report as report_run
    print(f"report: {report_run(run, file)}")


def _kind(folder: Path) -> str:
    """What was done in a run folder; a life, too, where there is none, which says so itself."""
    from snn4.agent.life.config import is_stream, is_training

    file = folder / "config.yaml"
    if is_training(file):
        return "training"
    return "stream" if file.is_file() and is_stream(file) else "life"


def _refuse(folder: Path, what: str, **options: object) -> None:
    """An error for options that were given and mean nothing here."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        from snn4.agent.run.journal import RunError

        raise RunError(f"{folder}: is {what}, and {', '.join(given)} means nothing for it; leave it out")


@app.command()
def world(
    config: Annotated[str, typer.Argument(help="A YAML file, the name of a shipped config, or a run folder.")],
) -> None:
    """Show the plan of a life or a stream: what comes in which order, what is shared, and where a run is in it."""
    from snn4.agent.life.plan import show

    show(config)


@app.command()
def doctor() -> None:
    """Show versions, devices, and which optional parts are there."""
    from snn4.agent.doctor import examine

    examine()


def main() -> None:
    """Run the command line: errors that people can mend are one line each, without a traceback."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        app()
    except Exception as error:
        status = _exit_status(error)
        if status is None:
            raise
        print(f"error: {error}" if status != 2 else str(error), file=sys.stderr)
        sys.exit(status)


def _exit_status(error: Exception) -> int | None:
    """2 for bad input, 1 for a life that cannot go on, None for what should never happen."""
    bad_input = ("ConfigError", "RunError", "RunBusy", "RunChanged", "MissingPeers", "MissingData", "ModelError")
    known = dict.fromkeys(bad_input, 2) | dict.fromkeys(("Damaged", "NotFinite", "NoSpace"), 1)
    return known.get(type(error).__name__)
