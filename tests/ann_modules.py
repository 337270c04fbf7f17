"""ANNs as people train them, small, with random weights and batch norms that have seen data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.networks.architectures import ResNetA, torchvision_model


def conv(n: int, m: int, size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(n, m, size, padding=size // 2, **options)


class Dense(nn.Module):
    """A dense block with functions: norms before convolutions, and what was there is concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 6)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6 + 4 * number) for number in range(3))
        self.convs = nn.ModuleList(conv(6 + 4 * number, 4) for number in range(2))
        self.classify = nn.Linear(14, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.convs, strict=False):
            x = torch.cat([x, layer(F.relu(norm(x)))], 1)
        x = F.avg_pool2d(F.relu(self.norms[2](x)), 2, None, 0, True)
        return self.classify(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))  # type: ignore[no-any-return]


class Preactivation(nn.Module):
    """Two blocks whose sums carry currents, with a ReLU module that is used twice, and sizes in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = conv(3, 6), nn.ReLU()
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(3))
        self.convs = nn.ModuleList(conv(6, 6) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU6(), nn.Dropout(), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number, layer in enumerate(self.convs):
            x = x + layer(self.relu(self.norms[number](x)))
        x = self.relu(self.norms[2](x)).mean((2, 3))
        return self.head(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class Plain(nn.Sequential):
    """Convolutions, a norm, both poolings, and a norm behind a fully connected layer."""

    def __init__(self, limit: bool = False) -> None:
        relu = nn.ReLU6 if limit else nn.ReLU
        super().__init__(
            conv(3, 6), nn.BatchNorm2d(6), relu(), nn.MaxPool2d(3, 2, 1), conv(6, 8, groups=2), relu(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 10), nn.BatchNorm1d(10), relu(), nn.Linear(10, 5),
        )  # fmt: skip


class PoolBeforeRelu(nn.Sequential):
    """A pooling of currents, a norm that no convolution takes in, and scores that are rates."""

    def __init__(self) -> None:
        super().__init__(
            nn.BatchNorm2d(3), conv(3, 6), nn.MaxPool2d(2), nn.ReLU(), nn.BatchNorm2d(6), nn.Hardtanh(0.0, 2.0),
            conv(6, 5), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
        )  # fmt: skip


SMALL: dict[str, Callable[[], nn.Module]] = {
    "plain": Plain, "dense": Dense, "preactivation": Preactivation, "pool-before-relu": PoolBeforeRelu,
    "option-a": lambda: ResNetA(1, 5),
}  # fmt: skip
"""For images (B, 3, 8, 8) and 5 classes."""
LARGE: dict[str, Callable[[], nn.Module]] = {
    name: lambda name=name: torchvision_model(name, num_classes=5)  # type: ignore[misc]
    for name in ("resnet18", "mobilenet_v2", "densenet121", "squeezenet1_1")
}
"""torchvision's, for images (B, 3, 32, 32)."""


def seasoned(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """The network in eval mode; its norms have statistics, weights and biases of their own."""
    torch.manual_seed(seed)
    module = make().eval()
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.7, 1.5)
            nn.init.normal_(layer.bias, 0.2, 0.2)
    return module


def images(n: int, size: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
