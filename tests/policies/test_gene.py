from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated

from snn4.policies.acting.memory import MemoryConfig
from snn4.policies.coding import CodingConfig
from snn4.policies.gene import Gene, genome
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
    genes = {"T": 7, "neuron.tau_mem": 5e-3, "neuron.v_threshold": 1.0, "coding.width": 1.5}
    assert genome(config) == genes
    assert genome(NeuronConfig(kind="cuba")).keys() - genome(NeuronConfig()).keys() == {"tau_syn"}
    memory = {"memory.gain": 3.0, "memory.tau_readout": 4e-3}
    carrying = dataclasses.replace(config, T=1, state="carry", memory=MemoryConfig(tau_readout=4e-3))
    assert genome(carrying) == genes | memory | {"T": 1}
    assert genome(config, "policy.") == {f"policy.{name}": value for name, value in genes.items()}
