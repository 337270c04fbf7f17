from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.stream import Stream, StreamConfig, make_stream
from snn4.learners.continual.learner import ContinualLearner, ContinualRecipe, StrategyConfig, n_outputs
from snn4.policies.networks.ann import twin
from snn4.policies.networks.classifier import Classifier, SpikingClassifier
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet

MakeLearner = Callable[..., ContinualLearner]


@pytest.fixture(scope="session")
def streams() -> dict[str, Stream]:
    """Three experiences of scikit-learn's digits, two classes each, in every scenario."""
    data = DataConfig("digits", limit=180, augmentation="crop")
    loaded, groups = load_data(data), ((0, 1), (2, 3), (4, 5))
    configs = (StreamConfig(data, scenario, 3, classes=groups) for scenario in ("class", "task", "domain"))
    return {config.scenario: make_stream(config, loaded) for config in configs}


@pytest.fixture(scope="session")
def sorted_stream() -> Stream:
    """The class stream with samples sorted by class, as in folders of recordings and images."""
    data = DataConfig("digits", limit=180)
    loaded = load_data(data)
    train = loaded.train
    order = train.labels.argsort(stable=True)
    train.rows, train.labels = train.rows[order], train.labels[order]
    return make_stream(StreamConfig(data, experiences=3, classes=((0, 1), (2, 3), (4, 5))), loaded)


def small_network(stream: Any, ann: bool = False, **changes: Any) -> SpikingClassifier | Classifier:
    torch.manual_seed(1)
    shape = {"in_channels": stream.in_channels, "image_size": stream.image_size, "n_classes": n_outputs(stream)}
    config = ConvNetConfig(**{"channels": (4, 8), "T": 2, "head": "flatten", **shape, **changes})
    return twin(config) if ann else SpikingConvNet(config)


@pytest.fixture
def make_learner(streams: dict[str, Stream]) -> MakeLearner:
    def make(
        name: str, scenario: str = "class", ann: bool = False, seed: int = 3, memory: int = 60, network: Any = None,
        options: Any = None, memory_bytes: int | None = None, channels: tuple[int, ...] = (4, 8),
        stream: Stream | None = None, **training: Any,
    ) -> ContinualLearner:  # fmt: skip
        stream = stream or streams[scenario]
        config = ContinualRecipe(**{"batch_size": 10, "learning_rate": 0.01, **training})
        strategy = StrategyConfig(name, memory, memory_bytes, options or {})
        return ContinualLearner(
            strategy, config, network or small_network(stream, ann, channels=channels), stream, seed
        )

    return make
