"""A spiking network whose membranes keep their values between decisions, its packed state, and its memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from snn4.policies.acting.arguments import not_negative
from snn4.policies.acting.spike_cost import charge_sequences
from snn4.policies.acting.waking import Waking
from snn4.policies.backends import make_neuron
from snn4.policies.coding import require_numbers
from snn4.policies.decoding import WeightedDecoder
from snn4.policies.dynamics import NeuronState, state_from_rows, state_to_rows
from snn4.policies.engine.event_driven import EVENT_DRIVEN_BATCH, EventDriven
from snn4.policies.finite import require_finite
from snn4.policies.gene import Gene
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.scan import is_recorded
from snn4.policies.sparse import SPARSEST, make_linear

PackedState = tuple[Tensor, Tensor]
"""The state that sb3-contrib carries: (rows, B, width) twice; the second tensor is unused."""


@dataclass(frozen=True)
class MemoryConfig:
    """How a policy with ``state: carry`` remembers observations and reads spikes."""

    taus: tuple[float, ...] = (2e-3,)
    """Time constants of the dendrites, seconds. Dendrites are leaky integrators; the distance of the observation from
    them measures its change."""
    gain: Annotated[float, Gene(0.5, 50.0, log=True)] = 3.0
    """Factor of the distance from the dendrites, because changes are smaller than the observations themselves."""
    tau_readout: Annotated[float, Gene(0.5e-3, 20e-3, log=True)] = 2e-3
    """Time constant of the leaky integrators that read the spikes of the last layer, seconds."""

    def __post_init__(self) -> None:
        for name, values in (("taus", self.taus), ("gain", (self.gain,)), ("tau_readout", (self.tau_readout,))):
            if not all(0 < value < float("inf") for value in values):
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed are finite numbers > 0")


class Memory(nn.Module):
    """A network that carries its state, in the place of sb3-contrib's ``nn.LSTM``.

    ``(values (L, B, n), state) -> (decoded (L, B, m), state)``: L decisions of one inner step each. The state is packed
    as its distance from rest, so zeros are the state at rest. It has one row per membrane, synapse and adaptation of
    each layer of neurons, padded with zeros to the width of the widest layer.

    Args:
        n_inputs: values in an observation.
        net_arch: neurons in each layer.
        neuron: the neurons of all layers; None for an artificial critic, whose only memory is its dendrites.
        config: dendrites and readout.
        backend: library of the neurons: torch (this project's own), snntorch or norse.
        dt: length of a step, seconds; None takes that of the neurons.
        spike_cost: cost of the mean spike rate in the loss, in training mode (`acting.spike_cost`).
        sparsity: the fraction of absent synapses in each layer (`SparseLinear`).
    """

    def __init__(
        self,
        n_inputs: int,
        net_arch: Sequence[int],
        neuron: NeuronConfig | None,
        config: MemoryConfig,
        backend: str = "torch",
        dt: float | None = None,
        spike_cost: float = 0.0,
        sparsity: float = 0.0,
    ) -> None:
        super().__init__()
        self.spike_cost = not_negative("spike_cost", spike_cost)
        sparsity = not_negative("sparsity", sparsity, SPARSEST)
        self.n_neurons = sum(net_arch)
        dt = dt or (neuron or NeuronConfig()).dt
        self.gain = config.gain
        self.dendrites = nn.ModuleList(_leaky_integrator(tau, dt) for tau in config.taus)
        self.layers = nn.ModuleList()
        for a, b in itertools.pairwise([n_inputs * (1 + len(config.taus)), *net_arch]):
            synapses = make_linear(a, b, sparsity)
            self.layers += [synapses, nn.Tanh() if neuron is None else make_neuron(neuron, backend, (b,))]
        widths = [n_inputs] * len(config.taus)
        self.waking: Waking | None = None
        self.event_driven: EventDriven | None = None
        if neuron is not None:
            if backend == "torch":
                one_step = WeightedDecoder(torch.ones(1))
                self.event_driven = EventDriven(list(self.layers), one_step)
            self.layers.append(_leaky_integrator(config.tau_readout, dt))
            widths += [*net_arch, net_arch[-1]]
        self._shapes = [_Rows(layer, width) for layer, width in zip(self._neurons(), widths, strict=True)]
        # Names of nn.LSTM, from which sb3-contrib takes the shapes of its buffers.
        self.input_size, self.hidden_size = n_inputs, max([*widths, 1])
        self.num_layers = sum(rows.count for rows in self._shapes)

    def _neurons(self) -> Iterator[Neuron]:
        return (layer for layer in (*self.dendrites, *self.layers) if isinstance(layer, Neuron))

    def forward(self, x: Tensor, packed: PackedState) -> tuple[Tensor, PackedState]:
        require_numbers(x)
        states, n = self.unpack(packed[0]), len(self.dendrites)
        changes = [x]
        for number, dendrite in enumerate(self.dendrites):
            trace, states[number] = dendrite(x, states[number])
            changes.append(self.gain * (x - trace))
        x, layers = torch.cat(changes, -1), list(self.layers)
        if self.waking is not None:
            self.waking.watch(x, x.shape[:2].numel(), states=states[n:-1])
        if self.event_driven is not None and self._decides(x):
            spikes, states[n:-1] = self.event_driven.go_on(x.numpy(), states[n:-1])
            x = torch.from_numpy(spikes).unsqueeze(0)
            layers, n = layers[-1:], len(states) - 1  # only the readout remains
        elif not torch.is_grad_enabled() and not is_recorded():
            require_finite(layers)
        trains: list[tuple[Tensor, Neuron]] = []
        for layer in layers:
            if isinstance(layer, Neuron):
                x, states[n] = layer(x, states[n])
                n += 1
                trains += [(x, layer)] if layer.config.spikes else []
            else:
                x = layer(x)
        if self.spike_cost and self.training:
            charge_sequences(trains, x, self.spike_cost / self.n_neurons)
        return x, (self.pack(states, like=packed[0]), packed[1])

    def _decides(self, x: Tensor) -> bool:
        """Whether this is one decision for a few samples, for which the event-driven engine is faster."""
        if len(x) != 1 or x.shape[1] > EVENT_DRIVEN_BATCH or x.dtype != torch.float32:
            return False
        if torch.is_grad_enabled() or is_recorded():
            return False
        engine = self.event_driven
        return engine is not None and engine.runs(self.layers[:-1], engine.decoder)

    def unpack(self, packed: Tensor) -> list[NeuronState]:
        """The state of each layer of neurons from rows (rows, B, width)."""
        parts = packed.split([rows.count for rows in self._shapes] + [len(packed) - self.num_layers])
        return [rows.state(part) for rows, part in zip(self._shapes, parts, strict=False)]

    def pack(self, states: Sequence[NeuronState], like: Tensor) -> Tensor:
        """Rows of the shape of ``like`` from the state of each layer of neurons."""
        parts = [
            nn.functional.pad(rows.rows(state), (0, like.shape[-1] - rows.width))
            for rows, state in zip(self._shapes, states, strict=True)
        ]
        return torch.cat([*parts, like[self.num_layers :]])


class _Rows:
    """The rows of one layer's state, as its distance from rest."""

    def __init__(self, layer: Neuron, width: int) -> None:
        self.width = width
        self.dynamics, self.leak = layer.dynamics, layer.config.v_leak
        further = (layer.dynamics.syn_decay, layer.dynamics.adaptation)
        self.count = len(layer.dynamics.decay) + sum(part is not None for part in further)

    def state(self, rows: Tensor) -> NeuronState:
        state = state_from_rows(rows[..., : self.width], self.dynamics)
        return state._replace(v=state.v + self.leak)

    def rows(self, state: NeuronState) -> Tensor:
        return state_to_rows(state._replace(v=state.v - self.leak), self.dynamics)


def _leaky_integrator(tau: float, dt: float) -> Neuron:
    return Neuron(NeuronConfig(kind="li", tau_mem=tau, dt=dt, r=1.0))
