"""Data that a trained model has not learned: read in the size, the colours and the scale that it has learned to see."""

from __future__ import annotations

import dataclasses
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn4.agent.config.file import ConfigError
from snn4.agent.models.files import ModelError
from snn4.envs.data.datasets import DATASETS, UNMIRRORED, Data, DataConfig, MissingData, folder_of, load_data
from snn4.envs.data.image_folder import in_grey


def read(config: DataConfig, name: str) -> Data:
    """The data of an experiment; ConfigError where they cannot be read."""
    try:
        return load_data(config)
    except MissingData:
        raise
    except (ValueError, ImportError) as error:
        raise ConfigError(name, [f"data: {error}"]) from error


def changes_for(data: str, about: dict[str, Any], learned: DataConfig) -> list[str]:
    """Overrides of a training's config for the test on other ``data``: a name, or a folder of images.

    How those were augmented and divided that were ``learned``, does not matter there.

    Raises:
        ConfigError: there are no such data.
    """
    changes: dict[str, Any] = {"augmentation": "none", "pad": None, "erase": 0, "alternate_flips": False}
    changes |= {"mean": None, "std": None, **(place := _place(data, about))}
    if not _is_same(place, learned):  # else what a fold has learned would be tested
        changes |= {"folds": None, "fold": 0, "limit": None}
    overrides = [f"data.{key}={json.dumps(value)}" for key, value in changes.items()]  # JSON is YAML
    return [*overrides, "flip=false"] if changes["name"] in UNMIRRORED else overrides


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
        problem = f"got {data!r}, there is no such folder and no such data set; {hint} are a folder of images"
        raise ConfigError("--data", [f"{problem}, {', '.join(named)}"])
    sides = set(about.get("image_size", ()))
    size = {"image_size": sides.pop()} if len(sides) == 1 else {}
    return {"name": "imagefolder", "folder": str(Path(data).resolve()), "on_error": "skip", **size}


def read_for(path: Path, about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """The data, as the model in ``path`` has learned to see them; ModelError unless it can take them."""
    is_grey = config.name == "imagefolder" and len(about.get("mean", ())) == 1
    data = _read_in_grey(about, config, name) if is_grey else read(config, name)
    sizes = {"in_channels": data.in_channels, "image_size": list(data.image_size), "n_classes": data.n_classes}
    wrong = [f"{key}: got {x}, allowed is {about[key]}" for key, x in sizes.items() if about.get(key, x) != x]
    if wrong:
        raise ModelError(f"{path}: has learned {about['data']} and cannot take {data.name}: {'; '.join(wrong)}")
    data = _scaled(data, about, config, name)
    return dataclasses.replace(data, notes=[*data.notes, *_renamed(about, data.classes)])


def _read_in_grey(about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """Images of a folder, which are read in colour, for a model of grey ones."""
    data = read(dataclasses.replace(config, bit_depth=8), name)
    return in_grey(data, tuple(about["mean"]), tuple(about["std"]), config.bit_depth)


def _scaled(data: Data, about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """The same data, read again where the model has learned them scaled otherwise."""
    mean, std = (tuple(about.get(key, getattr(data, key))) for key in ("mean", "std"))
    if (mean, std) == (data.mean, data.std):
        return data
    return read(dataclasses.replace(config, mean=mean, std=std), name)


def _renamed(about: dict[str, Any], classes: list[str]) -> list[str]:
    """A note where classes are called otherwise than in the training; older models do not tell theirs."""
    learned = about.get("classes", classes)
    other = [f"{new} stands for {old}" for old, new in zip(learned, classes, strict=True) if old != new]
    more = f", … ({len(other)} in all)" if len(other) > 3 else ""
    note = "classes have other names than in the training, and are taken by their order"
    return [f"{note}: {', '.join(other[:3])}{more}"] if other else []
