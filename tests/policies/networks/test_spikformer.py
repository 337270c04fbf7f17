from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest
import torch
from digits import losses_on_digits
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

from snn4.policies.acting.features import NetworkFeatures
from snn4.policies.backends import BACKENDS
from snn4.policies.engine import event_conv
from snn4.policies.engine.event_conv import EventConv2d, event_driven
from snn4.policies.metering.meter import Meter
from snn4.policies.network import SpikingResidual, detach
from snn4.policies.networks.ann import twin
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import NETWORKS, make_network
from snn4.policies.networks.spikformer import SPIKFORMERS, Spikformer, SpikformerConfig
from snn4.policies.neurons import Neuron, NeuronConfig

KINDS = SpikformerConfig.choices["kind"]
NEURON = NeuronConfig(tau_mem=3e-3, v_threshold=0.8)
SMALL: dict[str, Any] = {
    "depth": 1, "width": 16, "heads": 2, "mlp_ratio": 2.0, "channels": (8, 16), "pools": (2, 1),
    "in_channels": 2, "n_classes": 3, "T": 3, "neuron": NEURON,
}  # fmt: skip


def net(kind: Any, backend: str = "torch", checkpoint_steps: int | None = None, **fields: Any) -> Spikformer:
    torch.manual_seed(0)
    return Spikformer(SpikformerConfig(kind, **{**SMALL, **fields}), backend, checkpoint_steps)


def learned(network: Spikformer) -> Spikformer:
    """As if it had learned: norms with statistics, and weights and biases of their own."""
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
            for values in (norm.running_mean, norm.bias):
                assert values is not None
                values.normal_(0, 0.2)
            assert norm.running_var is not None
            norm.running_var.uniform_(0.1, 0.4)
    return network.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(*shape or (2, 2, 9, 8), generator=torch.Generator().manual_seed(1))


PAPERS = {
    "spikformer-2-256": (2.57, 16), "spikformer-4-256": (4.15, 8), "spikformer-2-384": (5.76, 12),
    "spikformer-4-384": (9.32, 12), "spikformer-8-384": (16.81, 8), "spikformer-6-512": (23.37, 8),
    "spikformer-8-512": (29.68, 8), "spikformer-10-512": (36.01, 8), "spikformer-8-768": (66.34, 8),
    "spikingformer-2-256": (2.57, 16), "spikingformer-4-256": (4.15, 8), "spikingformer-2-384": (5.76, 12),
    "spikingformer-4-384": (9.32, 12), "spikingformer-8-384": (16.81, 8), "spikingformer-8-512": (29.68, 8),
    "spikingformer-8-768": (66.34, 8), "spike-driven-transformer-2-256": (2.57, 8),
    "spike-driven-transformer-2-512": (10.28, 8), "spike-driven-transformer-8-384": (16.81, 8),
    "spike-driven-transformer-6-512": (23.37, 8), "spike-driven-transformer-8-512": (29.68, 8),
    "spike-driven-transformer-10-512": (36.01, 8), "spike-driven-transformer-8-768": (66.34, 8),
}  # fmt: skip
"""Millions of parameters in the papers' tables, and heads in their authors' configurations."""


def test_every_size_of_the_papers_has_a_name() -> None:
    assert {name for name in SPIKFORMERS if name[-1].isdigit()} == set(PAPERS)


@pytest.mark.parametrize("name", PAPERS)
def test_parameters_and_heads_are_those_of_the_papers(name: str) -> None:
    (millions, heads), config = PAPERS[name], cast(SpikformerConfig, SPIKFORMERS[name])
    classes = 100 if name.endswith("2-512") else config.n_classes
    with torch.device("meta"):
        network = make_network(dataclasses.replace(config, n_classes=classes))
    parameters = sum(p.numel() for p in network.parameters())
    # Some tables count the layer norms, two a block, that the authors' networks have and do not use; some cut digits.
    unused = 4 * config.depth * config.width
    assert min(abs(n / 1e6 - millions) for n in (parameters, parameters + unused)) < 0.01
    assert config.heads == heads
    if name == "spikingformer-8-768":
        assert parameters + unused == 66_363_208, "in the log of its authors' training"


@pytest.mark.parametrize("name", SPIKFORMERS)
def test_named_networks(name: str) -> None:
    config = SPIKFORMERS[name]
    assert NETWORKS[name] is config
    side = 224 if config.n_classes == 1000 else 128 if config.in_channels == 2 else 32
    tokens: list[Any] = []
    with torch.device("meta"):
        network = make_network(dataclasses.replace(config, T=2))
        first = next(i for i, layer in enumerate(network.network) if _is_block(layer))
        network.network[first].register_forward_hook(lambda _, __, out: tokens.append(tuple(out[0].shape)))
        scores = network(torch.randn(3, config.in_channels, side, side))
        assert sum(map(_is_block, network.network)) == 2 * config.depth  # type: ignore[attr-defined]
    places = 14 if side == 224 else 8
    assert tokens == [(2, 3, config.width, places, places)]  # type: ignore[attr-defined]
    assert scores.shape == (3, config.n_classes)
    if "tiny" in name or "small" in name:
        assert 0.5e6 < sum(p.numel() for p in network.parameters()) < 1.6e6


def _is_block(layer: nn.Module) -> bool:
    convolutions = [module for module in layer.modules() if isinstance(module, nn.Conv2d)]
    return isinstance(layer, SpikingResidual) and len(convolutions) > 1


def test_images_of_28_give_49_tokens() -> None:
    shapes: list[Any] = []
    network = make_network(NetworkConfig("spikformer-tiny").resolve(1, (28, 28), 10)).eval()
    network.network[-4].register_forward_hook(lambda _, __, out: shapes.append(tuple(out[0].shape)))
    with torch.no_grad():
        network(torch.rand(1, 1, 28, 28))
    assert shapes == [(4, 1, 128, 7, 7)]


class Written:
    """A network's layers computed one step at a time, from the papers' equations."""

    def __init__(self, network: nn.Module) -> None:
        self.convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        self.norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        self.readout = next(m for m in network.modules() if isinstance(m, nn.Linear))
        self.membranes: dict[int, Any] = {}

    def begin_step(self) -> None:
        self.synapses, self.neurons = iter(zip(self.convs, self.norms, strict=True)), 0

    def synapse(self, x: Tensor) -> Tensor:
        conv, norm = next(self.synapses)
        y = F.conv2d(x, conv.weight, conv.bias, padding=conv.padding)  # type: ignore[arg-type]
        mean, var, weight, bias = (
            p[:, None, None] for p in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        return (y - mean) / (var + norm.eps).sqrt() * weight + bias

    def neuron(self, x: Tensor, threshold: float = NEURON.v_threshold) -> Tensor:
        u = NEURON.decay * self.membranes.get(self.neurons, 0.0) + x
        fired = (u >= threshold).to(x.dtype)
        self.membranes[self.neurons] = u - threshold * fired
        self.neurons += 1
        return fired

    def self_attention(self, qkv: Tensor, heads: int = 2) -> Tensor:
        outputs = []
        for q, k, v in zip(*(part.chunk(heads, 1) for part in qkv.flatten(2).chunk(3, 1)), strict=True):
            attention = torch.einsum("bct,bcs->bts", q, k) / 8
            outputs.append(torch.einsum("bts,bcs->bct", attention, v))
        return self.neuron(torch.cat(outputs, 1).reshape(len(qkv), -1, *qkv.shape[2:]), NEURON.v_threshold / 2)

    def spikformer(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.neuron(self.synapse(x)), 3, 2, 1)
        x = self.neuron(self.synapse(x))
        x = x + self.neuron(self.synapse(x))
        x = x + self.neuron(self.synapse(self.self_attention(self.neuron(self.synapse(x)))))
        x = x + self.neuron(self.synapse(self.neuron(self.synapse(x))))
        return self.readout(x.mean((2, 3)))  # type: ignore[no-any-return]

    def spikingformer(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.neuron(self.synapse(x)), 3, 2, 1)
        x = self.synapse(self.neuron(self.synapse(x)))
        x = x + self.synapse(self.self_attention(self.neuron(self.synapse(self.neuron(x)))))
        x = x + self.synapse(self.neuron(self.synapse(self.neuron(x))))
        return self.readout(x.mean((2, 3)))  # type: ignore[no-any-return]

    def spike_driven_transformer(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.neuron(self.synapse(x)), 3, 2, 1)
        x = self.synapse(x)
        x = x + self.synapse(self.neuron(x))
        q, k, v = self.neuron(self.synapse(self.neuron(x))).chunk(3, 1)
        x = x + self.synapse(q * self.neuron((k * v).sum((2, 3), keepdim=True), NEURON.v_threshold / 2))
        x = x + self.synapse(self.neuron(self.synapse(self.neuron(x))))
        return self.readout(self.neuron(x.mean((2, 3))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_networks_are_those_of_the_papers(kind: str) -> None:
    network, x = learned(net(kind).double()), images(3, 2, 2, 9, 8).double()
    written, expected = Written(network), []
    for step in x:
        written.begin_step()
        expected.append(getattr(written, kind.replace("-", "_"))(step))
    assert torch.stack(expected).std() > 0.01
    got, _ = network.run(x)
    torch.testing.assert_close(got, torch.stack(expected))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_of_currents_the_largest_is_pooled_before_it_spikes(kind: str) -> None:
    """Beginning at rest one neuron spikes for the largest current exactly where one of several neurons does."""
    of_spikes, of_currents = learned(net(kind)), learned(net(kind, pooled="currents"))
    of_currents.load_state_dict(dict(zip(of_currents.state_dict(), of_spikes.state_dict().values(), strict=True)))
    x = images(3, 2, 2, 9, 8)
    (expected, many), (got, few) = of_spikes.run(x), of_currents.run(x)
    torch.testing.assert_close(got[0], expected[0])
    assert [tree_leaves(state)[0].shape for state in (many, few)] == [(2, 8, 9, 8), (2, 8, 5, 4)]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_images_are_events_that_stay_and_steps_can_be_taken_alone(kind: str) -> None:
    network, x = learned(net(kind, neuron=dataclasses.replace(NEURON, kind="cuba")).double()), images().double()
    whole, last = network.run(x)
    assert whole.std(0).sum() > 0
    torch.testing.assert_close(network.run(x.expand(3, *x.shape)), (whole, last))
    outputs, state = [], None
    for _ in range(3):
        y, state = network.run(x, detach(state), steps=1)
        outputs.append(y)
    torch.testing.assert_close((torch.cat(outputs), state), (whole, last))
    torch.testing.assert_close(network(x), whole.mean(0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_convolution_runs_once_for_a_constant_image(kind: str) -> None:
    network, calls = net(kind), list[int]()
    for number in (0, 4):
        network.network[number].register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    network(images())
    assert calls == [2, 6], "2 images, 3 steps"


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_are_the_same_in_segments(kind: str) -> None:
    gradients = []
    for checkpoint_steps in (None, 2):
        network = learned(net(kind, checkpoint_steps=checkpoint_steps, neuron=NeuronConfig("plif", v_threshold=0.8)))
        F.cross_entropy(network(images()), torch.tensor([0, 1])).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients[0].values())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_memory_format_and_precision_change_nothing_but_the_last_digits(kind: str) -> None:
    network, x = learned(net(kind)).double(), images().double()  # of float32, sums could round to other spikes
    expected, _ = network.run(x)
    last = network.to(memory_format=torch.channels_last)
    x = x.to(memory_format=torch.channels_last)
    got, _ = last.run(x)
    torch.testing.assert_close(got, expected)
    layouts: list[bool] = []
    for layer in last.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(
                lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    with torch.autocast("cpu", torch.bfloat16):
        half, state = last.float().run(x.float())
    assert all(layouts)
    assert half.dtype == torch.bfloat16
    assert state[0].v.dtype == torch.float32
    assert half.isfinite().all()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "torch"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_backends_give_the_same_scores(kind: str, backend: str) -> None:
    pytest.importorskip(backend)
    ours, theirs = learned(net(kind).double()), net(kind, backend).double().eval()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(images().double()), ours(images().double()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_of_training_learn_digits(kind: str) -> None:
    spiking = net(kind, channels=(16, 32), width=32, in_channels=1, n_classes=10, neuron=NeuronConfig())
    for network in (spiking, twin(spiking.config)):
        losses = losses_on_digits(network, 5e-3)
        assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_twin_has_the_same_layers_and_parameters(kind: str) -> None:
    spiking = net(kind)
    ann = twin(spiking.config)
    assert [p.shape for p in ann.parameters()] == [p.shape for p in spiking.parameters()]
    assert not [module for module in ann.modules() if isinstance(module, Neuron)]
    assert ann(images()).shape == (2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_meter_tells_the_operations_of_attention(kind: str) -> None:
    network = learned(net(kind))
    with Meter(network) as meter, torch.no_grad():
        network(images())
    rows = [row for row in meter.cost().layers if row.kind in ("SelfAttention", "Coincidences", "Mask")]
    assert len(rows) == (2 if kind == "spike-driven-transformer" else 1)
    assert all(0 < row.effective_acs < row.dense_macs for row in rows)
    assert not any(row.effective_macs for row in rows)
    ann = twin(network.config).eval()
    with Meter(ann) as meter, torch.no_grad():
        ann(images())
    assert sum(row.effective_macs for row in meter.cost().layers if row.kind in ("SelfAttention", "Mask")) > 0


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_event_driven_networks_with_attention(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = learned(net(kind)), images()
    compiled = event_driven(network)
    assert len([module for module in compiled.modules() if isinstance(module, EventConv2d)]) == 6
    assert not [module for module in compiled.modules() if isinstance(module, nn.BatchNorm2d)]
    monkeypatch.setattr(event_conv, "DENSE", 2.0)  # events everywhere
    torch.testing.assert_close(compiled(x), network(x))


@pytest.mark.parametrize("kind", ["spiking", "ann"])
def test_encoder_of_a_policy(kind: Any) -> None:
    options = {name: SMALL[name] for name in ("depth", "width", "heads", "channels", "pools")}
    config = NetworkConfig("spike-driven-transformer-tiny", T=2, options=options)
    features = NetworkFeatures(spaces.Box(0, 1, (2, 8, 8)), config, kind)
    assert features.features_dim == 16
    assert features(torch.rand(3, 2, 8, 8)).shape == (3, 16)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "vit"}, "kind: got 'vit', allowed are spikformer, spikingformer, spike-driven-transformer"),
        ({"depth": 0}, "depth: got 0, allowed is a whole number >= 1"),
        ({"heads": 3}, r"heads: got 3, allowed are divisors of width \(16\)"),
        ({"mlp_ratio": 0}, "mlp_ratio: got 0, allowed is a finite number > 0"),
        ({"scale": float("nan")}, "scale: got nan, allowed is a finite number > 0"),
        ({"pooled": "current"}, "pooled: got 'current', allowed are spikes, currents"),
        ({"width": 12, "channels": None}, "width: got 12, allowed are multiples of 8 if channels is None"),
        ({"channels": (8, 8)}, r"channels: got \(8, 8\), allowed are whole .* width \(16\)"),
        ({"channels": ()}, r"channels: got \(\), allowed are whole numbers >= 1"),
        ({"pools": (2,)}, r"pools: got \(2,\), allowed is 1 or 2 for each of the 2 stages"),
        ({"pools": (3, 1)}, r"pools: got \(3, 1\), allowed is 1 or 2"),
        ({"pools": (2, 2), "image_size": (9, 3)}, r"image_size: got \(9, 3\), allowed are sides >= 4"),
        ({"neuron": NeuronConfig(v_reset=0.6)}, r"neuron.v_reset: got 0.6, allowed is a value below .* \(0.5\)"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        SpikformerConfig(**{**SMALL, **fields})


def test_inputs_that_do_not_fit() -> None:
    network = net("spikformer", pools=(2, 2))
    with pytest.raises(ValueError, match=r"^x: got images of \(3, 9\), allowed are sides >= 4"):
        network(images(2, 2, 3, 9))
    with pytest.raises(ValueError, match=r"^x: got 3 channels, allowed is in_channels \(2\)"):
        network(images(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"^kind: got 'alif' with backend norse"):
        net("spikformer", "norse", neuron=NeuronConfig("alif"))
