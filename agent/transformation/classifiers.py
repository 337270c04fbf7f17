"""What all transformations of classifiers do in the same way: finetuning, and what a file says of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from snn4.agent.run.beings import NETWORK
from snn4.agent.run.events import Event, Learned
from snn4.agent.run.work import Pause, Stop
from snn4.agent.transformation.config import TransformationConfig
from snn4.envs.data.datasets import Data
from snn4.learners.lessons import Lessons
from snn4.learners.supervised import SupervisedLearner
from snn4.policies.networks.classifier import Network
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.graph_config import GraphConfig

REPORT_EVERY = 2.0
"""Seconds between reports."""


def finetuner(config: TransformationConfig, data: Data, network: Network, lessons: Lessons | None) -> SupervisedLearner:
    """The learner of ``network`` by the recipe of ``config``, from the training part of ``data``.

    Raises:
        ValueError: a batch is larger than the training part.
    """
    recipe, most = config.finetune, len(data.train)
    if recipe.batch_size > most:
        raise ValueError(
            f"finetune.batch_size: got {recipe.batch_size}, allowed are at most the {most} training samples"
        )
    fabric = Fabric(accelerator="auto", devices=1, precision=config.precision)
    fabric.launch()

    def batches(epoch: int, first: int) -> Iterable[tuple[Tensor, Tensor]]:
        return data.train.batches(
            recipe.batch_size, shuffle_seed=config.seed, epoch=epoch, first=first, augment=True, drop_last=True
        )

    n_batches = data.train.n_batches(recipe.batch_size, True)
    return SupervisedLearner(recipe, network, batches, n_batches, config.seed, fabric, lessons)


def finetuning(learner: SupervisedLearner, data: str, stop: Stop) -> Iterator[Event | Pause]:
    """Learn epoch by epoch from the images of ``data``, with a pause after each."""
    total = learner.config.epochs * learner.n_batches * learner.config.batch_size
    while learner.epoch < learner.config.epochs and not learner.stopped:
        for fit in learner.learn(stop, REPORT_EVERY):
            losses = {"loss": fit.loss, "learning_rate": fit.learning_rate}
            yield Learned(
                NETWORK, data, 0, fit.images, total, learner.images, fit.accuracy, [], losses, fit.seconds, fit.epoch
            )
        yield Pause()


def named_graph(network: Any) -> NetworkConfig:
    """The config of a `GraphNet`, with its nodes as a file has them."""
    made: GraphConfig = network.config
    nodes = [[node.name, node.kind, list(node.inputs), dict(node.options)] for node in made.nodes]
    return NetworkConfig("graph", made.T, made.neuron, options={"nodes": nodes, "burn_in": made.burn_in})


def about_network(config: TransformationConfig, data: Data, network: NetworkConfig) -> dict[str, Any]:
    """What the file of a network says of it: its data, its config, and where it comes from."""
    return {
        "data": data.name, "in_channels": data.in_channels, "image_size": data.image_size,
        "n_classes": data.n_classes, "classes": data.classes, "mean": data.mean, "std": data.std,
        "seed": config.seed, "network": dataclasses.asdict(network), "source": config.model.source,
    }  # fmt: skip
