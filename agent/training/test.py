"""The test of a classifier: at the end of its training, and by the command ``evaluate``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from snn4.agent.config.file import ConfigError
from snn4.agent.evaluation.accuracy import Batch
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig, examine
from snn4.agent.life.config import TrainingConfig, load_training
from snn4.agent.models.files import ModelError, load_model, read_about
from snn4.agent.run.journal import commit_of, read_events, require_place
from snn4.agent.run.provenance import commit
from snn4.agent.show.tables import table
from snn4.agent.training.page import learning_curves, write_report
from snn4.agent.training.students import ANN_TWIN, NETWORK, InOrder, read, students
from snn4.agent.training.training import Training
from snn4.envs.data.datasets import DATASETS, UNMIRRORED, Data, DataConfig, folder_of
from snn4.envs.data.image_folder import in_grey
from snn4.learners.recipe import lay_out
from snn4.policies.allocation import keep_freed_memory


def tested(training: Training) -> tuple[Examination, dict[str, Any]]:
    """The test, once, of the best weights: all that was measured, and ``summary.json``."""
    models = {student.name: student.network for student in training.students}
    selected = {s.name: {"epoch": s.best["epoch"], "top1_validation": s.best["top1"]} for s in training.students}
    result = _examined(models, training.data, ExaminationConfig(flip=training.config.flip))
    return result, {**_summary(training.config, result, commit_of(training.folder)), "selected": selected}


def evaluate_session(
    folder: Path,
    data: str | None = None,
    root: str | None = None,
    steps: int | None = None,
    report_path: Path | None = None,
    as_json: bool = False,
) -> None:
    """Test the model in ``folder`` on the test data of its config, or on other ``data``: a name, or a folder of images.

    Raises:
        ModelError: there is no model, it is damaged or of another architecture, or it cannot take the data.
        ConfigError, MissingData: there are no such data, or they cannot be read.
    """
    require_place(report_path)
    path = folder / "model.safetensors"
    about = read_about(path)
    learned = load_training(folder / "config.yaml").data
    changes = [*_other(data, about, learned), *([f"data.root={root}"] if root else [])]
    config = load_training(folder / "config.yaml", changes)
    loaded = _read_for(path, about, config)
    keep_freed_memory()
    models = _models(folder, config, loaded)
    console = Console(stderr=True)
    try:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            result = _examined(models, loaded, ExaminationConfig(steps=steps, flip=config.flip), progress)
    except ValueError as error:  # more steps than the events have bins, or a norm of each step has
        raise ModelError(f"{folder}: {error}") from error
    if report_path is not None:
        report_test(report_path, result, config, folder)
    if as_json:
        print(json.dumps(_summary(config, result, commit()), indent=2))
    else:
        show(result, report_path)


def report_test(path: Path, result: Examination, config: TrainingConfig, folder: Path) -> None:
    """Write the report of a test to ``path``, with the learning curves in the run ``folder``."""
    write_report(path, result, f"{config.name}: {config.data.name}", learned(folder))


def learned(folder: Path) -> dict[str, list[float | None]]:
    """The `learning_curves` in a run folder."""
    return learning_curves(event for _, event, _ in read_events(folder))


def show(result: Examination, report_path: Path | None) -> None:
    """Print the table, and where the report is."""
    Console().print(table(result))
    if report_path is not None:
        print(f"report: {report_path}")


def _other(data: str | None, about: dict[str, Any], learned: DataConfig) -> list[str]:
    """Changes of a config for the test on other data: how those were augmented and divided that were ``learned``, does
    not matter there."""
    if data is None:
        return []
    changes: dict[str, Any] = {"augmentation": "none", "pad": None, "erase": 0, "alternate_flips": False}
    changes |= {"mean": None, "std": None, **(place := _place(data, about))}
    if not _is_same(place, learned):  # else what a fold has learned would be tested
        changes |= {"folds": None, "fold": 0, "limit": None}
    told = [f"data.{key}={json.dumps(value)}" for key, value in changes.items()]  # JSON is YAML
    return [*told, "flip=false"] if changes["name"] in UNMIRRORED else told


def _is_same(place: dict[str, Any], learned: DataConfig) -> bool:
    if place["name"] != learned.name:
        return False
    return place["folder"] is None or Path(place["folder"]) == folder_of(learned).resolve()


def _place(data: str, about: dict[str, Any]) -> dict[str, Any]:
    """The data set called ``data``, else the images in that folder, of the size that the model has learned.

    Images that cannot be read are left out, with a note: nothing is learned from what remains.
    """
    named = [name for name in DATASETS if name != "imagefolder"]
    if data in named:
        return {"name": data, "folder": None}
    if data == "imagefolder":
        raise ConfigError("--data", ["got 'imagefolder', which images it does not say; name their folder instead"])
    if not data or not Path(data).is_dir():
        near = get_close_matches(data, named, n=1)
        hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
        told = f"got {data!r}, there is no such folder and no such data set; {hint} are a folder of images"
        raise ConfigError("--data", [f"{told}, {', '.join(named)}"])
    sides = set(about.get("image_size", ()))
    size = {"image_size": sides.pop()} if len(sides) == 1 else {}
    return {"name": "imagefolder", "folder": str(Path(data).resolve()), "on_error": "skip", **size}


def _read_for(path: Path, about: dict[str, Any], config: TrainingConfig) -> Data:
    """The data, as the model in ``path`` has learned to see them; ModelError unless it can take them."""
    is_grey = config.data.name == "imagefolder" and len(about.get("mean", ())) == 1
    data = _read_in_grey(about, config) if is_grey else read(config)
    theirs = {"in_channels": data.in_channels, "image_size": list(data.image_size), "n_classes": data.n_classes}
    wrong = [f"{key}: got {x}, allowed is {about[key]}" for key, x in theirs.items() if about.get(key, x) != x]
    if wrong:
        raise ModelError(f"{path}: has learned {about['data']} and cannot take {data.name}: {'; '.join(wrong)}")
    data = _scaled(data, about, config)
    return dataclasses.replace(data, notes=[*data.notes, *_renamed(about, data.classes)])


def _read_in_grey(about: dict[str, Any], config: TrainingConfig) -> Data:
    """Images of a folder, which are read in colour, for a model of grey ones."""
    data = read(dataclasses.replace(config, data=dataclasses.replace(config.data, bit_depth=8)))
    return in_grey(data, tuple(about["mean"]), tuple(about["std"]), config.data.bit_depth)


def _scaled(data: Data, about: dict[str, Any], config: TrainingConfig) -> Data:
    """The same data, read again where the model has learned them scaled otherwise."""
    mean, std = (tuple(about.get(key, getattr(data, key))) for key in ("mean", "std"))
    if (mean, std) == (data.mean, data.std):
        return data
    return read(dataclasses.replace(config, data=dataclasses.replace(config.data, mean=mean, std=std)))


def _renamed(about: dict[str, Any], classes: list[str]) -> list[str]:
    """A note where classes are called otherwise than in the training; older models do not tell theirs."""
    learned = about.get("classes", classes)
    other = [f"{new} stands for {old}" for old, new in zip(learned, classes, strict=True) if old != new]
    more = f", … ({len(other)} in all)" if len(other) > 3 else ""
    told = "classes have other names than in the training, and are taken by their order"
    return [f"{told}: {', '.join(other[:3])}{more}"] if other else []


def _models(folder: Path, config: TrainingConfig, data: Data) -> dict[str, Any]:
    """The network in ``folder``, and its twin if that is there too."""
    models: dict[str, Any] = {student.name: student.network for student in students(config, data)}
    files = {NETWORK: folder / "model.safetensors", ANN_TWIN: folder / f"{ANN_TWIN}.safetensors"}
    if not files[ANN_TWIN].is_file():
        models.pop(ANN_TWIN, None)
    for name, network in models.items():
        load_model(files[name], network)
        lay_out(network, config.training)  # as in the training, to the last bit
    return models


def _examined(
    models: dict[str, Any], data: Data, config: ExaminationConfig, progress: Progress | None = None
) -> Examination:
    test, validation = (_Shown(name, InOrder(getattr(data, name)), progress) for name in ("test", "validation"))
    return examine(models[NETWORK], models.get(ANN_TWIN), test, validation, data.classes, config, data.notes)


@dataclasses.dataclass
class _Shown:
    """Batches that a progress bar counts each time that they are gone through: that may take minutes."""

    name: str
    batches: InOrder
    progress: Progress | None
    times: int = 0

    def __iter__(self) -> Iterator[Batch]:
        if self.progress is None:
            yield from self.batches
            return
        self.times += 1
        bar = self.progress.add_task(f"{self.name} data, turn {self.times}", total=len(self.batches.samples))
        try:
            for x, labels in self.batches:
                yield x, labels
                self.progress.advance(bar, len(labels))
        finally:
            self.progress.remove_task(bar)


def _summary(config: TrainingConfig, result: Examination, code: dict[str, Any]) -> dict[str, Any]:
    return {**result.to_json(), "config": dataclasses.asdict(config), "seed": config.seed, **code}
