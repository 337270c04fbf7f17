from __future__ import annotations

import pytest
import torch
from ann_modules import LARGE, SMALL, Plain, images, seasoned
from torch import Tensor, nn

from snn4.learners.conversion.ann_graph import AnnGraph
from snn4.learners.conversion.networks import artificial
from snn4.learners.conversion.scaling import scaled
from snn4.learners.conversion.sizes import activations
from snn4.learners.conversion.tracing import trace
from snn4.policies.networks.graph import GraphConfig


def config(size: int) -> GraphConfig:
    return GraphConfig(in_channels=3, image_size=(size, size), n_classes=5)


def drawn_sizes(graph: AnnGraph, low: float = 0.2, high: float = 3.0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {name: torch.empty(graph.channels[name]).uniform_(low, high, generator=draw) for name in graph.neurons}


def outputs(graph: AnnGraph, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Activations by neuron, and scores, of the ANN of ``graph``."""
    ann, kept = artificial(graph, config(x.shape[-1])), dict[str, Tensor]()
    with activations(ann, graph.neurons, kept.__setitem__), torch.no_grad():
        scores = ann(x)
    return kept, scores


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_as_an_ann_it_computes_the_same_in_other_units(name: str) -> None:
    x = images(2, 8 if name in SMALL else 32)
    graph = trace(seasoned({**SMALL, **LARGE}[name]), x)
    sizes = drawn_sizes(graph)
    (plain, scores), (units, scores2) = outputs(graph, x), outputs(scaled(graph, sizes), x)
    torch.testing.assert_close(scores2, scores, rtol=1e-3, atol=1e-3 * float(scores.abs().max()))
    for neuron, values in plain.items():
        size = sizes[neuron].view(-1, *(1,) * (values.dim() - 2))
        torch.testing.assert_close(
            units[neuron] * size, values, rtol=1e-3, atol=1e-3 * float(values.abs().max().clamp_min(1e-3))
        )


def test_sizes_of_one_change_nothing() -> None:
    graph = trace(seasoned(SMALL["dense"]), images(1))
    same = scaled(graph, {name: torch.ones(graph.channels[name]) for name in graph.neurons})
    assert same.nodes == graph.nodes
    for name, pair in graph.weights.items():
        assert all(torch.equal(a, b) for a, b in zip(same.weights[name], pair, strict=True))


def test_a_shortcut_without_weights_gets_a_scaling_of_its_own() -> None:
    graph = trace(seasoned(SMALL["option-a"]), images(1))
    more = scaled(graph, drawn_sizes(graph))
    added = [node for node in more.nodes if "_scale_" in node.name]
    assert added
    assert all(node.kind == "conv2d" and node.options["groups"] == node.options["in_channels"] for node in added)


def test_limits_are_in_the_units_of_their_channels() -> None:
    graph = trace(seasoned(lambda: Plain(limit=True)), images(1))
    sizes = drawn_sizes(graph)
    first = next(node for node in scaled(graph, sizes).nodes if node.kind == "neuron")
    torch.testing.assert_close(torch.tensor(first.options["limit"]), 6 / sizes[first.name])
    alike = {name: torch.full_like(size, 2.0) for name, size in sizes.items()}
    assert next(node for node in scaled(graph, alike).nodes if node.kind == "neuron").options == {"limit": 3.0}


def test_scores_that_are_rates_become_activations_again() -> None:
    graph = trace(seasoned(SMALL["pool-before-relu"]), images(1))
    sizes = drawn_sizes(graph)
    last = scaled(graph, sizes).nodes[-1]
    assert (last.name, last.kind) == ("readout", "linear")
    weight, bias = scaled(graph, sizes).weights["readout"]
    assert torch.equal(weight, sizes[graph.neurons[-1]].diag())
    assert not bias.any()


def test_a_module_of_double_precision() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 5)).double()
    graph = trace(module, images(1).double())
    assert outputs(scaled(graph, drawn_sizes(graph)), images(2))[1].dtype == torch.float32
