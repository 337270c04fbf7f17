from __future__ import annotations

import copy
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from snn4.policies.networks.front_end import FrontEnd, load_weights, torchvision_front
from snn4.policies.networks.hybrid import Hybrid, HybridConfig


def layers(seed: int = 0, width: int = 4) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(x, b[name]) for name, x in a.items())


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_front_end_stays_while_the_rest_learns(frozen: bool) -> None:
    front = FrontEnd(layers(), frozen)
    network = nn.Sequential(front, nn.Conv2d(4, 2, 3))
    before, expected = state(network), copy.deepcopy(front).eval()(draw(1, 5, 2, 8, 8))
    optimizer = torch.optim.AdamW(network.parameters(), 0.1, weight_decay=0.1)
    for mode in (True, False, True):
        network.train(mode)
        network(draw(1, 5, 2, 8, 8)).sum().backward()
        optimizer.step()
    changed = {name for name, x in state(network).items() if not torch.equal(x, before[name])}
    assert {"1.weight", "1.bias"} <= changed
    changed_front = {name for name in changed if name.startswith("0.")}
    if frozen:
        assert not changed_front
        assert torch.equal(front(draw(1, 5, 2, 8, 8)), expected)
        assert not any(module.training for module in front.modules())
    else:
        assert {"0.layers.0.weight", "0.layers.1.running_mean"} <= changed_front


def test_learned_weights_are_not_drawn_again() -> None:
    def fill(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)

    fresh, learned = FrontEnd(layers()), FrontEnd(layers(), learned=True)
    nn.Sequential(fresh, learned, last := nn.Conv2d(2, 2, 1)).apply(fill)
    assert (fresh.layers[0].weight == 1).all()  # type: ignore[index]
    assert (last.weight == 1).all()
    assert same(state(learned.layers), state(layers()))


def test_shape_of_maps() -> None:
    front = FrontEnd(layers())
    before = state(front)
    assert front.shape_of((2, 9, 7)) == (4, 7, 5)
    assert front.training
    assert same(state(front), before), "a look at the shape changes nothing"
    for image in ((2, 2, 9), (3, 9, 9)):
        message = rf"^image_size: got images \({image[0]}, {image[1]}, 9\), which the front end cannot take \(.*\)"
        with pytest.raises(ValueError, match=message):
            front.shape_of(image)
    assert front.training
    with pytest.raises(ValueError, match=r"^layer: got an output of 2 dimensions, allowed is a layer with maps"):
        FrontEnd(nn.Flatten()).shape_of((2, 9, 7))
    with pytest.raises(ValueError, match=r"^layer: got a tuple, allowed is a layer with maps"):
        FrontEnd(nn.MaxPool2d(2, return_indices=True)).shape_of((2, 9, 7))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer2"),
        ("resnet18", "layer1.0"),
        ("mobilenet_v3_small", "features.3"),
        ("shufflenet_v2_x0_5", "stage2"),
        ("squeezenet1_1", "features.5"),
        ("regnet_x_400mf", "trunk_output.block1"),
    ],
)
def test_the_first_layers_of_torchvisions_models(name: str, layer: str) -> None:
    torch.manual_seed(0)
    front = torchvision_front(name, layer, 3, None).eval()
    torch.manual_seed(0)
    model = models.get_model(name).eval()
    with torch.no_grad():
        expected = create_feature_extractor(model, {layer: "maps"})(draw(2, 1, 3, 64, 48))["maps"]
        assert torch.equal(front(draw(2, 1, 3, 64, 48)), expected)
    whole = model.state_dict()
    assert all(torch.equal(x, whole[key]) for key, x in front.state_dict().items()), "names stay as they are"


@pytest.mark.parametrize("channels", [1, 2, 5, 6])
def test_other_channels_see_the_same_colours(channels: int) -> None:
    torch.manual_seed(0)
    usual: Any = torchvision_front("resnet18", "conv1", 3, None)
    torch.manual_seed(0)
    front: Any = torchvision_front("resnet18", "conv1", channels, None)
    assert front[0].weight.shape == (64, channels, 7, 7)
    assert str(front[0]).startswith(f"Conv2d({channels}, 64")
    grey = draw(3, 2, 1, 32, 32)
    if channels == 1:
        torch.testing.assert_close(front(grey), usual(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)
    elif channels == 6:  # two images in one input: the mean of both
        images = draw(3, 2, 6, 32, 32)
        torch.testing.assert_close(front(images), usual((images[:, :3] + images[:, 3:]) / 2), rtol=1e-4, atol=1e-5)
    else:
        kernels = usual[0].weight[:, [i % 3 for i in range(channels)]] * 3 / channels
        torch.testing.assert_close(front[0].weight, kernels)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_from_a_file(tmp_path: Path, suffix: str) -> None:
    learned, path = layers(seed=1), tmp_path / f"front{suffix}"
    longer = nn.Sequential(*learned, nn.Conv2d(4, 3, 1))
    in_hybrid = nn.ModuleDict({"network": nn.Sequential(FrontEnd(learned), nn.Conv2d(4, 3, 1))})
    for module in (learned, longer, in_hybrid):
        weights = state(module)
        save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
        front = layers()
        load_weights(front, str(path))
        assert same(state(front), state(learned))


def test_a_whole_hybrid_gives_its_front_end(tmp_path: Path) -> None:
    config = HybridConfig(front_channels=(4,), channels=(6,), in_channels=1)
    torch.manual_seed(1)
    learned = Hybrid(config)
    save_file(learned.state_dict(), tmp_path / "model.safetensors")
    again: Any = Hybrid(HybridConfig(front_channels=(4,), in_channels=1, weights=str(tmp_path / "model.safetensors")))
    assert same(state(again.network[0]), state(learned.network[0]))
    assert again.network[0].learned


def test_old_files_that_do_not_count_batches(tmp_path: Path) -> None:
    old = {name: x for name, x in state(layers(seed=1)).items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pt")
    load_weights(front := layers(), str(tmp_path / "old.pt"))
    assert torch.equal(front.state_dict()["0.weight"], old["0.weight"])


def test_files_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    weights, path = state(layers(width=5)), tmp_path / "other.pt"
    del weights["0.weight"]
    torch.save({**weights, "1.bias": torch.zeros(4)}, path)
    front = layers()
    listed = "0.weight is missing; 1.weight is (5,), allowed is (4,); 1.running_mean is (5,), allowed is (4,); "
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_weights(front, str(path))
    assert str(caught.value).startswith(f"weights: {path} does not fit the front end: {listed}1.running_var is (5,)")
    assert same(state(front), state(layers()))
    save_file({"a": torch.zeros(1)}, tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"front end: 0.0.weight is missing; .*; 1.1.bias is missing; and 2 more$"):
        load_weights(nn.Sequential(layers(), layers()), str(tmp_path / "none.safetensors"))


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


def test_files_that_are_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^weights: lost\.pt: no such file; allowed are files of weights"):
        load_weights(layers(), "lost.pt")
    torch.save({"0.weight": Trap()}, "trap.pt")
    for name in ("noise.safetensors", "noise.pt"):
        Path(name).write_bytes(b"\x93noise" * 9)
    for name in ("empty.safetensors", "empty.pt"):
        Path(name).touch()
    for name in ("trap.pt", "noise.safetensors", "noise.pt", "empty.safetensors", "empty.pt"):
        with pytest.raises(ValueError, match=rf"^weights: {name}: (cannot be read|refused)"):
            load_weights(layers(), name)
    assert not Path("sprung").exists()
    torch.save(torch.zeros(3), "tensor.pt")
    with pytest.raises(ValueError, match=r"^weights: tensor.pt: got no tensors by name, allowed is a state dict"):
        load_weights(layers(), "tensor.pt")


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("resnet19", "layer2", "front: got 'resnet19', did you mean resnet1.*Allowed are small and .*'s alexnet,"),
        ("vit_b_16", "encoder", "front: got 'vit_b_16'"),
        ("resnet18", "layer9", "layer: got 'layer9', but resnet18 has no part 'layer9', allowed there are conv1,"),
        ("resnet18", "layer1.7", "layer: got 'layer1.7', but resnet18 has no part '7', allowed there are 0, 1"),
        ("resnet18", "layer1.0.conv1", "layer: got 'layer1.0.conv1', a part of a block of resnet18; allowed is layer1"),
        ("resnet18", "conv1.x", "layer: got 'conv1.x', a part of a block"),
    ],
)  # fmt: skip
def test_models_and_layers_that_are_not_there(name: str, layer: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        torchvision_front(name, layer, 3, None)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr(urllib.request, "_opener", None)  # otherwise the whole process keeps the first proxies
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"^weights: got DEFAULT, but they cannot be downloaded"):
        torchvision_front("squeezenet1_1", "features.5", 3, "DEFAULT")
