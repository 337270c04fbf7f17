from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from snn4.agent.kinds import load
from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.gene import Gene, genome, with_genes
from snn4.policies.networks.config import NetworkConfig
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import PolicyConfig


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, "no gene", Gene(0, 1)] = 0.5


@dataclass(frozen=True)
class Outer:
    size: int = 3
    note: Annotated[int, "no gene"] = 4
    inner: Inner = field(default_factory=Inner)


def test_only_fields_marked_as_genes_are_genes() -> None:
    assert genome(Outer(inner=Inner(0.25))) == {"inner.rate": 0.25}


def test_genome_of_a_policy_names_every_gene_at_its_place() -> None:
    config = PolicyConfig(T=7, neuron=NeuronConfig(tau_mem=5e-3), coding=CodingConfig(width=1.5))
    words = {"neuron.kind": "lif", "neuron.reset": "soft", "neuron.surrogate": "arctan", "neuron.slope": 2.0}
    genes = {"net_arch.0": 64, "net_arch.1": 64, "neuron.tau_mem": 5e-3, "neuron.v_threshold": 1.0, **words}
    genes |= {"spike_cost": 0.0, "sparsity": 0.0}
    free = {"T": 7, "coding.kind": "direct", "readout": "rate"}
    assert genome(config) == genes | free
    assert genome(NeuronConfig(kind="cuba")).keys() - genome(NeuronConfig()).keys() == {"tau_syn"}
    memory = {"memory.gain": 3.0, "memory.tau_readout": 4e-3}
    carrying = dataclasses.replace(config, T=1, state="carry", memory=MemoryConfig(tau_readout=4e-3))
    assert genome(carrying) == genes | memory  # T, code and readout are fixed there
    assert genome(config, "policy.") == {f"policy.{name}": value for name, value in (genes | free).items()}


def test_a_config_with_other_genes_has_them_and_nothing_else_changed() -> None:
    life = load("cartpole")[1]
    changes: dict[str, Any] = {"policy.T": 2, "policy.net_arch.1": 16, "learner.hyperparameters.learning_rate": 3e-4}
    changed = with_genes(life, changes)
    assert genome(changed) == genome(life) | changes
    assert changed.learner.hyperparameters["learning_rate"] == "lin_0.0003"  # a schedule keeps its form
    assert genome(with_genes(changed, genome(life))) == genome(life)
    assert changed.world == life.world


def test_options_of_named_networks_are_genes() -> None:
    network = NetworkConfig("vgg-small")
    changed = with_genes(network, {"options.channels.0": 48, "options.norm": "threshold"})
    assert changed.resolve(3, (32, 32), 10).channels[0] == 48  # type: ignore[attr-defined]
    assert changed.resolve(3, (32, 32), 10).channels[1:] == network.resolve(3, (32, 32), 10).channels[1:]  # type: ignore[attr-defined]
    assert genome(changed)["options.norm"] == "threshold"


def test_words_that_no_choice_names_do_not_evolve() -> None:
    assert "kind" not in genome(NeuronConfig(kind="plif"))


@pytest.mark.parametrize("name", ["T.0", "net_arch.2", "size", "neuron.size"])
def test_an_unknown_place_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        with_genes(PolicyConfig(), {name: 1})
