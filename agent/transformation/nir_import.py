"""The story of an import: the network of a NIR graph becomes one of this project, and sees validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from snn4.agent.models.files import ModelError
from snn4.agent.models.nir_file import known_of, open_nir
from snn4.agent.models.other_data import read as read_data
from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Evaluated, Event, Measure, Task
from snn4.agent.run.work import Model, Pause, State, Stop
from snn4.agent.transformation.classifiers import about_network, named_graph
from snn4.agent.transformation.config import TransformationConfig
from snn4.policies.gene import genome


class Imported:
    """The spiking network of the graph."""

    name = NETWORK


class NirImport:
    """A NIR graph becomes a spiking network.

    Args:
        config: a checked config, whose source is a NIR file.

    Raises:
        ModelError: the file cannot be read, or its network does not fit the data.
        ConfigError, MissingData: the data cannot be read.
    """

    unit = "images"
    measure: Measure = "accuracy"
    beings = [Imported()]  # noqa: RUF012, a protocol's field
    accuracy: float | None = None
    """On the examined validation images."""

    def live(self, stop: Stop) -> Iterator[Event | Pause | Model]:
        """Keep the network, and test it on validation images; without a pause, since all of it takes seconds."""
        about = about_network(self.config, self.data, named_graph(self.network))
        yield Model("model", self.network.state_dict(), {**about, "classes": self.classes})
        images, labels = self.examined
        with torch.no_grad():
            self.accuracy = float((self.network(images).argmax(1) == labels).double().mean())
        score = {"return_mean": self.accuracy}
        yield Evaluated(NETWORK, self.data.name, self.age, {self.data.name: score}, best=True)

    def __init__(self, config: TransformationConfig) -> None:
        self.config, source = config, config.model.source
        known = known_of(source)
        if "environment" in known:
            got = known["environment"]
            raise ModelError(f"{source}: is a policy of {got}, allowed are classifiers; in Python, from_nir reads it")
        mean, std = (getattr(config.model, key) or known.get(key) for key in ("mean", "std"))
        data_config = config.data
        if mean is not None:  # the network goes on seeing images as it has learned them
            data_config = dataclasses.replace(data_config, mean=mean, std=std)
        self.data = data = read_data(data_config, config.name)
        self.network = open_nir(source, config.convert.T, (data.in_channels, *data.image_size))
        if (n := self.network.config.n_classes) != data.n_classes:
            raise ModelError(f"{source}: has {n} classes, allowed are {data.n_classes}, those of the data")
        self.classes = known.get("classes", data.classes)
        self.notes = list(data.notes)
        batches = data.validation.batches(config.examined, shuffle_seed=config.seed)  # files are sorted by class
        self.examined = next(iter(batches))

    @property
    def tasks(self) -> list[Task]:
        return [{"environment": self.data.name, "steps": len(self.examined[1])}]

    @property
    def genome(self) -> dict[str, float]:
        return genome(self.network.config.neuron)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Of data and model."""
        size = sum(float(x.double().abs().sum()) for x in self.network.state_dict().values())
        return {**self.data.fingerprint, "model": f"{size:.6e}"}

    age = 0
    """It learns from no image."""

    @property
    def finished(self) -> bool:
        return self.accuracy is not None

    def state(self) -> State:
        """Nothing: an interrupted import starts again."""
        return {"model": {}, "learner": {"learner": None}}

    def load_state(self, state: State) -> None:
        """Do nothing; see `state`."""

    def summary(self) -> dict[str, Any]:
        """What was imported, and its accuracy."""
        config = self.network.config
        kinds: dict[str, int] = {}
        for node in config.nodes:  # type: ignore[attr-defined]
            kinds[node.kind] = kinds.get(node.kind, 0) + 1
        imported = {
            "layers": kinds, "T": config.T, "parameters": sum(x.numel() for x in self.network.parameters()),
            "accuracy": self.accuracy, "images": len(self.examined[1]),
        }  # fmt: skip
        return {"imported": imported, "source": self.config.model.source}
