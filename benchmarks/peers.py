"""The same spiking convolutional network as written by users of each library: 3-64-128-256, batch norm, pooling.

Layers, input and decay are the same: direct code, LIF with decay 0.5, average pooling, mean of the readout over T. The
order of reset and decay, Norse's input gain (1 - decay) and strict threshold, and surrogates differ between libraries.
They change the results, but hardly the amount of computation.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig

CHANNELS = (64, 128, 256)
DECAY = 0.5
NEURON = NeuronConfig(tau_mem=1e-3 / 0.6931471805599453)  # decay 0.5
SPIKINGJELLY: dict[str, Any] = {"tau": 1 / (1 - DECAY), "decay_input": False, "v_reset": None, "detach_reset": True}
CONVNET = ConvNetConfig(channels=CHANNELS, head="flatten", image_size=(32, 32), neuron=NEURON)


def snn4_net(T: int, checkpoint_steps: int | None = None) -> nn.Module:
    """The network of this project."""
    from dataclasses import replace

    return SpikingConvNet(replace(CONVNET, T=T), checkpoint_steps=checkpoint_steps)


def ann_net(T: int) -> nn.Module:
    """The ANN twin, which ignores T."""
    return twin(CONVNET)


class _StepByStep(nn.Module):
    """An outer loop over time and an inner loop over layers, as in the tutorials of snnTorch and Norse."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T = T
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise((3, *CHANNELS)))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in CHANNELS)
        self.readout = nn.Linear(CHANNELS[-1] * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        states = self.initial_states()
        total = torch.zeros(len(x), 10, device=x.device)
        for _ in range(self.T):
            y = x
            for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
                y, states[i] = self.neurons[i](norm(conv(y)), states[i])
                y = F.avg_pool2d(y, 2)
            total = total + self.readout(y.flatten(1))
        return total / self.T

    neurons: nn.ModuleList

    def initial_states(self) -> list[Tensor | None]:
        raise NotImplementedError


class SnnTorchNet(_StepByStep):
    """snnTorch's Leaky."""

    def __init__(self, T: int) -> None:
        import snntorch

        super().__init__(T)
        self.neurons = nn.ModuleList(snntorch.Leaky(beta=DECAY) for _ in CHANNELS)

    def initial_states(self) -> list[Tensor | None]:
        return [neuron.reset_mem() for neuron in self.neurons]  # type: ignore[operator]


class NorseNet(_StepByStep):
    """Norse's LIF without synaptic current."""

    def __init__(self, T: int) -> None:
        import norse.torch as norse

        super().__init__(T)
        parameters = norse.LIFBoxParameters(tau_mem_inv=torch.tensor((1 - DECAY) / 1e-3))
        self.neurons = nn.ModuleList(norse.LIFBoxCell(parameters) for _ in CHANNELS)

    def initial_states(self) -> list[Tensor | None]:
        return [None] * len(CHANNELS)


class SpikingJellyNet(nn.Module):
    """SpikingJelly in multi-step mode: layer by layer, with the first synapses once, as in its own examples."""

    def __init__(self, T: int) -> None:
        from spikingjelly.activation_based import functional, layer, neuron

        super().__init__()
        self.T = T
        layers: list[nn.Module] = []
        for a, b in pairwise((3, *CHANNELS)):
            layers += [layer.Conv2d(a, b, 3, padding=1, bias=False), layer.BatchNorm2d(b)]
            layers += [neuron.LIFNode(**SPIKINGJELLY), layer.AvgPool2d(2)]
        self.first = nn.Sequential(*layers[:2])
        self.network = nn.Sequential(*layers[2:], layer.Flatten(), layer.Linear(CHANNELS[-1] * 16, 10))
        functional.set_step_mode(self.network, "m")

    def forward(self, x: Tensor) -> Tensor:
        from spikingjelly.activation_based import functional

        functional.reset_net(self.network)
        current = self.first(x).unsqueeze(0).repeat(self.T, 1, 1, 1, 1)
        return self.network(current).mean(0)  # type: ignore[no-any-return]


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "snntorch": SnnTorchNet,
    "norse": NorseNet,
    "spikingjelly": SpikingJellyNet,
}
"""Functions that make the peers' networks for T steps; each imports its library, with an ImportError without it."""


def layer_runs(x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """One LIF layer over ``x`` (T, B, …), in this project and every installed peer: spikes (T, B, …)."""
    from snn4.policies.neurons import Neuron

    neuron = Neuron(NEURON)
    runs: dict[str, Callable[[], Tensor]] = {"snn4": lambda: neuron(x)[0]}
    for name, make in {"snntorch": _snntorch_layer, "norse": _norse_layer, "spikingjelly": _spikingjelly_layer}.items():
        try:
            runs[name] = make(x)
        except ImportError:
            continue
    return runs


def forward_and_backward(run: Callable[[], Tensor], x: Tensor, gradient: Tensor) -> Callable[[], None]:
    """A function that does ``run`` of `layer_runs` and its backward pass to ``x``."""

    def step() -> None:
        run().backward(gradient)
        x.grad = None

    return step


def training_step(net: nn.Module, x: Tensor, y: Tensor, bfloat16: bool = False) -> Callable[[], None]:
    """A function that does one step of SGD on images ``x`` with labels ``y``, on their device."""
    net = net.to(x.device)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
            scores = net(x)
        F.cross_entropy(scores.float(), y).backward()
        optimizer.step()

    return step


def _snntorch_layer(x: Tensor) -> Callable[[], Tensor]:
    import snntorch

    neuron = snntorch.Leaky(beta=DECAY).to(x.device)
    return lambda: _over_time(neuron, x, neuron.reset_mem())


def _norse_layer(x: Tensor) -> Callable[[], Tensor]:
    import norse.torch as norse

    tau_mem_inv = torch.tensor((1 - DECAY) / 1e-3, device=x.device)
    neuron = norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=tau_mem_inv))
    return lambda: _over_time(neuron, x, None)


def _over_time(neuron: Callable[..., Any], x: Tensor, state: Any) -> Tensor:
    spikes = []
    for step in x:
        spike, state = neuron(step, state)
        spikes.append(spike)
    return torch.stack(spikes)


def _spikingjelly_layer(x: Tensor) -> Callable[[], Tensor]:
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(**SPIKINGJELLY, step_mode="m")

    def run() -> Tensor:
        functional.reset_net(node)
        return node(x)  # type: ignore[no-any-return]

    return run
