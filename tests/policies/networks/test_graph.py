from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snn4.agent.config.document import parse, write
from snn4.policies.backends import BACKENDS
from snn4.policies.compression.quantization import INT8, Range, quantized
from snn4.policies.engine.event_conv import EventConv2d, event_driven
from snn4.policies.network import map_state
from snn4.policies.networks.ann import twin, without_time
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.graph import GraphConfig, GraphNet, Node, SpikeMaxPool2d, by_name
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig

CONV = {"in_channels": 6, "out_channels": 6, "kernel_size": 3, "padding": 1}
NODES: list[list[Any]] = [
    ["first", "conv2d", ["input"], {"in_channels": 2, "out_channels": 6, "kernel_size": [3, 3], "padding": [1, 1]}],
    ["a", "neuron", ["first"]],
    ["pool", "max_pool", ["a"], {"kernel_size": [2, 2]}],
    ["second", "conv2d", ["pool"], CONV],
    ["sum", "add", ["second", "pool"]],
    ["b", "neuron", ["sum"], {"limit": 0.9}],
    ["both", "concat", ["b", "pool"]],
    ["mean", "avg_pool", ["both"], {"kernel_size": [2, 2]}],
    ["flat", "flatten", ["mean"]],
    ["scores", "linear", ["flat"], {"in_features": 48, "out_features": 3}],
]
"""Every way in which nodes meet: a fork, a sum of current and spikes, a concatenation, and a readout at the end."""
SIGNED = NeuronConfig("signed_if", v_leak=0.5)


def config(**fields: Any) -> GraphConfig:
    plain: dict[str, Any] = {"in_channels": 2, "image_size": (8, 8), "n_classes": 3, "T": 6, "neuron": SIGNED}
    return GraphConfig(**{**plain, "nodes": NODES, **fields})


def graph(seed: int = 0, **fields: Any) -> GraphNet:
    torch.manual_seed(seed)
    return GraphNet(config(**fields)).eval()


def images(n: int = 3) -> Tensor:
    return torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def by_hand(network: GraphNet, x: Tensor) -> Tensor:
    """Scores (T, B, n) of `NODES`, one layer after the other."""
    layers: dict[str, Any] = dict(network.network[0].layers)  # type: ignore[arg-type]
    steps, neuron = network.config.T, Neuron(network.config.neuron)

    def each(layer: Any, signal: Tensor) -> Tensor:
        return torch.stack([layer(at) for at in signal])

    a, _ = neuron(each(layers["first"], x.expand(steps, *x.shape)))
    pool, sums, before = [], torch.zeros_like(a[0]), torch.zeros(3, 6, 4, 4, dtype=x.dtype)
    for spikes in a:
        sums = sums + spikes
        pool.append(F.max_pool2d(sums, 2) - before)
        before = F.max_pool2d(sums, 2)
    pooled = torch.stack(pool)
    b, _ = neuron(each(layers["second"], pooled) + pooled)
    both = torch.cat([b, pooled], 2)
    return each(network.network[-1], each(lambda at: F.avg_pool2d(at, 2).flatten(1), both))


@pytest.mark.parametrize("neuron", [SIGNED, NeuronConfig("if", v_leak=0.5), NeuronConfig()])
def test_nodes_are_layers_in_order(neuron: NeuronConfig) -> None:
    network, x = graph(neuron=neuron).double(), images().double()
    scores, _ = network.run(x)
    torch.testing.assert_close(scores, by_hand(network, x))
    assert scores.std() > 0


def test_a_constant_image_is_an_image_in_every_step() -> None:
    network, x = graph(), images()
    torch.testing.assert_close(network.run(x)[0], network.run(x.expand(6, *x.shape))[0])


@pytest.mark.parametrize("burn_in", [0, 2])
@pytest.mark.parametrize("chunks", [(1,) * 6, (2, 4), (5, 1)])
def test_step_by_step_with_the_state_carried_over(burn_in: int, chunks: tuple[int, ...]) -> None:
    network, x = graph(burn_in=burn_in), images()
    whole, last = network.run(x)
    state, parts = None, []
    for steps in chunks:
        scores, state = network.run(x, state, steps)
        parts.append(scores)
    torch.testing.assert_close(torch.cat(parts), whole)
    ends: list[list[Tensor]] = [[], []]
    for kept, end in zip(ends, (state, last), strict=True):
        map_state(lambda part, kept=kept: kept.append(part) or part, end)  # type: ignore[misc, func-returns-value]
    assert len(ends[0]) == 5 + bool(burn_in)  # membranes, spikes; sums of the pool and the scores
    for got, want in zip(*ends, strict=True):
        torch.testing.assert_close(got, want)


def test_the_mean_after_burn_in_is_that_of_the_steps_that_count() -> None:
    plain, burnt, x = graph(T=9), graph(T=9, burn_in=4), images()
    scores, later = plain.run(x)[0], burnt.run(x)[0]
    assert not later[:4].any()
    for t in range(5, 10):
        torch.testing.assert_close(later[:t].mean(0), scores[4:t].mean(0))


def test_max_pooling_of_spikes_is_that_of_rates() -> None:
    """Exactly, after each step, also with negative spikes, strides and padding, and for sums of spikes."""
    options: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1}
    pool, draw = SpikeMaxPool2d(**options), torch.Generator().manual_seed(0)
    for low, high in ((0, 2), (-1, 2), (0, 4)):
        x = torch.randint(low, high, (7, 2, 3, 6, 5), generator=draw).float()
        y, state = pool(x)
        for t in range(1, 8):
            assert torch.equal(y[:t].sum(0), F.max_pool2d(x[:t].sum(0), **options))
        assert torch.equal(state, x.sum(0))
        if high == 2:
            assert y.min() >= low
            assert y.max() <= 1
        first, state = pool(x[:3])
        second, last = pool(x[3:], state)
        assert torch.equal(torch.cat([first, second]), y)
        assert torch.equal(last, x.sum(0))
    constant = torch.randn(1, 2, 3, 6, 5, generator=draw)
    torch.testing.assert_close(pool(constant, None, 4)[0], F.max_pool2d(constant[0], **options).expand(4, 2, 3, 3, 3))


def test_the_ann_has_relu_for_neurons() -> None:
    network, x = graph(), images()
    ann = without_time(network.network).eval()
    layers: dict[str, Any] = dict(network.network[0].layers)  # type: ignore[arg-type]
    pool = F.max_pool2d(layers["first"](x).relu(), 2)
    b = (layers["second"](pool) + pool).relu().clamp(max=0.9)
    expected = network.network[-1](F.avg_pool2d(torch.cat([b, pool], 1), 2).flatten(1))  # type: ignore[operator]
    torch.testing.assert_close(ann(x), expected)
    alone = twin(network.config)
    alone.load_state_dict(network.state_dict())
    torch.testing.assert_close(alone.eval()(x), expected)


def test_weights_of_the_twin_have_the_same_names() -> None:
    network = graph(burn_in=2)
    assert list(twin(network.config).state_dict()) == list(network.state_dict())


@pytest.mark.parametrize("last", [["scores", "linear", ["flat"], NODES[-1][3]], ["again", "add", ["scores", "scores"]]])
def test_the_readout_stands_alone_if_it_follows(last: list[Any]) -> None:
    nodes = [*NODES[:-1], last] if last[0] == "scores" else [*NODES, last]
    network = graph(nodes=nodes)
    assert len(network.network) == (2 if last[0] == "scores" else 1)
    assert network.run(images())[0].shape == (6, 3, 3)


def test_gradients_reach_every_weight() -> None:
    network = graph()
    network(images()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_events_compute_the_same() -> None:
    """Negative spikes, which an input that changes brings about, are events, too."""
    network, x = graph(), torch.randn(6, 3, 2, 8, 8, generator=torch.Generator().manual_seed(2)) - 0.2
    seen: list[Tensor] = []
    engine: Any = event_driven(network)
    conv = next(layer for layer in engine.modules() if isinstance(layer, EventConv2d))
    conv.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        (got, _), (want, _) = engine.run(x), network.run(x)
    assert {-1.0, 0.0, 1.0} == set(seen[0].unique().tolist())
    torch.testing.assert_close(got, want)


def test_eight_bits_lose_nothing_of_spikes() -> None:
    """Negative spikes, sums and averages keep their values; the image and the weights are rounded."""
    network, x = graph(), images()
    small, by_hand, seen = quantized(network, [x]), copy.deepcopy(network), Range()
    with torch.no_grad():
        for layer in by_hand.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.weight.copy_(INT8.rounded(layer.weight))
        seen.see(small, (x,))
        torch.testing.assert_close(small.run(x)[0], by_hand.run(*seen.round(small, (x,)))[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends(backend: str) -> None:
    """Each library computes the same network, or says which one can."""
    if backend != "torch":
        pytest.importorskip(backend)
    if SIGNED.kind not in BACKENDS[backend][1]:
        with pytest.raises(ValueError, match=r"^kind: got 'signed_if' with backend .*set backend: torch$"):
            GraphNet(config(), backend)
    torch.manual_seed(0)
    network = GraphNet(config(neuron=NeuronConfig()), backend).eval()
    torch.testing.assert_close(network.run(images())[0], graph(neuron=NeuronConfig()).run(images())[0])


# Nodes as text


def test_yaml_and_json_give_back_the_network() -> None:
    nodes = [[node.name, node.kind, list(node.inputs), dict(node.options)] for node in config().nodes]
    for again in (parse(write({"nodes": nodes})), json.loads(json.dumps({"nodes": nodes}))):
        network = NetworkConfig("graph", 6, SIGNED, options=again)
        resolved: Any = network.resolve(2, (8, 8), 3)
        assert resolved == config()
        assert torch.equal(*(net(images()) for net in map(_seeded, (resolved, config()))))


def _seeded(whole: GraphConfig) -> nn.Module:
    torch.manual_seed(0)
    return make_network(whole)


def changed(place: int, *node: Any) -> list[Any]:
    """`NODES` with another node at ``place``."""
    nodes = copy.deepcopy(NODES)
    nodes[place] = list(node)
    return nodes


FIRST: tuple[Any, ...] = ("first", "conv2d", ["input"])
WRONG: dict[str, Any] = {
    r"nodes: got none, allowed is one or more; snn4-agent convert writes them": [],
    r"nodes: got str, allowed is a list of nodes": "conv2d",
    r"nodes: got 'a' as number 1, allowed is \[name, kind, \[inputs\], {options}\]": [NODES[0], "a"],
    r"nodes: got \['a', 'neuron'\] as number 1, allowed is": [NODES[0], ["a", "neuron"]],
    r"nodes: got \['a', 'neuron', 'first'\] as number 1, allowed is": changed(1, "a", "neuron", "first"),
    r"nodes: got \['a', 'neuron', \[3\]\] as number 1, allowed is": changed(1, "a", "neuron", [3]),
    r"nodes: got \[3, 'neuron', \['first'\]\] as number 1, allowed is": changed(1, 3, "neuron", ["first"]),
    r"nodes: got \['a', 'neuron', \['first'\], 3\] as number 1, allowed is": changed(1, "a", "neuron", ["first"], 3),
    r"nodes: got kind 'gelu' of a, allowed are conv2d, linear, avg_pool": changed(1, "a", "gelu", ["first"]),
    r"nodes: got input 'b' of a, allowed are names of earlier nodes": changed(1, "a", "neuron", ["b"]),
    r"nodes: got 'first' twice, allowed are names that differ": changed(1, "first", "neuron", ["first"]),
    r"nodes: got 'a\.b', allowed are names without dots": changed(1, "a.b", "neuron", ["first"]),
    r"nodes: got 'update', allowed are names without dots that torch": changed(1, "update", "neuron", ["first"]),
    r"nodes: got 2 inputs of a, allowed with neuron is one": changed(1, "a", "neuron", ["first", "first"]),
    r"nodes: got 0 inputs of sum, allowed with add is one or more": changed(4, "sum", "add", []),
    r"nodes: got {'kernel': 3} of first, allowed are options of conv2d \(": changed(0, *FIRST, {"kernel": 3}),
    r"nodes: got {'in_channels': 2, 'out_channels': 6, 'kernel_size': 'x'} of first, allowed": changed(
        0, *FIRST, {"in_channels": 2, "out_channels": 6, "kernel_size": "x"}
    ),
    r"nodes: got {'limit': -1} of a, allowed is a limit > 0, or one for each channel": changed(
        1, "a", "neuron", ["first"], {"limit": -1}
    ),
    r"nodes: got {'T': 1} of a, allowed is a limit > 0, or one for each channel": changed(
        1, "a", "neuron", ["first"], {"T": 1}
    ),
    r"nodes: got neurons of a that cannot be \(v_threshold: got -1": changed(
        1, "a", "neuron", ["first"], {"neuron": {"v_threshold": -1}}
    ),
    r"nodes: got neurons of a that cannot be \(neuron: got the key 'tau'": changed(
        1, "a", "neuron", ["first"], {"neuron": {"tau": 1}}
    ),
    r"nodes: got features \[0\] of a, allowed are whole numbers": changed(
        1, "a", "neuron", ["first"], {"features": [0]}
    ),
    r"nodes: got {'size': 3} of pool, allowed are options of max_pool \(": changed(
        2, "pool", "max_pool", ["a"], {"size": 3}
    ),
    r"nodes: got {'dim': 1} of sum, allowed are options of add \(": changed(
        4, "sum", "add", ["second", "pool"], {"dim": 1}
    ),
    r"nodes: got an input \(3, 8, 8\) of first, which it does not take \(": [NODES[0]],
    r"nodes: got an input \(6, 4, 4\), \(6, 8, 8\) of sum, which it does not take \(": changed(
        4, "sum", "add", ["second", "a"]
    ),
    r"options: got nodes: .*allowed are numbers <= 1,000,000": changed(
        0, *FIRST, {**NODES[0][3], "out_channels": 10**9}
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_nodes(message: str) -> None:
    channels = 3 if "3, 8, 8" in message else 2
    with pytest.raises(ValueError, match=f"^{message}") as error:
        make_network(NetworkConfig("graph", 6, SIGNED, options={"nodes": WRONG[message]}).resolve(channels, (8, 8), 3))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("burn_in", [-1, 6])
def test_burn_in_is_shorter_than_the_run(burn_in: int) -> None:
    with pytest.raises(ValueError, match=rf"^burn_in: got {burn_in}, allowed is a whole number >= 0 and < T \(6\)$"):
        config(burn_in=burn_in)


def test_a_node_is_the_list_that_yaml_has() -> None:
    assert config().nodes[1] == Node("a", "neuron", ("first",), {})


def test_nodes_can_have_neurons_of_their_own() -> None:
    nodes = copy.deepcopy(NODES)
    nodes[1].append({"neuron": {"kind": "plif", "tau_mem": 5e-3}, "features": [6, 1, 1]})
    nodes[5][3] = {"limit": 0.9, "neuron": {"v_threshold": 0.5}}
    network = graph(nodes=nodes)
    layers = by_name(network)
    assert (layers["a"].config.kind, layers["a"].decay.shape) == ("plif", (6, 1, 1))
    assert layers["b"].config == dataclasses.replace(SIGNED, v_threshold=0.5)
    ann = twin(network.config)
    assert isinstance(by_name(ann)["b"], nn.Hardtanh)
