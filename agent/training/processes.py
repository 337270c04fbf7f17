"""What the commands ``train``, ``resume`` and ``watch`` do with a classifier."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console

from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.classifier import Examination
from snn4.agent.life.config import TrainingConfig, load_training
from snn4.agent.run import checkpoint
from snn4.agent.run.checkpoint import Damaged, RunChanged
from snn4.agent.run.journal import Journal, RunError, require_place
from snn4.agent.run.old_session import REPORT, SUMMARY, Signals, following, leave, recording, require_run
from snn4.agent.show.bar import Bar
from snn4.agent.training.page import write_curves
from snn4.agent.training.students import prepare
from snn4.agent.training.test import learned, report_test, show, tested
from snn4.agent.training.training import Training, train
from snn4.learners.not_finite import NotFinite
from snn4.policies.allocation import keep_freed_memory

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another: the first one may have to download and read the data."""


def train_session(config: TrainingConfig, runs: Path, folder: Path | None = None, quiet: bool = False) -> None:
    """Train to the end, or until a signal: then a checkpoint is written and the process exits with 130 or 143.

    Args:
        runs: where the run folder is made.
        folder: the run to go on with, instead of a new one.
        quiet: show nothing but errors.
    """
    fabric = launched(config)
    if not fabric.is_global_zero:
        _follow(config, fabric, resumed=folder is not None)
        return
    told: str | None = None
    try:
        data, made = prepare(config)  # what is wrong shows before there is a folder
        journal = Journal(folder) if folder else Journal.create(runs, config)
        told = str(journal.folder)
    finally:
        fabric.broadcast(told)
    signals = Signals()
    training = Training(config, data, made, journal.folder, fabric, signals)
    result = _lead(training, journal, signals, quiet, resumed=folder is not None)
    if result is None:
        leave(journal, signals)
    if not quiet:
        show(result, journal.folder / REPORT)
        print(f"run folder: {journal.folder}")


def _lead(training: Training, journal: Journal, signals: Signals, quiet: bool, resumed: bool) -> Examination | None:
    """The first process, which writes and shows; the test's result, None where it was not reached."""
    result = None
    with recording(journal, signals, lambda: training.images), Bar(Console(), quiet) as bar:
        if resumed:
            journal.go_on_after(training.restore())
        for event in train(training):
            journal.write(event)
            bar.show(event)
        if not training.finished:
            journal.finish("interrupted")
            return None
        result, summary = tested(training)
        journal.finish("finished", summary)
        report_test(journal.folder / REPORT, result, training.config, journal.folder)
    return result


def _follow(config: TrainingConfig, fabric: Fabric, resumed: bool) -> None:
    """All processes but the first: what ends that one ends them, and is told by it alone."""
    folder: Any = fabric.broadcast(None)
    if folder is None:
        return
    signals = Signals()
    with signals.watching(), contextlib.suppress(NotFinite, Damaged, RunChanged, KeyboardInterrupt):
        training = Training(config, *prepare(config), Path(folder), fabric, signals)
        if resumed:
            training.restore()
        for _ in train(training):
            pass


def launched(config: TrainingConfig) -> Fabric:
    """The processes of a training; each of them runs the whole command from its beginning."""
    f = config.fabric
    if f.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(config.name, ["fabric.accelerator: got 'cuda', but torch sees no GPU here; allowed is cpu"])
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # ranks and backends are nobody's news
    several = f.devices > 1 or f.strategy == "ddp"
    if int(os.environ.get("LOCAL_RANK", 0)):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    strategy = DDPStrategy(timeout=PATIENCE) if several else "auto"
    try:
        fabric = Fabric(accelerator=f.accelerator, devices=f.devices, strategy=strategy, precision=f.precision)
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(config.name, [f"fabric: {error}; allowed is what this machine has"]) from error
    fabric.launch()
    if config.threads:
        torch.set_num_threads(config.threads)  # else Fabric has shared out the cores
    keep_freed_memory()
    return fabric


def _end_with(parent: int) -> None:
    """A process that waits for a first one that was killed would wait long."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def resume(folder: Path, quiet: bool = False) -> None:
    """Go on with the training in ``folder``, from its newest sound checkpoint."""
    require_run(folder)
    if (folder / SUMMARY).is_file():
        raise RunError(f"{folder}: this training is finished; test it with: snn4-agent evaluate {folder}")
    checkpoint.require_unchanged(folder)
    train_session(load_training(folder / "config.yaml"), folder.parent, folder, quiet)


def watch(folder: Path, follow: bool = True) -> None:
    """Show the events in ``folder``; with ``follow``, wait for what comes until the training ends."""
    require_run(folder)
    with Bar(Console()) as bar:
        for when, event in following(folder, follow):
            bar.show(event, when)


def report(folder: Path, path: Path | None = None) -> Path:
    """Write how the training in ``folder`` has learned so far, and say where it is: it is tested at its end alone."""
    require_run(folder)
    if (folder / SUMMARY).is_file():
        raise RunError(
            f"{folder}: this training is finished; report its test with: snn4-agent evaluate {folder} --report FILE"
        )
    require_place(path)
    config, path = load_training(folder / "config.yaml"), path or folder / REPORT
    write_curves(path, f"{config.name}: {config.data.name}", learned(folder))
    return path
