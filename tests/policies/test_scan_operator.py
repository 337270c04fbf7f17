"""Compiled, exported and transformed networks against the same networks as they are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from scans import VARIANTS, assert_near, inputs
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from snn4.policies import scan_operator
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.coding import CodingConfig
from snn4.policies.dynamics import NeuronState
from snn4.policies.network import SpikingSequential
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.reference import reference_scan
from snn4.policies.scan import scan

FLOAT32 = [name for name in VARIANTS if "bfloat16" not in name]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def nets() -> dict[str, tuple[nn.Module, Tensor, int]]:
    """Networks, an input, and where its batch is."""
    layers = nn.Linear(5, 7), Neuron(NeuronConfig("cuba")), nn.Linear(7, 3), Neuron(NeuronConfig("alif"))
    images = NetworkConfig(options={"channels": [4, 8]}).resolve(1, (8, 8), n_classes=3)
    population = SpikingMLP(5, (8, 6), T=3, coding=CodingConfig("population"))
    return {
        "neurons": (SpikingSequential(*layers), torch.randn(4, 3, 5), 1),
        "policy": (SpikingMLP(5, (8, 6), T=3), torch.randn(3, 5), 0),
        "coded policy": (population, torch.randn(3, 5), 0),
        "images": (make_network(images, "torch").eval(), torch.randn(3, 1, 8, 8), 0),
    }


def output(net: Any, x: Tensor) -> Tensor:
    result = net(x)
    return result[0] if isinstance(result, tuple) else result  # type: ignore[no-any-return]


def learned(net: Any, module: nn.Module, x: Tensor) -> list[Tensor]:
    """Output and gradients."""
    x = x.clone().requires_grad_()
    y = output(net, x)
    loss = (y * torch.linspace(1, 2, y.numel()).view(y.shape)).sum()
    return [y.detach(), *torch.autograd.grad(loss, [x, *module.parameters()])]


def scans(graph: torch.fx.Graph) -> int:
    return sum("snn4.scan" in str(node.target) for node in graph.nodes)


@pytest.mark.parametrize("name", ["neurons", "policy", "coded policy", "images"])
def test_a_compiled_network_keeps_the_kernel(name: str) -> None:
    net, x, _ = nets()[name]
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    assert torch.equal(output(torch.compile(net, fullgraph=True, backend=backend), x), output(net, x))
    layers = sum(isinstance(module, Neuron) for module in net.modules())
    assert [scans(graph.graph) for graph in graphs] == [layers + (name == "coded policy")]
    torch.compiler.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert_near(learned(compiled, net, x), learned(net, net, x), 1e-5)


@pytest.mark.slow
def test_a_compiled_network_with_inductor() -> None:
    net, x, _ = nets()["images"]
    assert_near(learned(torch.compile(net, fullgraph=True), net, x), learned(net, net, x), 1e-4)


@pytest.mark.parametrize("name", ["neurons", "policy", "images"])
def test_an_exported_network_takes_any_batch_in_another_process(name: str, tmp_path: Path) -> None:
    net, x, place = nets()[name]
    shapes = ({place: torch.export.Dim("B", min=1)},)
    program = torch.export.export(net, (x,), dynamic_shapes=shapes)
    assert scans(program.graph) == sum(isinstance(module, Neuron) for module in net.modules())
    torch.export.save(program, tmp_path / "program.pt2")
    larger = torch.cat([x, x + 0.5, x - 0.5], place)
    torch.save(larger, tmp_path / "x")
    code = """
import sys, torch
import snn4.policies.neurons
y = torch.export.load(sys.argv[1] + "/program.pt2").module()(torch.load(sys.argv[1] + "/x"))
torch.save((y[0] if isinstance(y, tuple) else y).detach(), sys.argv[1] + "/y")
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert torch.equal(torch.load(tmp_path / "y"), output(net, larger).detach())


@pytest.mark.parametrize("name", FLOAT32)
def test_the_operator_is_the_scan(name: str) -> None:
    """Also what torch's own check of operators says of it."""
    current, state, dynamics, decay = inputs(name, 4, 2, 3)
    tensors = [None if x is None else x.requires_grad_() for x in (current, *state, decay)]
    if decay is not None:
        tensors[-1] = decay.detach().expand(3).clone().requires_grad_()
    arguments = (*tensors, 4, 0.1, *dynamics)
    torch.library.opcheck(scan_operator._scan, arguments, test_utils=("test_schema", "test_faketensor"))
    got = torch.ops.snn4.scan(*arguments)
    want, last = scan(current, state, dynamics, decay=tensors[-1])
    wanted = [want, *(part if part is not None else torch.empty(0) for part in last)]
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
    there = [x for x in tensors if x is not None]
    gradients = [torch.autograd.grad(out[0].sum() + out[1].sum(), there, retain_graph=True) for out in (got, wanted)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", FLOAT32)
def test_jacobians_and_batches_of_neurons(name: str) -> None:
    current, state, dynamics, decay = inputs(name, 4, 2, 3)

    def both(function: Any) -> Any:
        def run(current: Tensor, v: Tensor, decay: Any = None) -> Tensor:
            out, last = function(current, NeuronState(v, state.i, state.a), dynamics, decay=decay)
            return out + last.v.sum()  # type: ignore[no-any-return]

        return run

    of_scan, plain = both(scan), both(reference_scan)
    arguments = (current, state.v) if decay is None else (current, state.v, decay)
    places = tuple(range(len(arguments)))
    got, wanted = (jacrev(f, places)(*arguments) for f in (of_scan, plain))
    assert_near(got, wanted, 1e-4)

    many = tuple(torch.stack([x, x + 0.1, x - 0.1], -1) for x in arguments)
    got = vmap(of_scan, -1)(*many)
    assert_near(got, [of_scan(*(x[..., n] for x in many)) for n in range(3)], 1e-5)
    got = vmap(of_scan, (0, *(None,) * (len(arguments) - 1)))(torch.stack([current, current + 0.1]), *arguments[1:])
    assert_near(got, [of_scan(x, *arguments[1:]) for x in (current, current + 0.1)], 1e-5)


@pytest.mark.parametrize("name", ["neurons", "policy", "coded policy"])
def test_gradients_of_each_sample(name: str) -> None:
    net, x, place = nets()[name]
    parameters = {key: value.detach() for key, value in net.named_parameters()}

    def loss(parameters: Any, sample: Tensor) -> Tensor:
        y = functional_call(net, parameters, (sample.unsqueeze(place),))
        return (y[0] if isinstance(y, tuple) else y).square().sum()  # type: ignore[no-any-return]

    each = vmap(grad(loss), (None, place))(parameters, x)
    for n in range(x.shape[place]):
        alone = output(net, x.narrow(place, n, 1)).square().sum()
        wanted = torch.autograd.grad(alone, list(net.parameters()))
        assert_near([each[key][n] for key in parameters], wanted, 1e-4)


def test_second_derivatives_by_torch_func() -> None:
    neuron, current = Neuron(NeuronConfig("alif")), torch.randn(4, 2, 3)

    def loss(current: Tensor) -> Tensor:
        spikes, last = neuron(current)
        return spikes.square().sum() + last.v.square().sum()  # type: ignore[no-any-return]

    torch.testing.assert_close(jacrev(jacrev(loss))(current), torch.autograd.functional.hessian(loss, current))


def test_without_numba_the_operator_takes_the_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    current, state, dynamics, _ = inputs("everything-hard", 4, 2, 3)
    tensors = [x.requires_grad_() for x in (current, *state) if x is not None]
    found = []
    for fused in (True, False):
        monkeypatch.setattr(scan_operator, "is_fused", lambda fused=fused: fused)
        out = torch.ops.snn4.scan(*tensors, None, 4, 0.1, *dynamics)
        found.append([*out, *torch.autograd.grad(out[0].sum() + out[1].sum(), tensors)])
    assert_near(*found, 1e-5)
