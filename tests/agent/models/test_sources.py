from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from snn4.agent.evaluation.accuracy import recognize
from snn4.agent.models.files import ModelError, read_about, save_model
from snn4.agent.models.sources import IMAGENET, About, open_model, rescaled
from snn4.agent.training.students import InOrder
from snn4.envs.data.datasets import DataConfig, load_data
from snn4.policies.networks.architectures import make_architecture
from snn4.policies.networks.classifier import Classifier, SpikingClassifier
from snn4.policies.networks.rescaled import Rescaled

PUBLISHED = "teachers/resnet20-12fca82f.th"


@pytest.fixture
def root() -> str:
    """The folder SNN4_DATA if it holds CIFAR-10 and the published ResNets for it; otherwise the test is skipped."""
    root = os.environ.get("SNN4_DATA", "")
    if not Path(root, PUBLISHED).is_file() or not Path(root, "cifar-10-batches-py").is_dir():
        pytest.skip(f"needs cifar-10-batches-py and {PUBLISHED} in the folder that SNN4_DATA names")
    return root


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def refused(source: str | Path, architecture: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(str(source), architecture)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "kind"),
    [("", "ann_twin", Classifier), ("model.safetensors", "model", SpikingClassifier),
     ("ann_twin.safetensors", "ann_twin", Classifier)],
)  # fmt: skip
def test_both_networks_of_a_training(run: Path, name: str, file: str, kind: type) -> None:
    network, about = open_model(str(run / name))
    assert type(network).__mro__.count(kind) == 1
    assert not network.training
    weights = load_file(run / f"{file}.safetensors")
    assert all(torch.equal(x, weights[key]) for key, x in network.state_dict().items())
    known = read_about(run / f"{file}.safetensors")
    assert (about.n_classes, about.in_channels, about.image_size) == (10, 1, (8, 8))
    assert (about.mean, about.std) == (tuple(known["mean"]), tuple(known["std"]))
    assert about.classes == tuple("0123456789")


def test_a_training_says_its_architecture_itself(run: Path) -> None:
    assert isinstance(open_model(str(run), "resnet-20-a")[0], Classifier)


def test_a_training_without_twin(run: Path) -> None:
    (run / "ann_twin.safetensors").unlink()
    assert isinstance(open_model(str(run))[0], SpikingClassifier)


def test_the_zoo(run: Path) -> None:
    network, about = open_model("zoo:digits")
    assert isinstance(network, SpikingClassifier)
    data = load_data(DataConfig("digits"))
    accuracy = recognize(network, InOrder(data.test), 10).top1[-1]
    assert accuracy > 0.9  # of the shipped weights, which are always the same
    assert (about.mean, about.std) == (data.mean, data.std)


def test_a_published_network_is_as_good_on_data_of_another_scale(root: str) -> None:
    network, about = open_model(f"{root}/{PUBLISHED}", "resnet-20-a")
    assert about == About(f"{root}/{PUBLISHED}", 10, 3, (32, 32), *IMAGENET)
    data = load_data(DataConfig("cifar10", root=root))
    x, labels = data.test.take(torch.arange(512), None)
    with torch.no_grad():
        right = (rescaled(network, about, data.mean, data.std)(x).argmax(1) == labels).double().mean()
    assert right > 0.85  # published: 91.7 % of all test samples


def test_scales_that_users_name(tmp_path: Path) -> None:
    path = tmp_path / "grey.safetensors"
    save_file(make_architecture("resnet-20-a", 7, 1).state_dict(), path)
    network, about = open_model(str(path), "resnet-20-a")
    assert about == About(str(path), 7, 1, (32, 32))
    assert rescaled(network, about, (0.5,), (0.5,)) is network
    network, about = open_model(str(path), "resnet-20-a", (0.5,), (0.25,))
    assert (about.mean, about.std) == ((0.5,), (0.25,))
    assert rescaled(network, about, (0.5,), (0.25,)) is network
    wrapped = rescaled(network, about, (0.5,), (0.5,))
    assert isinstance(wrapped, Rescaled)
    assert not wrapped.training
    x = torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(wrapped(x), network(2 * x))
    with pytest.raises(ModelError, match="got 1 numbers, allowed are 3"):
        rescaled(network, about, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ModelError, match="got one of mean and std"):
        open_model(str(path), "resnet-20-a", mean=(0.5,))


def test_files_for_torchvisions_networks(tmp_path: Path) -> None:
    path, name = tmp_path / "shuffle.pth", "torchvision:shufflenet_v2_x0_5"
    learned = make_architecture(name, 7)
    torch.save({"state_dict": learned.state_dict()}, path)
    network, about = open_model(str(path), name)
    assert about == About(str(path), 7, 3)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(network(x), learned.eval()(x))


def test_data_of_another_size() -> None:
    about = About("theirs", 10, 3)
    about.check(3, 10)
    with pytest.raises(ModelError, match="theirs: has 10 classes, allowed are 100, those of the data"):
        about.check(3, 100)
    with pytest.raises(ModelError, match="theirs: has 3 channels, allowed are 1, those of the data"):
        about.check(1, 10)


def test_opening_a_model_draws_no_random_numbers(run: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    open_model(str(run))
    assert torch.equal(torch.get_rng_state(), before)


def test_sources_that_are_none(run: Path, tmp_path: Path) -> None:
    assert refused("nowhere").startswith("nowhere: no such file or folder; allowed are the folder of a training, zoo:")
    assert refused("zoo:nothing").startswith("zoo:nothing: no such model; shipped are ")
    assert "no such file" in refused(tmp_path)
    weights = tmp_path / "weights.pt"
    torch.save(make_architecture("resnet-20-a").state_dict(), weights)
    assert f"{weights}: got no architecture, allowed for a file of weights are resnet-20-a" in refused(weights)
    assert f"{weights}: does not fit resnet-32-a: layer1.3.conv1.weight is missing" in refused(weights, "resnet-32-a")
    assert f"{weights}: architecture: got 'resnet', did you mean" in refused(weights, "resnet")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert f"{weights}: cannot be read" in refused(weights, "resnet-20-a")


def test_models_that_are_damaged(run: Path) -> None:
    file, config = run / "model.safetensors", run / "config.yaml"
    sound, about = load_file(file), read_about(file)
    save_model(file, {name: x * torch.nan for name, x in sound.items() if x.is_floating_point()}, about)
    assert f"{file}: " in (message := refused(file))
    assert "holds NaN or infinity" in message
    save_model(file, sound, {})
    assert "does not say of what data it is" in refused(file)
    save_model(file, sound, about)
    text = config.read_text()
    config.write_text(text.replace("    - 8\n", "    - 16\n"))
    assert "of another architecture than its config" in refused(file)
    config.write_text(text.replace("name: vgg-small", "name: vgg-smal"))
    assert "did you mean vgg-small" in refused(file)
