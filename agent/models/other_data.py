"""Data that a trained model has not learned: read in the size, colours and scale of its training data."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from snn4.agent.config.file import ConfigError, checked
from snn4.agent.config.file import read as read_file
from snn4.agent.models.files import ModelError, read_about
from snn4.envs.data.datasets import DATASETS, UNMIRRORED, Data, DataConfig, MissingData, folder_of, load_data
from snn4.envs.data.image_folder import in_grey


def read(config: DataConfig, name: str) -> Data:
    """The data of an experiment; ConfigError if it cannot be read."""
    try:
        return load_data(config)
    except MissingData:
        raise
    except (ValueError, ImportError) as error:
        raise ConfigError(name, [f"data: {error}"]) from error


def changes_for(data: str, about: dict[str, Any], learned: DataConfig) -> list[str]:
    """Overrides of a training's config for the test on other ``data``: a name, or a folder of images.

    They reset augmentation and scale, and also the folds unless the data are those that were ``learned``.

    Raises:
        ConfigError: there is no such data.
    """
    place = _place(data, about)
    changes: dict[str, Any] = {"augmentation": "none", "pad": None, "erase": 0, "alternate_flips": False}
    changes |= {"mean": None, "std": None, **place}
    if not _is_same(place, learned):  # the same data keep their folds: the training part must not be tested
        changes |= {"folds": None, "fold": 0, "limit": None}
    overrides = [f"data.{key}={json.dumps(value)}" for key, value in changes.items()]  # JSON is YAML
    return [*overrides, "flip=false"] if changes["name"] in UNMIRRORED else overrides


def on_other_data(config: Any, folder: Path, options: Mapping[str, Any]) -> Any:
    """The ``config`` of the model in ``folder`` for the test on the data in ``options``, if these name any.

    Raises:
        ConfigError: there is no such data.
    """
    if (data := options.get("data")) is None:
        return config
    about = read_about(folder / "model.safetensors")
    place = [f"data.root={json.dumps(root)}"] if (root := options.get("root")) else []
    changes = [*changes_for(data, about, config.data), *place]
    known = {field.name for field in dataclasses.fields(config)}  # a kind without mirrored tests has no flip
    allowed = [change for change in changes if re.split("[.=]", change)[0] in known]
    return checked(*read_file(folder / "config.yaml"), allowed, type(config))


def _is_same(place: dict[str, Any], learned: DataConfig) -> bool:
    if place["name"] != learned.name:
        return False
    return place["folder"] is None or Path(place["folder"]) == folder_of(learned).resolve()


def _place(data: str, about: dict[str, Any]) -> dict[str, Any]:
    """The data set named ``data``, or else the folder of images, in the size of the model's training data.

    Images that cannot be read are left out, with a note, since nothing is learned from the rest.
    """
    named = [name for name in DATASETS if name != "imagefolder"]
    if data in named:
        return {"name": data, "folder": None}
    if data == "imagefolder":
        raise ConfigError("--data", ["got 'imagefolder', allowed is the folder of the images; name it instead"])
    if not data or not Path(data).is_dir():
        near = get_close_matches(data, named, n=1)
        hint = f"did you mean {near[0]}? Allowed" if near else "allowed"
        problem = f"got {data!r}, which is neither a folder nor a data set; {hint} are a folder of images"
        raise ConfigError("--data", [f"{problem}, {', '.join(named)}"])
    sides = set(about.get("image_size", ()))
    size = {"image_size": sides.pop()} if len(sides) == 1 else {}
    return {"name": "imagefolder", "folder": str(Path(data).resolve()), "on_error": "skip", **size}


def read_for(path: Path, about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """The data in the form that the model in ``path`` was trained on; ModelError if the model cannot take it."""
    is_grey = config.name == "imagefolder" and len(about.get("mean", ())) == 1
    data = _read_in_grey(about, config, name) if is_grey else read(config, name)
    sizes = {"in_channels": data.in_channels, "image_size": list(data.image_size), "n_classes": data.n_classes}
    wrong = [
        f"{key}: got {size}, allowed is {about[key]}" for key, size in sizes.items() if about.get(key, size) != size
    ]
    if wrong:
        raise ModelError(f"{path}: has learned {about['data']} and cannot take {data.name}: {'; '.join(wrong)}")
    data = _scaled(data, about, config, name)
    return dataclasses.replace(data, notes=[*data.notes, *_renamed(about, data.classes)])


def _read_in_grey(about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """Images of a folder, which are read in colour, turned grey for a model of grey images."""
    data = read(dataclasses.replace(config, bit_depth=8), name)
    return in_grey(data, tuple(about["mean"]), tuple(about["std"]), config.bit_depth)


def _scaled(data: Data, about: dict[str, Any], config: DataConfig, name: str) -> Data:
    """The same data; read again if the model was trained on another scale."""
    mean, std = (tuple(about.get(key, getattr(data, key))) for key in ("mean", "std"))
    if (mean, std) == (data.mean, data.std):
        return data
    return read(dataclasses.replace(config, mean=mean, std=std), name)


def _renamed(about: dict[str, Any], classes: list[str]) -> list[str]:
    """A note on classes whose names differ from those in the training; older models have no names."""
    learned = about.get("classes", classes)
    renamed = [f"{new} stands for {old}" for old, new in zip(learned, classes, strict=True) if old != new]
    more = f", … ({len(renamed)} in all)" if len(renamed) > 3 else ""
    note = "classes have other names than in the training, and are matched by their order"
    return [f"{note}: {', '.join(renamed[:3])}{more}"] if renamed else []
