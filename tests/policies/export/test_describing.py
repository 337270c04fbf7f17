"""Descriptions, run in plain PyTorch functions, compute what the networks compute."""

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from torch.nn import functional as F

from snn4.policies.export.describing import describe_classifier
from snn4.policies.export.description import INPUT, Add, Conv, Dense, Description, Flatten, Neurons, NotExportable, Pool
from snn4.policies.export.policies import describe_policy
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.networks.perception import make_network
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.sb3 import SpikingActorCriticPolicy, SpikingDQNPolicy, SpikingSACPolicy


def run(description: Description, x: torch.Tensor) -> torch.Tensor:
    """Scores (B, n) of inputs (B, …)."""
    signal = torch.from_numpy(description.encode(x.numpy()))
    values = {INPUT: signal.expand(description.T, *signal.shape[1:])}
    for layer in description.layers:
        inputs = [values[name] for name in layer.inputs]
        values[layer.name] = y = compute(layer.part, inputs)
        assert y.shape[2:] == layer.shape
    return torch.einsum("t,tbn->bn", torch.from_numpy(description.readout), values[description.layers[-1].name])


def compute(part, inputs):
    x = inputs[0]
    match part:
        case Add():
            return sum(inputs)
        case Neurons():
            neuron = Neuron(part.config, part.decay.shape)
            if neuron.decay_logit is not None:
                neuron.decay_logit.data = torch.from_numpy(part.decay).logit()
            return neuron(x)[0]
        case Dense():
            return F.linear(x, *map(torch.from_numpy, part))
        case Flatten():
            return x.flatten(2)
        case Conv():
            weight, bias = map(torch.from_numpy, part[:2])
            return F.conv2d(x.flatten(0, 1), weight, bias, *part[2:]).unflatten(0, x.shape[:2])
        case Pool():
            pool = F.avg_pool2d if part.kind == "average" else F.max_pool2d
            return pool(x.flatten(0, 1), *part[1:]).unflatten(0, x.shape[:2])
    return x.relu()


NETWORKS = [
    ("vgg-small", {"channels": [4, 6]}),
    ("vgg-small", {"channels": [4, 6], "pooled": "currents", "pooling": "max", "head": "flatten", "stem": "whitening"}),
    ("resnet-20", {"channels": [4, 6], "blocks": [1, 1]}),
    ("resnet-20", {"channels": [4, 6], "blocks": [1, 1], "shortcut": "ms"}),
    ("dense-small", {"hidden": [12, 8]}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
@pytest.mark.parametrize("kind", ["lif", "plif"])
def test_the_description_of_a_classifier_computes_its_scores(name, options, kind):
    torch.manual_seed(0)
    config = NetworkConfig(name, T=3, neuron=NeuronConfig(kind, v_threshold=0.3), options=options)
    network = make_network(config.resolve(1, (8, 8), 3)).train()
    images = torch.rand(16, 1, 8, 8)
    for _ in range(3):  # the norms learn statistics
        network(images)
    network.eval()
    with torch.no_grad():
        scores = network(images)
    same = torch.isclose(run(describe_classifier(network), images), scores, atol=1e-4).all(1)
    assert same.float().mean() > 0.8  # sums in another order can move a spike
    assert scores.std(0).min() > 1e-3


@pytest.mark.parametrize(
    ("algorithm", "policy", "environment"),
    [(PPO, SpikingActorCriticPolicy, "CartPole-v1"), (DQN, SpikingDQNPolicy, "CartPole-v1"),
     (SAC, SpikingSACPolicy, "Pendulum-v1"), (PPO, SpikingActorCriticPolicy, "Pendulum-v1")],
)  # fmt: skip
@pytest.mark.parametrize("settings", [{}, {"coding": "population", "readout": "membrane", "neuron": "cuba"}])
def test_the_description_of_a_policy_decides_as_the_policy(algorithm, policy, environment, settings):
    model = algorithm(policy, environment, policy_kwargs={"net_arch": [24, 16], **settings}, seed=0)
    observations = np.random.default_rng(0).normal(0, 1, (200, *model.observation_space.shape)).astype(np.float32)
    description = describe_policy(model.policy)
    actions = description.actions.chosen(run(description, torch.from_numpy(observations)).numpy())
    expected, _ = model.predict(observations, deterministic=True)
    assert np.isclose(actions, expected, atol=1e-4).mean() > 0.98


def test_what_has_no_description_is_named():
    network = make_network(NetworkConfig("vgg-small", T=2, options={"norm": "step"}).resolve(1, (8, 8), 3))
    with pytest.raises(NotExportable, match="StepNorm2d"):
        describe_classifier(network)
    model = PPO(SpikingActorCriticPolicy, "CartPole-v1", policy_kwargs={"readout": "first_spike"})
    with pytest.raises(NotExportable, match="first_spike"):
        describe_policy(model.policy)
