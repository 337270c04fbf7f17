from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.networks.architectures import ARCHITECTURES, ResNetA, make_architecture


@pytest.mark.parametrize(("name", "parameters"), [("resnet-20-a", 269_722), ("resnet-56-a", 853_018)])
def test_parameters_are_those_of_the_paper(name: str, parameters: int) -> None:
    """0.27 and 0.85 million in table 6 of He et al. 2016."""
    network = make_architecture(name)
    assert sum(x.numel() for x in network.parameters()) == parameters
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    assert len(layers) == int(name.split("-")[1])


def plain(network: ResNetA, x: Tensor) -> Tensor:
    """The formulas of the paper, written down once more with the weights of ``network``."""
    x = F.relu(network.bn1(network.conv1(x)))
    for stage in (network.layer1, network.layer2, network.layer3):
        for block in stage:
            y: Tensor = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))  # type: ignore[operator, union-attr]
            if y.shape != x.shape:
                quarter = torch.zeros_like(y[:, : y.shape[1] // 4])
                x = torch.cat([quarter, x[:, :, ::2, ::2], quarter], 1)
            x = F.relu(x + y)
    return network.linear(x.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (28, 20)), (3, (9, 7))])
def test_shortcuts_take_every_second_pixel_and_add_zeros(channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = make_architecture("resnet-20-a", 7, channels).eval()
    assert isinstance(network, ResNetA)
    x = torch.randn(2, channels, *size)
    with torch.no_grad():
        torch.testing.assert_close(network(x), plain(network, x), rtol=1e-4, atol=1e-4)


def test_torch_can_trace_it() -> None:
    network = make_architecture("resnet-32-a").eval()
    traced, x = torch.fx.symbolic_trace(network), torch.randn(2, 3, 32, 32)
    assert torch.equal(traced(x), network(x))
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    relus = [name for name in called if isinstance(network.get_submodule(str(name)), nn.ReLU)]
    assert len(relus) == len(set(relus)) == 31


def test_names_are_those_of_published_checkpoints() -> None:
    names = make_architecture("resnet-20-a").state_dict().keys()
    assert {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer3.2.bn2.bias", "linear.weight"} <= names
    assert not any("shortcut" in name for name in names)


def test_models_of_torchvision() -> None:
    network = make_architecture("torchvision:shufflenet_v2_x0_5", 7).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_models_of_timm() -> None:
    pytest.importorskip("timm")
    assert make_architecture("timm:resnet18", 7, 1).eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 7)
    with pytest.raises(ValueError, match=r"architecture: got 'timm:resnet1800', did you mean timm:resnet"):
        make_architecture("timm:resnet1800")


def test_without_timm_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("timm") is not None:
        monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm:resnet18 needs timm, .* pip install timm"):
        make_architecture("timm:resnet18")


@pytest.mark.parametrize(
    ("name", "message"),
    [("resnet-20", "architecture: got 'resnet-20', did you mean resnet-20-a"),
     ("torchvision:resnet81", "got 'torchvision:resnet81', did you mean torchvision:resnet18"),
     ("keras:vgg", f"got 'keras:vgg', allowed are {', '.join(ARCHITECTURES)}, torchvision:NAME, timm:NAME")],
)  # fmt: skip
def test_unknown_names_and_their_neighbours(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_architecture(name)


def test_channels_that_torchvision_does_not_take() -> None:
    with pytest.raises(ValueError, match="in_channels: got 1, allowed is 3 for torchvision:resnet18"):
        make_architecture("torchvision:resnet18", 10, 1)
