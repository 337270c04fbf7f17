"""How long decisions take: of policies for CartPole, and of a convolutional network, beside their ANN counterparts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from snn4.benchmarks.timing import Times, take_turns


def act_mlp(batch: int, rounds: int) -> Times:
    """Seconds per decision: 64-64 policies for CartPole, deterministic, T=8."""
    from stable_baselines3 import PPO

    from snn4.policies import deploy
    from snn4.policies.sb3 import SpikingActorCriticPolicy

    spiking: dict[str, Any] = {"net_arch": [64, 64], "T": 8}
    snn = PPO(SpikingActorCriticPolicy, "CartPole-v1", device="cpu", policy_kwargs=spiking, seed=0).policy
    ann = PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0).policy
    with tempfile.TemporaryDirectory() as folder:
        deploy.save(snn, f"{folder}/policy.npz")
        deployed = deploy.load(f"{folder}/policy.npz")
    torch.set_num_threads(1)
    observations = np.random.default_rng(0).normal(size=(batch, 4)).astype(np.float32)
    tensor = torch.from_numpy(observations)

    def forward() -> None:
        with torch.no_grad():
            ann(tensor)

    def actor() -> None:
        with torch.no_grad():
            ann._predict(tensor, deterministic=True)

    contenders: dict[str, Callable[[], Any]] = {
        "snn4 deployed": lambda: deployed.act(observations),
        "snn4 predict": lambda: snn.predict(observations, deterministic=True),
        "sb3 forward": forward,
        "sb3 actor": actor,
        "sb3 predict": lambda: ann.predict(observations, deterministic=True),
    }
    return take_turns(contenders, rounds * 3, repeat=100)


def act_conv(T: int, rounds: int) -> dict[str, Any]:
    """Seconds per decision of the convolutional network and of its ANN twin for one image, and the sparsity.

    Pooling is on currents, not spikes: pooled spikes would leave far fewer zeros for the next synapses.
    """
    from dataclasses import replace

    from snn4.benchmarks.peers import CONVNET, NEURON
    from snn4.policies.engine.event_conv import event_driven
    from snn4.policies.networks.ann import twin
    from snn4.policies.networks.convnet import SpikingConvNet
    from snn4.policies.neurons import Neuron

    torch.manual_seed(0)
    torch.set_num_threads(1)  # as policies act
    config = replace(CONVNET, T=T, pooling="max", pooled="currents", neuron=replace(NEURON, v_threshold=2.35))
    net, x = SpikingConvNet(config), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        for _ in range(100):  # statistics of the batch norms, so that all layers spike
            net(torch.randn(16, 3, 32, 32))
        net.eval()
        counts = list[tuple[float, int]]()
        hooks = [
            layer.register_forward_hook(lambda _, __, out: counts.append((float(out[0].sum()), out[0].numel())))
            for layer in net.modules()
            if isinstance(layer, Neuron)
        ]
        net(x)
        for hook in hooks:
            hook.remove()
        compiled, ann = event_driven(net), twin(config).eval()
        folded = event_driven(ann)  # without spikes, this only folds batch norms and uses channels_last
        contenders = {"snn4": lambda: compiled(x), "snn4 torch": lambda: net(x), "ann": lambda: ann(x)}
        contenders["ann folded"] = lambda: folded(x)
        times = take_turns(contenders, rounds * 3, repeat=10)
    spikes, neurons = (sum(values) for values in zip(*counts, strict=True))
    return {"times": times, "sparsity": 1 - spikes / neurons}
