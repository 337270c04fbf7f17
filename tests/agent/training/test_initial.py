"""Trainings that start from the weights of a trained network: of the zoo, of a training, of a conversion."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from trainings import at, begin, training_of

from snn4.agent import kinds
from snn4.agent.config.file import ConfigError, dump
from snn4.agent.errors import BadInput
from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.evaluation.shown import InOrder
from snn4.agent.models.files import ZOO, read_about, read_weights, save_model
from snn4.agent.models.sources import open_model
from snn4.agent.run.beings import ANN_TWIN, NETWORK
from snn4.agent.run.events import Ended
from snn4.agent.run.work import Model, OneProcess
from snn4.agent.training.config import TrainingConfig
from snn4.agent.training.students import data_and_students

Digits = Callable[..., TrainingConfig]
OF_THE_ZOO = ("network=null", "initial=zoo:digits", "ann_twin=false")


def problems_of(read: Callable[[], Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read()
    return [problem.partition(": ")[2] for problem in caught.value.problems]


def refused(digits: Digits, *overrides: str) -> str:
    """The one line with which the training is refused, before there is a run folder."""
    with pytest.raises(BadInput) as caught:
        data_and_students(digits(*overrides))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def assert_holds(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    state = network.state_dict()
    assert all(torch.equal(x.to(state[name].dtype), state[name]) for name, x in weights.items())


@pytest.fixture(scope="module")
def conversion(transformed: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a conversion without finetuning."""
    folder = tmp_path_factory.mktemp("conversion")
    config = transformed("convert.method=calibrate")
    for part in kinds.named("transformation").prepare(config, OneProcess()).live(lambda: False):
        if isinstance(part, Model):
            save_model(folder / f"{part.name}.safetensors", part.weights, part.about)
    (folder / "config.yaml").write_text(dump(config))
    return folder


@pytest.fixture
def graph(conversion: Path) -> tuple[str, ...]:
    """Learns on after the conversion, which saw every image in 4 steps."""
    return "network=null", f"initial={conversion}", "ann_twin=false", "training.mixup=0"


# The network


def test_the_network_is_that_of_the_model(digits: Digits, conversion: Path) -> None:
    one = digits(*OF_THE_ZOO).network
    kept = yaml.safe_load((ZOO / "digits" / "config.yaml").read_text())["network"]
    assert (one.name, one.T, one.neuron.slope) == (kept["name"], kept["T"], kept["neuron"]["slope"])
    assert one.options["channels"] == kept["options"]["channels"]
    _, (student,) = data_and_students(digits(*OF_THE_ZOO))
    assert_holds(student.network, read_weights(ZOO / "digits" / "model.safetensors"))
    graph = digits("network=null", f"initial={conversion}").network
    assert (graph.name, graph.T, graph.neuron.kind) == ("graph", 4, "signed_if")


def test_a_network_without_a_name_changes_single_keys(digits: Digits) -> None:
    whole = digits(*OF_THE_ZOO).network
    changed = digits(*OF_THE_ZOO, "network.T=2", "network.neuron.reset=hard").network
    assert (changed.T, changed.neuron.reset) == (2, "hard")
    assert changed.neuron.slope == whole.neuron.slope == 0.5
    assert changed.options == whole.options
    assert digits("network=null", "network.T=2").network.name == "vgg-small"  # without a model: the default


def test_a_config_that_was_written_needs_no_model(digits: Digits, trained: Path, tmp_path: Path) -> None:
    """As the config in a run folder: ``evaluate`` and ``report`` read it."""
    model = shutil.copytree(trained, tmp_path / "model")
    config = digits("network=null", f"initial={model}", "network.T=3")
    (tmp_path / "config.yaml").write_text(dump(config))
    shutil.rmtree(model)
    assert kinds.load(tmp_path / "config.yaml")[1] == config


# The weights


def test_it_starts_where_the_model_stands(digits: Digits) -> None:
    """The accuracy on validation data is that of the model, measured in another way."""
    data, (student,) = data_and_students(digits(*OF_THE_ZOO, "seed=3"))
    model, about = open_model("zoo:digits")
    assert (data.mean, data.std) == (about.mean, about.std)
    ours = recognize(student.network.eval(), InOrder(data.validation), 10)
    assert ours.top1 == recognize(model, InOrder(data.validation), 10).top1
    assert ours.top1[-1] > 0.9


def test_both_students_start_from_their_own_file(digits: Digits, trained: Path) -> None:
    _, pair = data_and_students(digits(f"initial={trained}", "seed=3"))
    files = {NETWORK: "model.safetensors", ANN_TWIN: "ann_twin.safetensors"}
    assert [student.name for student in pair] == list(files)
    for student in pair:
        assert_holds(student.network, load_file(trained / files[student.name]))


def test_a_whitening_stem_stays_as_it_was(digits: Digits, tmp_path: Path) -> None:
    """The model has seen other images, from which it would be computed otherwise."""
    options = "network.options={channels: [4, 8], stem: whitening}"
    data, (first, _) = data_and_students(digits(options))
    weights = {**first.network.state_dict(), "network.0.weight": 2 * first.network.state_dict()["network.0.weight"]}
    about = {"data": "digits", "mean": data.mean, "std": data.std}
    save_model(tmp_path / "model.safetensors", weights, about)
    _, (second,) = data_and_students(digits(options, f"initial={tmp_path}", "ann_twin=false", "data.limit=120"))
    assert_holds(second.network, weights)


def test_images_keep_the_scale_of_the_model(digits: Digits, trained: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(trained, tmp_path / "model"))
    file = model / "model.safetensors"
    save_model(file, load_file(file), {**read_about(file), "mean": [0.25], "std": [0.5]})
    config = digits(f"initial={model}", "ann_twin=false")
    plain, (changed, _) = data_and_students(digits())[0], data_and_students(config)
    assert (changed.mean, changed.std) == ((0.25,), (0.5,))
    rows = torch.arange(8)
    expected = (plain.train.take(rows, None)[0] * plain.std[0] + plain.mean[0] - 0.25) / 0.5
    torch.testing.assert_close(changed.train.take(rows, None)[0], expected)
    assert changed.notes[-1].endswith(f"the weights of {model}, and sees images in its scale, mean 0.25 and std 0.5")
    same = digits(f"initial={model}", "ann_twin=false", "data.mean=[0.25]", "data.std=[0.5]")
    assert data_and_students(same)[0].mean == (0.25,)
    other = digits(f"initial={model}", "ann_twin=false", "data.mean=[0.3]", "data.std=[0.5]")
    (problem,) = problems_of(lambda: data_and_students(other))
    assert problem == f"data.mean: got (0.3,), allowed is (0.25,), as {model} has learned it; set null"


# Learning on


@pytest.mark.parametrize(
    "changes",
    [("fabric.precision=bf16-mixed",), ("network.T=3", "network.options.burn_in=1"), ("training.gradient=rates",)],
)  # fmt: skip
def test_every_weight_of_a_conversion_learns_on(digits: Digits, graph: tuple[str, ...], changes: Any) -> None:
    work = training_of(begin(digits(*graph, *changes), Path()))
    (student,) = work.students
    before = {name: x.clone() for name, x in student.network.named_parameters()}
    list(work._newborn(student).learn())
    for name, x in student.network.named_parameters():
        assert x.grad is not None, name
        assert x.grad.abs().sum() > 0, name
        assert not torch.equal(x, before[name]), name


def test_stopped_and_resumed_it_ends_as_if_never_stopped(
    digits: Digits, graph: tuple[str, ...], tmp_path: Path
) -> None:
    def ends(story: Any) -> dict[str, torch.Tensor]:
        assert story.tell()[-1] == Ended("finished", 320)
        return dict(story.models[-1].weights)

    whole = ends(begin(digits(*graph), tmp_path / "whole"))
    begin(digits(*graph), tmp_path / "broken").tell(at(3))
    resumed = begin(digits(*graph), tmp_path / "broken")
    assert resumed.restore() is not None
    rest = ends(resumed)
    assert all(torch.equal(x, rest[name]) for name, x in whole.items())


# Bad input


def test_a_network_of_another_form(digits: Digits) -> None:
    line = refused(digits, "initial=zoo:digits", "ann_twin=false", "network.options={channels: [8, 8], blocks: [2, 2]}")
    assert "network: " in line
    assert "network.0.weight is (32, 1, 3, 3) in the file, (8, 1, 3, 3) in the network; " in line
    assert line.endswith("; leave it out, or set null, to take that of the model")


def test_a_twin_that_is_not_there(digits: Digits) -> None:
    line = refused(digits, "initial=zoo:digits", "network=null")
    assert line.endswith("ann_twin: got true, but zoo:digits has no ann_twin.safetensors; set false")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("initial=''",), "initial: got an empty name, allowed is the folder of a training or conversion"),
        (("initial=3",), "initial: got 3, allowed is a valid string"),
        (("initial=runs/none",), "initial: got 'runs/none', allowed is the folder of a training or conversion, with"),
        (("initial=zoo:digit",), "initial: zoo:digit: no such model; shipped are zoo:cifar10"),
        (("initial=zoo:digits", "network.T=0"), "network.T: got 0, allowed"),
        (("initial=zoo:digits", "network.colour=3"), "network.colour: unknown key"),
    ],
)
def test_what_cannot_be_read(digits: Digits, overrides: tuple[str, ...], message: str) -> None:
    (problem,) = problems_of(lambda: digits("network=null", *overrides))
    assert problem.startswith(message)


def test_models_that_cannot_take_the_data_are_refused(digits: Digits, trained: Path, tmp_path: Path) -> None:
    assert "cannot take digits: in_channels: got 1, allowed is 3" in refused(
        digits, "network=null", "initial=zoo:cifar10", "ann_twin=false"
    )
    assert "initial: got 'runs/none', allowed" in refused(digits, "initial=runs/none")
    model = Path(shutil.copytree(trained, tmp_path / "model"))
    weights = load_file(model / "model.safetensors")
    broken = {**weights, "network.0.weight": weights["network.0.weight"] * float("nan")}
    save_model(model / "model.safetensors", broken, read_about(model / "model.safetensors"))
    assert "holds NaN or infinity" in refused(digits, f"initial={model}")
    (model / "model.safetensors").write_bytes(b"damaged")
    assert "cannot be read" in refused(digits, f"initial={model}")
    (model / "config.yaml").write_text("network: 3\n")
    (problem,) = problems_of(lambda: digits("network=null", f"initial={model}"))
    assert problem.startswith("initial: ")


def test_steps_of_which_the_readout_counts_none(digits: Digits, graph: tuple[str, ...]) -> None:
    changes = "network.options.burn_in=2", "training.T=[[1, 2], [1, 4]]"
    line = refused(digits, *graph, *changes)
    assert line.endswith("training.T: got 2 steps, allowed with a burn_in of 2 are more")


def test_a_profile_takes_the_place_of_the_neuron(digits: Digits) -> None:
    config = digits(*OF_THE_ZOO, "network={neuron: {profile: loihi, v_threshold: 0.25}}")
    neuron = config.network.neuron
    assert (neuron.reset, neuron.surrogate) == ("hard", "arctan")
    assert neuron.v_threshold == pytest.approx(0.25)
