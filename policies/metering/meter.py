"""Metering: what the decisions of any network cost, in NeuroBench's terms (Yik et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn4.policies.metering.cost import Cost as Cost
from snn4.policies.metering.counting import Counter, Tally
from snn4.policies.metering.energy import ENERGY_MODELS as ENERGY_MODELS
from snn4.policies.metering.energy import Operations
from snn4.policies.metering.synaptic_operations import SYNAPSES, UNCOUNTED
from snn4.policies.neurons import Neuron


def acting_parts(policy: nn.Module) -> list[nn.Module]:
    """The modules between observation and action, in order: of an SB3 policy without its critic, else the network."""
    p: Any = policy
    if hasattr(p, "mlp_extractor"):
        parts = [p.pi_features_extractor, getattr(p, "lstm_actor", None), p.mlp_extractor.policy_net, p.action_net]
    elif hasattr(p, "q_net"):
        parts = [p.q_net.features_extractor, p.q_net.q_net]
    elif hasattr(p, "actor"):
        parts = [p.actor.features_extractor, getattr(p.actor, "latent_pi", None), p.actor.mu]
    else:
        parts = [policy]
    return [part for part in parts if part is not None]


def acting_network(policy: nn.Module) -> list[nn.Module]:
    """The layers between observation and action, spiking or not, in order; no critic among them."""
    modules = dict.fromkeys(module for part in acting_parts(policy) for module in part.modules())
    # Synapses are layers even if they have children: parametrizations.
    return [module for module in modules if isinstance(module, SYNAPSES) or not list(module.children())]


class Meter:
    """Counts what ``policy``, of SB3 or any network, does inside a ``with`` block, by hooks on its acting network.

    **Decisions** are the samples of the network's output (B, …), or of (T, B, …) where it gives ``(output, state)``.

    **Synaptic operations** are NeuroBench's (`synaptic_operations`): accumulates (AC) in a layer all of whose inputs
    were -1, 0 or 1, else multiply-accumulates (MAC). Three things are charged as hardware would compute them:

    - A constant code's first layer runs once a decision here, and is charged once. NeuroBench counts calls as well, but
      finds one at each step in networks that are called step by step.
    - A layer that sees decoded spikes, or a leaky integrator's trace of them, is charged for the spikes themselves, T
      steps long: both commute with it. NeuroBench would see real values. A time to the first spike does not commute.
    - A population code takes two MACs for each receptive field.

    Products of spikes with spikes (`attention`) are no synapses, and NeuroBench does not see them. They count alike: an
    operation where no factor is 0, an AC also where one factor is a sum of spikes, as the other is a spike. What stands
    between the two products of an attention costs no memory traffic.

    **Neuron updates** are one for each neuron and step, those of leaky integrators and of a population code included.
    An update is active if the neuron spikes, or if something other than its bias reaches it: a spike or a value across
    a weight that is not 0. A constant real-valued current reaches it in every step. Where the current is a sum over
    several layers, or comes through pooling, any current but 0 counts, biases included.

    **Arithmetic of neurons and activation functions** has MACs and ACs of its own (`neuron_operations`), as effective
    operations are those of synapses. Energies hold both.

    **Memory** traffic is in bytes, each value with the size of its dtype: the weights that a sample's non-zero inputs
    touch in a step, each once (so kernels are reused over an image, but nothing over steps or samples), and biases;
    non-zero inputs and all outputs of synapses; for each neuron update its current, and its states read and written;
    each spike as one value, its address. Norms, pooling and activation functions are taken for fused, and free.

    **On a spiking chip** every spike crosses synapses on its own: average pooling and sums of spikes are folded into
    the synapses. What stands before the first spiking layer and after the last is its host's. A network with real
    values, pooling by the maximum or norms of each step in between, attention, or no spikes cannot run there.

    Matrix products that are no layers are not seen. Weights must not change inside the block.

    Raises:
        ValueError: the network has layers whose operations cannot be counted, naming the first; inside the block, for
            an input without a batch dimension.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._parts = acting_parts(policy)
        self.network = acting_network(policy)
        for module in (module for part in self._parts for module in part.modules()):
            if isinstance(module, UNCOUNTED):
                raise ValueError(
                    f"network: got a layer of type {type(module).__name__}, whose operations are not counted, allowed "
                    f"with synapses are Linear, Conv1d, Conv2d, Conv3d, LSTM, GRU, RNN"
                )
        names = {module: name for name, module in policy.named_modules()}
        self._idle = {layer: Tally(names[layer], layer) for layer in self.network}
        self._tallies: dict[nn.Module, Tally] = {}  # in the order of first calls
        self._spiking = any(isinstance(layer, Neuron) and layer.config.spikes for layer in self.network)
        self._counter = Counter(self._spiking)
        self._handles: list[RemovableHandle] = []
        self._decisions = 0

    def __enter__(self) -> Meter:
        self._counter.forget_weights()
        for layer in self.network:
            if (count := self._counter.for_layer(layer)) is not None:
                self._handles.append(layer.register_forward_hook(self._hook(count)))
        self._handles.append(self._parts[-1].register_forward_hook(self._decide))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._counter.forget()

    def _hook(self, count: Any) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if layer in self._idle:
                self._tallies[layer] = self._idle.pop(layer)
            first = output[0] if isinstance(output, tuple) else output
            with torch.no_grad(), torch.autocast(first.device.type, enabled=False):  # half precision cannot count
                count(self._tallies[layer], layer, inputs, first)

        return hook

    def _decide(self, network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        stateful = isinstance(output, tuple)
        values = output[0] if stateful else output
        if not isinstance(values, Tensor) or values.dim() < 1 + stateful:
            raise ValueError(
                f"network: got an output of type {type(output).__name__}, allowed is a Tensor (B, …) or a tuple of a "
                f"Tensor (T, B, …) and a state"
            )
        self._decisions += values.shape[1 if stateful else 0]
        self._counter.forget()

    @property
    def spike_rates(self) -> list[float]:
        """Spikes a neuron and inner step, of each spiking layer."""
        return [tally.spikes / tally.neuron_steps for tally in self._tallies.values() if tally.neuron_steps]

    def cost(self) -> Cost:
        """Mean over the decisions taken inside the block; ValueError where there was none."""
        if not self._decisions:
            raise ValueError("decisions: got 0, allowed is one or more: let the policy act inside the with block")
        layers = [tally.row(self._decisions) for tally in (*self._tallies.values(), *self._idle.values())]
        sums = {name: sum(getattr(row, name) for row in layers) for name in _SUMS}
        parameters, size = _size(p for part in self._parts for p in part.parameters())
        _, buffers = _size(b for part in self._parts for b in part.buffers())
        work = self._work(sums, size)
        return Cost(
            spikes_per_decision=sum(row.spikes for row in layers),
            energy_joules={name: model.joules(work) for name, model in ENERGY_MODELS.items()},
            parameters=parameters,
            bytes=size,
            spike_rates=self.spike_rates,
            footprint_bytes=size + buffers,
            connection_sparsity=_connection_sparsity(self.network),
            activation_sparsity=self._activation_sparsity(),
            layers=[row for row in layers if row.parameters or row.memory_bytes or row.neuron_macs or row.neuron_acs],
            **sums,
        )

    def _work(self, sums: dict[str, float], weight_bytes: int) -> Operations:
        events, host = self._on_chip()
        active = sums["active_neuron_updates"]
        return Operations(
            macs=sums["effective_macs"],
            acs=sums["effective_acs"],
            neuron_macs=sums["neuron_macs"],
            neuron_acs=sums["neuron_acs"],
            active_updates=active,
            inactive_updates=sums["neuron_updates"] - active,
            memory_bytes=sums["memory_bytes"],
            weight_bytes=weight_bytes,
            synaptic_events=events,
            host_operations=host,
        )

    def _on_chip(self) -> tuple[float | None, float]:
        """Synaptic events of a decision on a spiking chip, None if it cannot run there, and its host's operations."""
        tallies = list(self._tallies.values())
        spiking = [number for number, tally in enumerate(tallies) if tally.neuron_steps]
        events = host = 0.0
        for number, tally in enumerate(tallies):
            if tally.events is not None:
                events += tally.events
            elif spiking and spiking[0] < number < spiking[-1]:
                return None, 0.0
            else:
                host += tally.operations
        return (events / self._decisions if self._spiking else None), host / self._decisions

    def _activation_sparsity(self) -> float:
        """NeuroBench's, for all activation functions."""
        outputs = sum(tally.outputs for tally in self._tallies.values())
        return 1 - sum(tally.nonzero for tally in self._tallies.values()) / outputs if outputs else 0.0


_SUMS = (
    "effective_acs", "effective_macs", "dense_macs", "neuron_updates", "active_neuron_updates",
    "neuron_macs", "neuron_acs", "memory_bytes",
)  # fmt: skip


def _size(tensors: Iterable[Tensor]) -> tuple[int, int]:
    """How many numbers, and bytes; a tensor that is listed twice counts once."""
    unique = {id(x): x for x in tensors}.values()
    return sum(x.numel() for x in unique), sum(x.numel() * x.element_size() for x in unique)


def _connection_sparsity(layers: Sequence[nn.Module]) -> float:
    """NeuroBench's: of the weights of synapses, and of all parameters of recurrent layers."""
    weights = [layer.weight for layer in layers if isinstance(layer, SYNAPSES)]
    weights += [p for layer in layers if isinstance(layer, nn.RNNBase) for p in layer.parameters()]
    number = sum(weight.numel() for weight in weights)
    return 1 - sum(int(torch.count_nonzero(weight)) for weight in weights) / number if number else 0.0
