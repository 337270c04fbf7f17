from __future__ import annotations

from pathlib import Path

import pytest
from config_problems import assert_problems, by_key


def test_all_problems_at_once(digits_yaml: Path) -> None:
    """A wrong name hides no other problem."""
    expected = {
        "epocs": ["unknown key", "Allowed are name, data"],
        "workers": ["got -1", ">= 0"],
        "data.name": ["got 'fashon-mnist'", "did you mean fashion-mnist?"],
        "data.validation": ["got 5", "allowed"],
        "network.name": ["got 'vgg'", "vgg-small"],
        "network.T": ["got 2.5", "integer"],
        "training.epochs": ["got 0", ">= 1"],
        "training.learning_rate": ["got 'fast'", "number"],
        "training.optimizer": ["got 'adam'", "'adamw' or 'sgd'"],
        "training.T": ["got 3", "allowed"],
        "training.gradient": ["got 'rate'", "'surrogate' or 'rates'"],
        "training.nesterov": ["unknown key"],
        "fabric.precision": ["got 16", "'32-true' or 'bf16-mixed'"],
        "fabric.devices": ["got 0", ">= 1"],
    }
    assert_problems(
        expected, digits_yaml, "epocs=3", "data.name=fashon-mnist", "data.validation=5", "network.name=vgg",
        "network.T=2.5", "training.epochs=0", "training.learning_rate=fast", "training.optimizer=adam", "training.T=3",
        "fabric.precision=16", "fabric.devices=0", "workers=-1", "training.nesterov=true",
        "training.gradient=rate",
    )  # fmt: skip


def test_gradients_of_rates_pass_no_single_step(digits_yaml: Path) -> None:
    lessons = "teacher={source: zoo:digits, features: 1}"
    ((key, message),) = by_key(digits_yaml, "training.gradient=rates", lessons).items()
    assert key == "training.gradient"
    assert message.startswith("got rates, allowed with teacher.features")
    found = by_key(digits_yaml, "training.gradient=rates", "data={name: nmnist}", "flip=false")
    assert found["training.gradient"].startswith("got rates, allowed for events is surrogate")


@pytest.mark.parametrize(
    ("override", "key"),
    [("fabric.accelerator=tpu", "fabric.accelerator"), ("fabric.strategy=fsdp", "fabric.strategy"),
     ("training.T=[[1, 2]]", "training.T"), ("training.T=[[1, 2], 3]", "training.T.1"),
     ("network.options={colour: 3}", "network.options"), ("data.augmentation=flip", "data.augmentation"),
     ("data.bit_depth=true", "data.bit_depth"), ("network.T=0", "network.T"), ("flip=true", "flip")],
)  # fmt: skip
def test_impossible_values(digits_yaml: Path, override: str, key: str) -> None:
    ((place, message),) = by_key(digits_yaml, override).items()
    assert place == key
    assert "got " in message or "not allowed with" in message
    assert "allowed" in message
