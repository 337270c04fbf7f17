"""Command line. Heavy modules are imported inside the commands, so that ``--help`` is fast."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from snn4.agent.errors import exit_status

app = typer.Typer(
    name="snn4-agent", no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help="A long-running agent that thinks in spikes.",
)  # fmt: skip

STARTED = time.time()
_Config = Annotated[str, typer.Argument(help="A YAML file, or the name of a shipped config (cartpole).")]
_Overrides = Annotated[Optional[list[str]], typer.Argument(help="seed=3 policy.T=8 world.0.steps=1000 …")]  # noqa: UP045
_Backend = Annotated[Optional[str], typer.Option(help="Library of the neurons: torch, snntorch or norse.")]  # noqa: UP045
_Runs = Annotated[Path, typer.Option("--runs-dir", envvar="SNN4_RUNS", help="Folder for new run folders.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but errors.")]
_Run = Annotated[Path, typer.Argument(help="A run folder.")]


@app.command()
def run(
    config: _Config, overrides: _Overrides = None, backend: _Backend = None, runs_dir: _Runs = Path("runs"),
    quiet: _Quiet = False,
    profile: Annotated[bool, typer.Option("--profile", help="Print where the time went, at the end.")] = False,
) -> None:  # fmt: skip
    """Run what CONFIG describes: a life, a training, a stream of experiences, or an evolution."""
    from snn4.agent import command_configs, runner

    kind, checked = command_configs.read_config(config, overrides or [], {"backend": backend})
    folder = runner.begin(kind, checked, runs_dir, quiet)
    if profile and folder is not None:
        from snn4.agent.show.profile import show_profile

        show_profile(folder, STARTED)


app.command("train", help="The same as run, for a training.")(run)


@app.command()
def distill(
    config: _Config, overrides: _Overrides = None,
    teacher: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="A run folder, zoo:NAME, a file of weights, torchvision:NAME, timm:NAME; or several times. For a "
            "life: a run folder, or an agent (.zip) that stable-baselines3 saved."
        ),
    ] = None,
    backend: _Backend = None, runs_dir: _Runs = Path("runs"), quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Run CONFIG with a teacher: a classifier also learns its answers, a policy learns its decisions first."""
    from snn4.agent import command_configs, runner

    kind, checked = command_configs.read_config(
        config, overrides or [], {"backend": backend, "teacher": command_configs.listed(teacher)}
    )
    runner.begin(kind, checked, runs_dir, quiet)


@app.command()
def convert(
    model: Annotated[
        str, typer.Argument(help="A run folder, zoo:NAME, a file of weights, torchvision:NAME, an SB3 .zip, or a .nir.")
    ],
    overrides: _Overrides = None,
    method: Annotated[Optional[str], typer.Option(help="threshold-balance, calibrate or qcfs.")] = None,  # noqa: UP045
    data: Annotated[Optional[str], typer.Option(help="Data set that calibrates; default: the model's.")] = None,  # noqa: UP045
    steps: Annotated[int | None, typer.Option(min=1, help="Inner steps per image.")] = None,
    architecture: Annotated[Optional[str], typer.Option(help="Of a file of weights: resnet-20-a …")] = None,  # noqa: UP045
    neuron: Annotated[Optional[str], typer.Option(help="signed_if or if.")] = None,  # noqa: UP045
    environment: Annotated[Optional[str], typer.Option(help="Of an agent: CartPole-v1 …")] = None,  # noqa: UP045
    runs_dir: _Runs = Path("runs"), quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Convert the ANN MODEL, an agent of stable-baselines3, or a NIR graph into a spiking network of this project."""
    from snn4.agent import command_configs, runner

    given = {"model.architecture": architecture, "data.name": data, "convert.method": method, "convert.T": steps,
             "convert.neuron": neuron, "environment": environment}  # fmt: skip
    kind, checked = command_configs.transformation_of(model, given, overrides or [])
    runner.begin(kind, checked, runs_dir, quiet)


@app.command()
def compress(
    model: Annotated[str, typer.Argument(help="The run folder of a life, training or conversion, or zoo:NAME.")],
    overrides: _Overrides = None,
    bits: Annotated[int | None, typer.Option(help="Bits of a weight: 8, 6, 4 or 2.")] = None,
    scale: Annotated[Optional[str], typer.Option(help="One scale of the weights per channel or layer.")] = None,  # noqa: UP045
    power_of_two: Annotated[bool, typer.Option("--power-of-two", help="Scales are powers of two, for chips.")] = False,
    prune: Annotated[float | None, typer.Option(help="Fraction of synapses to remove, up to 0.95.")] = None,
    pattern: Annotated[Optional[str], typer.Option(help="N of every M inputs that stay: 2:4.")] = None,  # noqa: UP045
    shrink: Annotated[float | None, typer.Option(help="Fraction of neurons or channels to remove, to 0.95.")] = None,
    spike_cost: Annotated[float | None, typer.Option(help="Cost of spikes in the recovery.")] = None,
    recover: Annotated[Optional[bool], typer.Option(help="Whether to learn from the uncompressed network.")] = None,  # noqa: UP045
    epochs: Annotated[int | None, typer.Option(help="Classifiers: epochs of the recovery; default: 5.")] = None,
    steps: Annotated[int | None, typer.Option(help="Policies: steps of the recovery; default: 20,000.")] = None,
    task: Annotated[Optional[str], typer.Option(help="Of a life with several tasks.")] = None,  # noqa: UP045
    runs_dir: _Runs = Path("runs"), quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Make a trained spiking network smaller: fewer bits, synapses or neurons; then it learns from its former self."""
    from snn4.agent import command_configs, runner

    given = {"compress.bits": bits, "compress.scale": scale, "compress.power_of_two": power_of_two or None,
             "compress.prune": prune, "compress.pattern": pattern, "compress.shrink": shrink,
             "compress.spike_cost": spike_cost, "compress.recover": recover, "compress.steps": steps,
             "finetune.epochs": epochs, "task": task}  # fmt: skip
    kind, checked = command_configs.compression_of(model, given, overrides or [])
    runner.begin(kind, checked, runs_dir, quiet)


@app.command()
def evolve(
    config: _Config,
    overrides: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="world.0.steps=20000 …; keys of the search begin with search: search.genes=[policy.T] …"),
    ] = None,
    generations: Annotated[int | None, typer.Option(min=1, help="Generations; default: 10.")] = None,
    population: Annotated[int | None, typer.Option(min=2, help="Candidates in a generation; default: 8.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trials at the same time; default: 1.")] = None,
    compare_random: Annotated[
        bool, typer.Option("--compare-random", help="Also try as many candidates with random genes.")
    ] = False,
    runs_dir: _Runs = Path("runs"), quiet: _Quiet = False,
) -> None:  # fmt: skip
    """Evolve the genes of CONFIG: candidates live whole runs, and the chosen one is tested beside CONFIG itself."""
    from snn4.agent import command_configs, runner

    given = {"generations": generations, "population": population, "workers": workers,
             "compare_random": compare_random or None}  # fmt: skip
    kind, checked = command_configs.evolution_of(config, given, overrides or [])
    runner.begin(kind, checked, runs_dir, quiet)


@app.command()
def resume(run: _Run, quiet: _Quiet = False) -> None:
    """Continue an interrupted run from its last checkpoint."""
    from snn4.agent import runner

    runner.resume(run, quiet)


@app.command()
def watch(
    run: _Run,
    follow: Annotated[bool, typer.Option(help="Wait for new events until the run ends.")] = True,
    svg: Annotated[Optional[Path], typer.Option(help="Write the picture to this SVG file instead.")] = None,  # noqa: UP045
) -> None:
    """Show the dashboard of a run, live or replayed."""
    from snn4.agent import runner

    runner.watch(run, follow, svg)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run folder, a model's folder, or zoo:NAME.")],
    episodes: Annotated[int | None, typer.Option(min=1, help="Lives: test episodes per task.")] = None,
    data: Annotated[Optional[str], typer.Option(help="Classifiers: another data set, or a folder of images.")] = None,  # noqa: UP045
    root: Annotated[Optional[str], typer.Option(help="Images: folder of data sets; default: SNN4_DATA.")] = None,  # noqa: UP045
    steps: Annotated[int | None, typer.Option(min=1, help="Classifiers: inner steps; default: the config's T.")] = None,
    report: Annotated[Optional[Path], typer.Option(help="Write an HTML report here.")] = None,  # noqa: UP045
    json: Annotated[bool, typer.Option("--json", help="Print the content of summary.json.")] = False,
    engine: Annotated[Optional[str], typer.Option(help="loihi: in the integers of the chip, beside float.")] = None,  # noqa: UP045
    bits: Annotated[int | None, typer.Option(help="With --engine loihi: bits of a weight, 8, 6, 4 or 2.")] = None,
) -> None:
    """Test a run as far as it has come, or a model, on test episodes or test data, beside its ANN twin."""
    from snn4.agent import runner

    options = {"episodes": episodes, "data": data, "root": root, "steps": steps}
    if engine is not None or bits is not None:
        from snn4.agent.export.evaluating import evaluate_on

        evaluate_on(engine, run, bits, {**options, "report": report}, json)
        return
    runner.evaluate(run, {name: value for name, value in options.items() if value is not None}, report, json)


@app.command()
def report(
    run: _Run,
    file: Annotated[Optional[Path], typer.Argument(help="HTML file; default: report.html in the folder.")] = None,  # noqa: UP045
    figures: Annotated[Optional[Path], typer.Option(help="New folder for all figures, as SVG and PNG.")] = None,  # noqa: UP045
) -> None:
    """Write the report of a run, as far as it has come: scores, spikes, retention, curves."""
    from snn4.agent import runner
    from snn4.agent.show.charts import kept_in

    with kept_in(figures):
        print(f"report: {runner.report(run, file)}")
    if figures is not None:
        print(f"figures: {figures}")


@app.command()
def export(
    run: Annotated[
        str,
        typer.Argument(help="Folder of a life, a training or a conversion, zoo:NAME; for deploy, an agent's zip."),
    ],
    target: Annotated[str, typer.Option(help="Format.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder or file.")],
    bits: Annotated[int | None, typer.Option(help="Of the weights: 8, 6, 4 or 2; default: 8.")] = None,
    task: Annotated[Optional[str], typer.Option(help="Of a life with several tasks; default: the last.")] = None,  # noqa: UP045
    readout: Annotated[bool, typer.Option("--readout", help="NIR: end the graph with the integration.")] = False,
    allow_soft_reset: Annotated[
        bool, typer.Option("--allow-soft-reset", help="NIR: write neurons with reset: soft; only convert reads them.")
    ] = False,
) -> None:
    """Write the spiking network of RUN for a chip or another library."""
    from snn4.agent.export.export import export as write

    options = {"bits": bits, "readout": readout or None, "allow_soft_reset": allow_soft_reset or None}
    given = {name: value for name, value in options.items() if value is not None}
    print(f"exported: {write(run, target, out, given, task)}")


@app.command()
def film(
    run: _Run,
    out: Annotated[Path, typer.Option("-o", "--out", help="A .gif, or an .mp4 (needs ffmpeg).")] = Path("life.gif"),
    task: Annotated[Optional[str], typer.Option(help="Of a life with several tasks; default: the last.")] = None,  # noqa: UP045
    decisions: Annotated[int, typer.Option(min=1, max=10_000, help="Frames, one for each decision.")] = 200,
    fps: Annotated[int, typer.Option(min=1, max=50, help="Frames per second.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Of the episodes.")] = 0,
) -> None:
    """Film the organism of RUN: its environment, its spikes and membranes, its return and its energy."""
    from snn4.agent.film.film import film as write

    print(f"film: {out}, {write(run, out, task, decisions, fps, seed)} frames")


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="A folder that export --target lava wrote.")],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to compare; default: 1000, fewer for large networks.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=0, help="Policies: whole episodes inside Lava.")] = 1,
    lava_python: Annotated[Optional[Path], typer.Option(help="A Python with lava-nc.")] = None,  # noqa: UP045
    silence: Annotated[float, typer.Option(min=1, help="Seconds without a sign of Lava before it is ended.")] = 120,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run BUNDLE under Lava, and compare every spike and action with its integer model and the trained network."""
    from snn4.agent.export import lava_tables, verification

    lava_tables.show(verification.verify(bundle, steps, episodes, lava_python, silence), json)


@app.command()
def lava_env(
    python: Annotated[Optional[Path], typer.Option(help="A Python 3.10; default: look for one.")] = None,  # noqa: UP045
) -> None:
    """Make the environment in which verify runs Lava, once, in the user's cache; prints its Python."""
    from snn4.agent.export.lava_env import make_environment

    print(make_environment(python))


@app.command()
def world(
    config: Annotated[str, typer.Argument(help="A YAML file, the name of a shipped config, or a run folder.")],
) -> None:
    """Show the plan of a run: the tasks in order, what they share, and how far the run is."""
    from snn4.agent import runner

    runner.world(config)


@app.command()
def genome(
    config: Annotated[str, typer.Argument(help="A YAML file, the name of a shipped config, or a run folder.")],
    overrides: _Overrides = None,
) -> None:
    """Show the genes of CONFIG: their values, their ranges, and which of them keep learned weights valid."""
    from snn4.agent import runner

    runner.show_genes(config, overrides or [])


@app.command()
def config(
    key: Annotated[
        str, typer.Argument(help="policy, policy.neuron.tau_mem, world.0.steps …; all keys if left out.")
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(help="life, training, stream, transformation or evolution; by default all that have the key."),
    ] = None,
) -> None:
    """Show the keys of configs: type, default, allowed values, and meaning."""
    from snn4.agent import runner

    runner.show_keys(key, kind)


@app.command()
def doctor() -> None:
    """Show versions, devices, and optional parts."""
    from snn4.agent.doctor import examine

    examine()


def main() -> None:
    """Run the command line; errors that users can fix are printed without a traceback."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        app()
    except Exception as error:
        status = exit_status(error)
        if status is None:
            raise
        print(f"error: {error}" if status != 2 else str(error), file=sys.stderr)
        sys.exit(status)
