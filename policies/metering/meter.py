"""Metering: the cost of the decisions of any network, in NeuroBench's terms (Yik et al. 2025)."""

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
from snn4.policies.metering.traffic import Values, parameter_values
from snn4.policies.neurons import Neuron


def acting_parts(policy: nn.Module) -> list[nn.Module]:
    """The modules between observation and action, in order: an SB3 policy without its critic, or a whole network."""
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
    """The layers between observation and action, spiking or not, in order and without a critic."""
    modules = dict.fromkeys(module for part in acting_parts(policy) for module in part.modules())
    # Synapses with children (parametrizations) are layers, too.
    return [module for module in modules if isinstance(module, SYNAPSES) or not list(module.children())]


class Meter:
    """Counts the operations of ``policy`` inside a ``with`` block, by hooks on its acting network.

    ``policy`` is a policy of SB3 or any network.

    **Decisions** are the samples of the network's output (B, …), or of (T, B, …) if it returns ``(output, state)``.

    **Synaptic operations** are NeuroBench's (`synaptic_operations`): accumulates (AC) in a layer if all its inputs were
    -1, 0 or 1, else multiply-accumulates (MAC). Three operations are counted as hardware would compute them:

    - The first layer of a constant code runs once per decision here, and is counted once. NeuroBench also counts calls,
      but it counts one per step in networks that are called step by step.
    - A layer whose input is decoded spikes, or a leaky integrator's trace of spikes, is counted for the spikes of all T
      steps, because both commute with the layer. NeuroBench would count real values. A time to the first spike does not
      commute.
    - A population code takes two MACs per receptive field.

    Products of spikes with spikes (`attention`) are not synapses, and NeuroBench does not see them. They are counted in
    the same way: an operation if no factor is 0. It is an AC even if one factor is a sum of spikes, because the other
    is a spike. Values between the two products of an attention cost no memory traffic.

    **Neuron updates** are one per neuron and step, also in leaky integrators and in a population code. An update is
    active if the neuron spikes, or if it receives more than its bias: a spike or a value across a non-zero weight. A
    neuron with a constant real-valued current receives it in every step. If the current is a sum over several layers,
    or comes through pooling, every non-zero current counts, biases included.

    **Arithmetic of neurons and activation functions** has separate MACs and ACs (`neuron_operations`), because the
    effective operations are those of synapses. Energies include both.

    **Memory** traffic is in bytes, each value with the size of its dtype. It includes the weights that the non-zero
    inputs of a sample touch in a step, each once (so kernels are reused over an image, but nothing over steps or
    samples), and biases; non-zero inputs and all outputs of synapses; for each neuron update its current, and its
    states read and written; for each spike one value, its address. Norms, pooling and activation functions are assumed
    to be fused, and cost no traffic. Weights of 0 are absent synapses. They are not read, because rows of weights are
    assumed to be compressed, with indices that cost nothing. Sizes still count them, and choose the memory.
    `Cost.traffic` has the same accesses by kind of value, for energy models that give
    each kind a width, with spikes as bits: of all neurons in every step when written, and of all inputs when read, if
    all inputs of the layer were -1, 0 or 1. Outputs of synapses are sums if the next neuron or activation function is a
    neuron, else activations.

    **On a spiking chip** every spike crosses synapses separately: average pooling and sums of spikes are folded into
    the synapses; spikes of 1 and -1 that cancel each other there are not counted. The host runs the layers before the
    first spiking layer and after the last. A network cannot run on the chip if it has no spikes or has attention, or if
    it has real values, max pooling or norms with separate statistics for each step between its spiking layers.

    Matrix products outside layers are not seen. Weights must not change inside the block.

    Raises:
        ValueError: for a network with layers whose operations cannot be counted; the message names the first. Inside
            the block, for an input without a batch dimension.
    """

    def __init__(self, policy: nn.Module) -> None:
        self._parts = acting_parts(policy)
        self.network = acting_network(policy)
        for module in (module for part in self._parts for module in part.modules()):
            if isinstance(module, UNCOUNTED):
                raise ValueError(
                    f"network: got a layer of type {type(module).__name__}, whose operations cannot be counted, "
                    f"allowed with synapses are Linear, Conv1d, Conv2d, Conv3d, LSTM, GRU, RNN"
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
            values = output[0] if isinstance(output, tuple) else output
            with torch.no_grad(), torch.autocast(values.device.type, enabled=False):  # half precision cannot count
                count(self._tallies[layer], layer, inputs, values)

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
        """Spikes per neuron and inner step, for each spiking layer."""
        return [tally.spikes / tally.neuron_steps for tally in self._tallies.values() if tally.neuron_steps]

    def cost(self) -> Cost:
        """Mean cost of the decisions inside the block; ValueError if there were none."""
        if not self._decisions:
            raise ValueError("decisions: got 0, allowed is one or more: let the policy act inside the with block")
        layers = [tally.row(self._decisions) for tally in (*self._tallies.values(), *self._idle.values())]
        sums = {name: sum(getattr(row, name) for row in layers) for name in _SUMS}
        parameters, size = _size(p for part in self._parts for p in part.parameters())
        _, buffers = _size(b for part in self._parts for b in part.buffers())
        traffic = sum((row.traffic for row in layers), Values())
        work = self._work(sums, size, traffic, parameter_values(self.network, parameters))
        return Cost(
            spikes_per_decision=sum(row.spikes for row in layers),
            energy_joules={name: model.joules(work) for name, model in ENERGY_MODELS.items()},
            parameters=parameters,
            bytes=size,
            spike_rates=self.spike_rates,
            footprint_bytes=size + buffers,
            connection_sparsity=_connection_sparsity(self.network),
            activation_sparsity=self._activation_sparsity(),
            traffic=traffic,
            layers=[
                row for row in layers if row.parameters or row.neuron_macs or row.neuron_acs or row.traffic != Values()
            ],
            **sums,
        )

    def _work(self, sums: dict[str, float], weight_bytes: int, traffic: Values, parameters: Values) -> Operations:
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
            traffic=traffic,
            parameters=parameters,
            synaptic_events=events,
            host_operations=host,
        )

    def _on_chip(self) -> tuple[float | None, float]:
        """Per decision: synaptic events on a spiking chip, None if it cannot run there, and operations of its host."""
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
        """NeuroBench's activation sparsity, over all neurons and activation functions."""
        outputs = sum(tally.outputs for tally in self._tallies.values())
        return 1 - sum(tally.nonzero for tally in self._tallies.values()) / outputs if outputs else 0.0


_SUMS = (
    "effective_acs", "effective_macs", "dense_macs", "neuron_updates", "active_neuron_updates",
    "neuron_macs", "neuron_acs", "memory_bytes",
)  # fmt: skip


def _size(tensors: Iterable[Tensor]) -> tuple[int, int]:
    """Number of values and of bytes; a tensor that is listed twice counts once."""
    unique = {id(x): x for x in tensors}.values()
    return sum(x.numel() for x in unique), sum(x.numel() * x.element_size() for x in unique)


def _connection_sparsity(layers: Sequence[nn.Module]) -> float:
    """NeuroBench's connection sparsity, over the weights of synapses and all parameters of recurrent layers."""
    weights = [layer.weight for layer in layers if isinstance(layer, SYNAPSES)]
    weights += [p for layer in layers if isinstance(layer, nn.RNNBase) for p in layer.parameters()]
    number = sum(weight.numel() for weight in weights)
    return 1 - sum(int(torch.count_nonzero(weight)) for weight in weights) / number if number else 0.0
