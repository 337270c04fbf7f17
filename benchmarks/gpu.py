"""``bench speed --device cuda``: a layer and a convolutional network beside the peers on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from snn4.benchmarks.peers import PEERS, SPIKINGJELLY, forward_and_backward, layer_runs, snn4_net, training_step
from snn4.benchmarks.timing import Times, take_turns

BACKENDS = ("cupy", "triton")
"""Of SpikingJelly before 2.0, beside torch; those that are not installed are left out. Later versions choose."""


def train_layer(rounds: int, device: str = "cuda", shape: tuple[int, ...] = (4, 64, 64, 32, 32)) -> Times:
    """Seconds per forward and backward pass of one LIF layer over ``shape``."""
    x = torch.randn(shape, device=device, requires_grad=True)
    gradient = torch.ones_like(x)

    runs = {name: forward_and_backward(run, x, gradient) for name, run in layer_runs(x).items()}
    more = _with_backends(lambda backend: forward_and_backward(_spikingjelly_layer(x, backend), x, gradient))
    return _measured({**runs, **more}, rounds, device)


def train_conv(T: int, rounds: int, device: str = "cuda", images: int = 128) -> Times:
    """Seconds per training step of the convolutional network of `snn4.benchmarks.peers` on images of 32 x 32."""
    x = torch.randn(images, 3, 32, 32, device=device)
    y = torch.randint(0, 10, (images,), device=device)
    last = x.contiguous(memory_format=torch.channels_last)
    own: Any = snn4_net(T).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = {"snn4": training_step(own, last, y), "snn4 bf16": training_step(own, last, y, bfloat16=True)}
    steps |= {name: training_step(make(T), x, y) for name, make in PEERS.items()}
    more = _with_backends(lambda backend: training_step(_set_backend(PEERS["spikingjelly"](T), backend), x, y))
    return _measured({**steps, **more}, rounds, device)


def _measured(contenders: dict[str, Callable[[], None]], rounds: int, device: str) -> Times:
    """The seconds of those that run here, waiting for the GPU after each call."""

    def whole(run: Callable[[], None]) -> Callable[[], None]:
        def call() -> None:
            run()
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    able = {name: whole(run) for name, run in contenders.items() if _runs(run)}
    return take_turns(able, rounds, repeat=10, warm_up=5)


def _runs(run: Callable[[], None]) -> bool:
    """Whether a contender runs: back ends of peers fail in many ways where a part of them is missing."""
    try:
        run()
    except Exception:
        return False
    return True


def _spikingjelly_layer(x: torch.Tensor, backend: str) -> Callable[[], torch.Tensor]:
    from spikingjelly.activation_based import functional, neuron

    node = neuron.LIFNode(**SPIKINGJELLY, step_mode="m")
    _set_backend(node, backend)

    def run() -> torch.Tensor:
        functional.reset_net(node)
        return node(x)  # type: ignore[no-any-return]

    return run


def _with_backends(make: Callable[[str], Callable[[], None]]) -> dict[str, Callable[[], None]]:
    """The contenders that ``make`` makes, of the back ends that are there."""
    contenders = {}
    for backend in BACKENDS:
        try:
            contenders[f"spikingjelly {backend}"] = make(backend)
        except Exception:
            continue
    return contenders


def _set_backend(net: nn.Module, backend: str) -> nn.Module:
    """``net`` with this back end; an exception of any type where it is missing."""
    from spikingjelly.activation_based import functional

    functional.set_backend(net, backend)
    if all(getattr(module, "backend", None) != backend for module in net.modules()):
        raise ImportError(f"backend: got {backend}, which this version of SpikingJelly does not have")
    return net
