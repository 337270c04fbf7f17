"""Networks become NIR graphs and come back, and other libraries compute the same spikes from the files."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from nir_graphs import euler
from stable_baselines3 import PPO

from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import Conv, Dense, Description, Neurons, NotExportable
from snn4.policies.export.from_nir import from_nir
from snn4.policies.export.nir import to_nir, write_nir
from snn4.policies.export.nir_neurons import NotImportable
from snn4.policies.export.policies import describe_policy
from snn4.policies.networks.classifier import SpikingClassifier
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.graph import by_name
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import SpikingActorCriticPolicy

DENSE = ("dense-small", {"hidden": [12, 8]})
POOLED = ("vgg-small", {"channels": [4, 6]})
CURRENTS = ("vgg-small", {"channels": [4, 6], "pooled": "currents", "head": "flatten"})
SEW = ("resnet-20", {"channels": [4, 6], "blocks": [2, 1]})
MS = ("resnet-20", {"channels": [4, 6], "blocks": [2, 1], "shortcut": "ms"})
IDENTITY = ("resnet-20", {"channels": [4], "blocks": [2]})


def network_of(name: str, options: dict[str, Any], neuron: NeuronConfig, T: int = 10) -> SpikingClassifier:
    """A random network whose norms have statistics."""
    torch.manual_seed(0)
    network = make_network(NetworkConfig(name, T=T, neuron=neuron, options=options).resolve(1, (8, 8), 3)).train()
    for _ in range(3):
        network(torch.rand(16, 1, 8, 8))
    return network.eval()


def hard(kind: Any = "lif", **fields: Any) -> NeuronConfig:
    return NeuronConfig(kind, **{"v_threshold": 0.3, "reset": "hard", **fields})


def written(description: Description, folder: Path, **options: Any) -> Path:
    write_nir(to_nir(description, **options), folder / "net.nir")
    return folder / "net.nir"


@torch.no_grad()
def agreement(network: SpikingClassifier, other: SpikingClassifier) -> float:
    """Fraction of equal outputs of each step, for random signals."""
    signal = torch.rand(20, 8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    outputs, others = network.run(signal)[0], other.run(signal)[0]
    assert outputs.std() > 1e-2
    return float(torch.isclose(outputs, others, atol=1e-4).float().mean())


CASES = [
    (DENSE, hard()), (POOLED, hard()), (CURRENTS, hard()), (SEW, hard()), (MS, hard()),
    (DENSE, hard("cuba")), (MS, hard("cuba")), (SEW, hard("if", v_leak=0.15)), (MS, hard("plif", tau_spread=2.0)),
    (POOLED, hard(r=1.0, v_leak=0.1, v_reset=-0.2)), (DENSE, hard("cuba", r=2.0)), (MS, hard("if", r=0.5)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_what_comes_back_is_the_same_network(kind: Any, neuron: NeuronConfig, tmp_path: Path) -> None:
    network = network_of(*kind, neuron)
    description = describe_classifier(network)
    back = from_nir(written(description, tmp_path), image=(1, 8, 8))
    assert agreement(network, back) > 0.999  # folded norms round in another way
    assert back.config.T == 10
    layers = by_name(back)
    for layer in description.layers:
        name = re.sub(r"\W", "_", f"layer_{layer.name}")
        if isinstance(layer.part, (Conv, Dense)):
            np.testing.assert_allclose(layers[name].weight.detach(), layer.part.weight, atol=1e-6)
            np.testing.assert_allclose(layers[name].bias.detach(), layer.part.bias, atol=1e-6)
        elif isinstance(layer.part, Neurons):
            np.testing.assert_allclose(
                layers[name].decay.detach().reshape(layer.part.decay.shape), layer.part.decay, 1e-6
            )
            assert (layers[name].config.kind, layers[name].config.reset) == (neuron.kind, "hard")
    assert describe_classifier(back).T == 10


def test_ties_at_the_threshold_come_back(tmp_path: Path) -> None:
    """Whole weights reach thresholds exactly; NIR's neurons spike above them, this project's also at them."""
    network = network_of(*DENSE, hard("if", v_threshold=2.0))
    for parameter in network.parameters():
        parameter.data = parameter.data.sign()
    description = describe_classifier(network)
    back = from_nir(written(description, tmp_path), image=(1, 8, 8))
    assert back.config.neuron.v_threshold == 2.0
    signal = torch.randint(0, 2, (20, 8, 1, 8, 8)).float()
    with torch.no_grad():
        assert network.run(signal)[0].unique().numel() > 3
    graph = nir.read(tmp_path / "net.nir")
    for sample in range(8):
        expected = euler(graph, signal[:, sample].numpy().reshape(20, 1, 8, 8))
        with torch.no_grad():
            np.testing.assert_allclose(back.run(signal[:, sample : sample + 1])[0][:, 0], expected, atol=1e-4)


def test_a_soft_reset_is_written_on_demand_and_comes_back(tmp_path: Path) -> None:
    network = network_of(*POOLED, hard("if", reset="soft", v_leak=0.15))
    description = describe_classifier(network)
    with pytest.raises(NotExportable, match=r"got neurons with reset: soft, allowed is hard, .*--allow-soft-reset"):
        to_nir(description)
    back = from_nir(written(description, tmp_path, soft_reset=True), image=(1, 8, 8))
    assert (back.config.neuron.reset, back.config.neuron.v_leak) == ("soft", 0.15)
    assert agreement(network, back) > 0.999


@pytest.mark.parametrize("settings", [{}, {"coding": "population", "readout": "membrane"}])
def test_a_policy_has_the_same_outputs_at_every_step(settings: dict[str, Any], tmp_path: Path) -> None:
    neuron = {"reset": "hard", "v_threshold": 0.3}
    model = PPO(
        SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs={"net_arch": [24, 16], "neuron": neuron, **settings}
    )
    description = describe_policy(model.policy)
    path = written(description, tmp_path, readout=True)
    if settings:
        with pytest.raises(NotImportable, match="readout: got weights"):
            from_nir(path)
    network = from_nir(path, any_readout=True)
    observations = np.random.default_rng(0).normal(0, 1, (64, 4)).astype(np.float32)
    signal = torch.from_numpy(description.encode(observations))
    with torch.no_grad():
        outputs, _ = network.run(signal.expand(description.T, *signal.shape[1:])[:, :, None, None])
    weights = nir.read(path).metadata["readout"]
    actions = np.einsum("t,tbn->bn", weights, outputs.numpy()).argmax(1)
    expected, _ = model.predict(observations, deterministic=True)
    assert (actions == expected).mean() > 0.98
    # The integrator at the end of the graph holds the scores after the last step.
    one = signal[:, 0].numpy()
    integrated = euler(nir.read(path), np.broadcast_to(one, (description.T, *one.shape[1:])))[-1]
    np.testing.assert_allclose(integrated, np.einsum("t,tn->n", weights, outputs[:, 0].numpy()), atol=1e-4)


@torch.no_grad()
def steps_of(module: Any, signal: torch.Tensor) -> torch.Tensor:
    """Outputs (T, n) of a module of another library for one sample (T, 1, …), from rest."""
    outputs, state = [], None
    for x in signal:
        y = module(x, state)
        y, state = y if isinstance(y, tuple) else (y, None)
        outputs.append(y.reshape(-1))
    return torch.stack(outputs)


def read_by(library: str, path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # snnTorch prints what it does
        if library == "snntorch":
            from snntorch.import_nir import import_from_nir

            return import_from_nir(nir.read(path))
        import norse.torch

        return norse.torch.from_nir(nir.read(path), dt=1e-4)


READ = [
    *(("snntorch", kind, hard(*neuron)) for kind in (DENSE, POOLED, CURRENTS, SEW, MS) for neuron in ((), ("cuba",))),
    *(("norse", kind, hard(*neuron)) for kind in (DENSE, POOLED, CURRENTS, IDENTITY) for neuron in ((), ("cuba",))),
    ("norse", DENSE, hard("if")), ("norse", DENSE, hard("plif", tau_spread=2.0)), ("norse", DENSE, hard(v_leak=0.1)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("library", "kind", "neuron"), READ)
def test_other_libraries_read_the_same_network(library: str, kind: Any, neuron: NeuronConfig, tmp_path: Path) -> None:
    pytest.importorskip(library)
    network = network_of(*kind, neuron)
    path = written(describe_classifier(network), tmp_path)
    signal = torch.rand(20, 3, 1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.run(signal[:, :, 0])[0]
    # Their Flatten takes the batch, too: one sample at a time, without a batch, but snnTorch's and Norse's see one.
    outputs = torch.stack([steps_of(read_by(library, path), signal[:, n, 0]) for n in range(3)], 1)
    assert torch.isclose(outputs, expected, atol=1e-4).float().mean() > 0.999
    assert expected.std() > 1e-2


@pytest.mark.parametrize(
    ("kind", "neuron", "message"),
    [
        (DENSE, hard("alif"), "2: got neurons of kind alif, allowed are .* the nearest is lif"),
        (DENSE, hard("multi"), "the nearest is lif: train with neuron.kind=lif"),
        (DENSE, NeuronConfig("signed_if"), "got neurons of kind signed_if, .* the nearest is if"),
        (("vgg-small", {"channels": [4, 6], "pooling": "max"}), hard(), "got max pooling, .* train with pooling: avg"),
        (("vgg-small", {"channels": [4, 6], "stem": "whitening"}), hard(), "got ReLU, which NIR does not have"),
    ],
)
def test_what_nir_cannot_say_is_named(kind: Any, neuron: NeuronConfig, message: str) -> None:
    network = network_of(*kind, neuron, T=2)
    with pytest.raises(NotExportable, match=message):
        to_nir(describe_classifier(network))


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    graph = to_nir(describe_classifier(network_of(*DENSE, hard())))
    graph.metadata["bad"] = object()
    with pytest.raises(TypeError):
        write_nir(graph, tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["snntorch", "norse"])
def test_other_libraries_decide_as_a_policy(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    neuron = {"reset": "hard", "v_threshold": 0.3}
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs={"net_arch": [24, 16], "neuron": neuron}, seed=0)
    description = describe_policy(model.policy)
    path = written(description, tmp_path)
    observations = np.random.default_rng(0).normal(0, 1, (20, 4)).astype(np.float32)
    signal = torch.from_numpy(description.encode(observations)).expand(description.T, 20, 4)
    outputs = torch.stack([steps_of(read_by(library, path), signal[:, n : n + 1]) for n in range(20)], 1)
    scores = np.einsum("t,tbn->bn", nir.read(path).metadata["readout"], outputs.numpy())
    expected, _ = model.predict(observations, deterministic=True)
    assert (scores.argmax(1) == expected).mean() >= 0.95
