"""What a decision costs: spikes, synaptic operations, energy, size (NeuroBench's terms, Yik et al. 2025)."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn4.policies.coding import PopulationEncoder
from snn4.policies.neurons import LIF


@dataclass(frozen=True)
class EnergyModel:
    """Joules for each operation; ``None`` where the hardware cannot do it."""

    mac: float | None
    ac: float
    neuron_update: float
    source: str

    def joules(self, macs: float, acs: float, neuron_updates: float) -> float | None:
        """Energy of a decision; None where the network needs operations that the hardware does not have."""
        if self.mac is None:
            # Real-valued input of a spiking network enters a chip as graded current, which costs at least a synaptic
            # operation; a network without neuron updates is an ANN and does not run there.
            return (macs + acs) * self.ac + neuron_updates * self.neuron_update if neuron_updates else None
        return macs * self.mac + acs * self.ac + neuron_updates * self.neuron_update


ENERGY_MODELS = {
    "45nm_fp32": EnergyModel(4.6e-12, 0.9e-12, 0.0, "Horowitz 2014, 45 nm: fp32 multiply 3.7 pJ + add 0.9 pJ"),
    "45nm_int8": EnergyModel(0.23e-12, 0.03e-12, 0.0, "Horowitz 2014, 45 nm: int8 multiply 0.2 pJ + add 0.03 pJ"),
    "loihi1": EnergyModel(None, 23.6e-12, 81e-12, "Davies et al. 2018: synaptic operation, active neuron update"),
}


@dataclass(frozen=True)
class Cost:
    """Mean cost of one decision, and the size of the network that takes it."""

    spikes_per_decision: float
    effective_acs: float
    effective_macs: float
    energy_joules: dict[str, float | None]
    parameters: int
    bytes: int
    spike_rates: list[float] = field(default_factory=list)
    """Spikes a neuron and inner step, of each spiking layer."""


def acting_network(policy: nn.Module) -> list[nn.Module]:
    """The layers between observation and action of an SB3 policy, spiking or not, in order; no critic among them."""
    p: Any = policy
    if hasattr(p, "mlp_extractor"):
        parts = [p.mlp_extractor.policy_net, p.action_net]
    elif hasattr(p, "q_net"):
        parts = [p.q_net.q_net]
    else:
        parts = [part for part in (getattr(p.actor, "latent_pi", None), p.actor.mu) if part is not None]
    return [leaf for part in parts for leaf in part.modules() if not list(leaf.children())]


class Meter:
    """Counts what ``policy`` does inside a ``with`` block, at every decision, by hooks on its acting network.

    An accumulate (AC) is one spike crossing one synapse, a multiply-accumulate (MAC) one non-zero real value doing so:
    NeuroBench's effective synaptic operations. The head is charged for the spikes of the last layer, T steps long,
    with which its decoded input is computed on neuromorphic hardware. A constant code's first layer is charged once a
    decision, since its current is computed once. A population code is charged two MACs for each receptive field.
    """

    def __init__(self, policy: nn.Module) -> None:
        self.network = acting_network(policy)
        self._handles: list[RemovableHandle] = []
        self._decisions = 0
        self._macs = self._acs = self._neuron_updates = 0.0
        self._spikes: dict[int, list[float]] = {}  # layer -> [spikes, neuron steps]

    def __enter__(self) -> Meter:
        emitter: nn.Module | None = None
        for number, layer in enumerate(self.network):
            if isinstance(layer, (LIF, PopulationEncoder)):
                fan_out = next(x.out_features for x in self.network[number:] if isinstance(x, nn.Linear))
                self._handles.append(layer.register_forward_hook(self._count_spikes(number, fan_out)))
                emitter = layer
            elif isinstance(layer, nn.Linear):
                last = all(not isinstance(x, nn.Linear) for x in self.network[number + 1 :])
                self._handles.append(layer.register_forward_hook(self._count_values(emitter is None, last)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()

    def _count_spikes(self, number: int, fan_out: int) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            spikes = output[0] if isinstance(layer, LIF) else output
            total, steps = float(spikes.sum()), spikes.numel()
            entry = self._spikes.setdefault(number, [0.0, 0])
            entry[0] += total
            entry[1] += steps
            self._acs += total * fan_out
            self._neuron_updates += steps
            if isinstance(layer, PopulationEncoder):
                self._macs += 2 * steps / len(spikes)

        return hook

    def _count_values(self, real: bool, last: bool) -> Any:
        def hook(layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if real:
                self._macs += float(torch.count_nonzero(inputs[0])) * layer.out_features
            if last:
                self._decisions += len(inputs[0])

        return hook

    @property
    def spike_rates(self) -> list[float]:
        """Spikes a neuron and inner step, of each spiking layer."""
        return [spikes / steps for spikes, steps in self._spikes.values()]

    def cost(self) -> Cost:
        """Mean over the decisions taken inside the block; ValueError where there was none."""
        if not self._decisions:
            raise ValueError("decisions: got 0, allowed is one or more: let the policy act inside the with block")
        n = self._decisions
        macs, acs, updates = self._macs / n, self._acs / n, self._neuron_updates / n
        parameters = [p for layer in self.network for p in layer.parameters()]
        return Cost(
            spikes_per_decision=sum(spikes for spikes, _ in self._spikes.values()) / n,
            effective_acs=acs,
            effective_macs=macs,
            energy_joules={name: model.joules(macs, acs, updates) for name, model in ENERGY_MODELS.items()},
            parameters=sum(p.numel() for p in parameters),
            bytes=sum(p.numel() * p.element_size() for p in parameters),
            spike_rates=self.spike_rates,
        )
