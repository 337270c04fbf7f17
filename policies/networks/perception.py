"""Vision networks by name: the registry of all families of classifiers."""

from __future__ import annotations

from snn4.policies.networks.classifier import ClassifierConfig, SpikingClassifier
from snn4.policies.networks.convnet import CONVNETS, ConvNetConfig, SpikingConvNet
from snn4.policies.networks.dense import DENSE, Dense, DenseConfig
from snn4.policies.networks.graph import GRAPHS, GraphConfig, GraphNet
from snn4.policies.networks.hybrid import HYBRIDS, Hybrid, HybridConfig
from snn4.policies.networks.spikformer import SPIKFORMERS, Spikformer, SpikformerConfig
from snn4.policies.sparse import sparsify

NETWORKS: dict[str, ClassifierConfig] = {**CONVNETS, **HYBRIDS, **SPIKFORMERS, **DENSE, **GRAPHS}
"""All named networks."""


def make_network(
    config: ClassifierConfig, backend: str = "torch", checkpoint_steps: int | None = None
) -> SpikingClassifier:
    """The spiking network of ``config``, with neurons of ``backend``; TypeError for an unknown type of config."""
    network = _dense(config, backend, checkpoint_steps)
    if config.sparsity:
        sparsify(network, config.sparsity)
    return network


def _dense(config: ClassifierConfig, backend: str, checkpoint_steps: int | None) -> SpikingClassifier:
    match config:
        case ConvNetConfig():
            return SpikingConvNet(config, backend, checkpoint_steps)
        case DenseConfig():
            return Dense(config, backend, checkpoint_steps)
        case GraphConfig():
            return GraphNet(config, backend, checkpoint_steps)
        case HybridConfig():
            return Hybrid(config, backend, checkpoint_steps)
        case SpikformerConfig():
            return Spikformer(config, backend, checkpoint_steps)
        case _:
            raise TypeError(f"config: got {type(config).__name__}, allowed is the config of a network in NETWORKS")
