from __future__ import annotations

import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn4.envs.data.datasets import DATASETS, DataConfig, count_classes, load_data
from snn4.envs.stream_config import StreamConfig


def groups(**settings: Any) -> list[list[int]]:
    return StreamConfig(**settings).groups(10)


@pytest.mark.parametrize("scenario", ["class", "task", "domain"])
def test_classes_are_shared_out_in_their_order(scenario: Any) -> None:
    assert groups(scenario=scenario) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]
    assert groups(scenario=scenario, experiences=1) == [list(range(10))]


def test_a_seed_shuffles_the_classes() -> None:
    first = groups(class_seed=3)
    assert first == groups(class_seed=3) != groups(class_seed=4)
    assert sorted(chain(*first)) == list(range(10))
    assert [len(group) for group in first] == [2] * 5


def test_seed_1993_is_the_order_of_split_cifar_100_in_the_literature() -> None:
    shared = StreamConfig(DataConfig("cifar100"), experiences=10, class_seed=1993).groups(100)
    assert shared[0][:5] == [68, 56, 78, 8, 23]  # as in the code of iCaRL
    np.random.seed(1993)  # noqa: NPY002  # the usual way to make it
    order = np.arange(100)
    np.random.shuffle(order)  # noqa: NPY002
    assert list(chain(*shared)) == order.tolist()


def test_groups_of_ones_own() -> None:
    own = ((7, 1), (0, 2, 9))
    assert groups(classes=own, experiences=2) == [[7, 1], [0, 2, 9]]


@pytest.mark.parametrize("shift", ["permute", "rotate"])
def test_a_shift_leaves_all_classes_in_each_experience(shift: Any) -> None:
    assert groups(scenario="domain", shift=shift, experiences=3) == [list(range(10))] * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenario": "tusk"}, r"^scenario: got 'tusk', allowed are class, task, domain"),
        ({"shift": "blur"}, r"^shift: got 'blur', allowed are none, permute, rotate"),
        ({"experiences": 0}, r"^experiences: got 0, allowed is a whole number >= 1"),
        ({"experiences": 11}, r"^experiences: got 11, allowed is 1 to 10, the classes of digits"),
        ({"experiences": 3}, r"^experiences: got 3, allowed are 1, 2, 5, 10 for equal groups of 10 classes; list"),
        ({"class_seed": -1}, r"^class_seed: got -1, allowed is 0 to 4294967295"),
        ({"shift_seed": 2**32}, r"^shift_seed: got 4294967296, allowed is 0 to 4294967295"),
        ({"classes": ((0, 1), (1, 2)), "experiences": 2}, r"^classes: got class 1 twice, allowed is each class in one"),
        ({"classes": ((0, 0), (1, 2)), "experiences": 2}, r"^classes: got class 0 twice"),
        ({"classes": ((0, 1), (1, 2))}, r"^classes: got class 1 twice"),  # this comes before the wrong number of groups
        (
            {"classes": ((0, 1), (2, 10)), "experiences": 2},
            r"^classes: got 10, allowed are 0 to 9, the classes of digits",
        ),
        ({"classes": ((0, 1), (-1, 2)), "experiences": 2}, r"^classes: got -1, allowed are 0 to 9"),
        (
            {"classes": ((0, 1), ()), "experiences": 2},
            r"^classes: got an experience with 0 classes, .* 1 or more$",
        ),
        ({"classes": ((0, 1), (2, 3))}, r"^experiences: got 5, allowed is 2, the number of groups in classes"),
        (
            {"classes": ((0, 1),), "experiences": 1, "class_seed": 1},
            r"^class_seed: not allowed with classes, .*; set class_seed: null$",
        ),
        ({"classes": (), "experiences": 1}, r"^classes: got no group, allowed are one or more"),
        (
            {"scenario": "task", "experiences": 10},
            r"^experiences: got an experience with 1 .* task are 2 or more, since",
        ),
        (
            {"scenario": "domain", "experiences": 10},
            r"^experiences: got an experience with 1 classes, allowed with scenario: domain are 2",
        ),
        ({"shift": "rotate"}, r"^shift: rotate is not allowed with scenario: class; set scenario: domain$"),
        ({"shift": "permute", "scenario": "task"}, r"^shift: permute is not allowed with scenario: task; set"),
        (
            {"shift": "rotate", "scenario": "domain", "classes": ((0, 1),), "experiences": 1},
            r"^classes: not allowed with shift: rotate, .*; set classes: null$",
        ),
        ({"shift": "rotate", "scenario": "domain", "class_seed": 1}, r"^class_seed: not allowed with shift: rotate"),
        (
            {"shift": "permute", "scenario": "domain", "data": DataConfig(augmentation="crop")},
            r"^data.augmentation: crop is not allowed with shift: permute, .*; set data.augmentation: none$",
        ),
        (
            {"data": DataConfig("cifar10", augmentation="flip", alternate_flips=True)},
            r"^data.alternate_flips: got true, allowed is false",
        ),
        ({"data": DataConfig("dvs128-gesture"), "experiences": 5}, r"^experiences: got 5, allowed are 1, 11 for equal"),
        ({"data": DataConfig("cifar100"), "experiences": 101}, r"^experiences: got 101, allowed is 1 to 100"),
    ],
)
def test_mistakes_are_reported_before_anything_is_read(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamConfig(**settings)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10", "imagefolder", "nmnist", "dvs128-gesture"])
def test_classes_are_counted_without_reading(name: str, request: pytest.FixtureRequest) -> None:
    if name == "imagefolder":
        pictures: Path = request.getfixturevalue("pictures")
        config = DataConfig(name, root=str(pictures.parent), folder="pictures", image_size=8)
    elif name == "digits":
        config = DataConfig(name)
    else:
        root = request.getfixturevalue({"dvs128-gesture": "gestures"}.get(name, name))
        config = DataConfig(name, root=str(root), download=False)
        if config.is_events:
            pytest.importorskip("tonic")
    assert count_classes(config) == load_data(config).n_classes


def test_every_data_set_has_a_number_of_classes() -> None:
    assert {name: count_classes(DataConfig(name)) for name in DATASETS if name != "imagefolder"} == {
        "digits": 10, "mnist": 10, "fashion-mnist": 10, "cifar10": 10, "cifar100": 100, "nmnist": 10,
        "dvs128-gesture": 11, "cifar10-dvs": 10,
    }  # fmt: skip


def test_avalanche_is_not_imported_before_a_stream_is_made() -> None:
    program = "import sys, snn4.envs.stream as c; c.StreamConfig(); sys.exit('avalanche' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=100, check=False).returncode == 0
