"""Detects new layers that are silent for the first observations that a policy learns from, and wakes them.

A silent layer passes nothing on, and the synapses behind it have no gradient. New layers can be silent if SB3 does not
initialize their synapses orthogonally and their features are small (NatureCNN) or few (one of the 500 values of a
one-hot code).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import Neuron
from snn4.policies.scan import is_recorded

ENOUGH = 64
"""Observations without a spike after which a layer counts as silent: a usual mini-batch."""
RATE = 0.1
"""Spikes per neuron and step that waking aims at, if enough currents are positive."""
FACTOR, LARGEST = 1.2, 1e6
"""The gain of a silent layer is a power of ``FACTOR``, up to ``LARGEST``."""


class SilentLayers(UserWarning):
    """Warning for layers of a new policy that did not spike."""


class Waking:
    """Watches new layers ``[Linear, Neuron, Linear, Neuron, …]`` until each has spiked, and wakes those that do not.

    Weights and biases of a silent layer are multiplied by one gain, as if its threshold were lower by that factor. This
    is threshold balancing (Diehl et al. 2015), layer by layer on the first batch as in LSUV (Mishkin & Matas 2016). The
    weights of a layer do not change if it spikes or if its weights were loaded. Only passes with gradients count, so a
    policy that acts never changes.

    Args:
        layers: synapses and neurons in alternation; a last layer without a partner is ignored.
        name: name of the network, for notes.
    """

    def __init__(self, layers: Sequence[nn.Module], name: str) -> None:
        self.name = name
        self.stages: list[tuple[Any, Any]] = list(zip(layers[::2], layers[1::2], strict=False))
        self.asleep = set(range(len(self.stages)))
        """Layers, counted from 0, that have neither spiked nor been loaded."""
        self.observations = 0
        """Observations seen while a layer was asleep."""
        self.owed: set[int] = set()
        """Layers that were woken since a target network last copied them."""
        self.notes: list[str] | None = None
        """The list to which notes are added; None gives warnings instead."""

    def watch(
        self, signal: Tensor, observations: int, steps: int | None = None, states: Sequence[NeuronState] | None = None
    ) -> None:
        """Run the layers on ``signal`` ((1 or T), B, n), from which they learn; wakes silent layers after `ENOUGH`.

        Args:
            observations: number of observations in the signal.
            steps: T of a constant signal (1, B, n).
            states: states of the layers of neurons; None is rest.
        """
        if not self.asleep or not torch.is_grad_enabled() or is_recorded():
            return
        self.observations += observations
        with torch.no_grad():
            self._look(signal, steps, states or [None] * len(self.stages))

    def _look(self, signal: Tensor, steps: int | None, states: Sequence[NeuronState | None]) -> None:
        for number, ((synapse, neuron), state) in enumerate(zip(self.stages, states, strict=True)):
            current = synapse.forward(signal)  # skips hooks, which should see only acting and learning
            signal, _ = neuron.forward(current, state, steps=steps)
            if signal.any():
                self.asleep.discard(number)
                continue
            if self.observations < ENOUGH or number not in self.asleep:
                return  # the layers behind it get no input
            gain = _gain(neuron, current, state, steps)
            self._tell(number, gain)
            if gain is None:
                break
            self._scale(number, gain)
            signal, _ = neuron.forward(gain * current, state, steps=steps)
        self.asleep.clear()

    def _scale(self, number: int, gain: float) -> None:
        for parameter in self.stages[number][0].parameters():
            parameter.data.mul_(gain)  # data: an earlier loss may still wait for its backward pass
        self.owed.add(number)

    def _tell(self, number: int, gain: float | None) -> None:
        note = f"{self.name}: layer {number + 1} did not spike for the first {self.observations} observations; "
        if gain is None:
            note += "no gain on its weights makes it spike: check observations and neuron"
        else:
            note += f"its weights and biases were multiplied by {gain:.3g}"
        if self.notes is None:
            warnings.warn(note, SilentLayers, stacklevel=2)
        else:
            self.notes.append(note)

    def loaded(self, number: int, parameters: Mapping[str, Tensor]) -> None:
        """``parameters`` will be loaded into layer ``number``; if they differ from its own, it is never woken."""
        for name, weight in self.stages[number][0].named_parameters():
            if name in parameters and not torch.equal(weight, parameters[name].to(weight)):
                self.asleep.discard(number)


def watch_over(network: Any, name: str) -> None:
    """Give a new network with ``layers`` a `Waking`, which also notices when weights are loaded into the network."""
    network.waking = Waking(network.layers, name)
    network.register_load_state_dict_pre_hook(_before_loading)


def watched(policy: nn.Module) -> Iterator[tuple[str, Waking]]:
    """Every `Waking` in ``policy``, with the name of its network."""
    for name, module in policy.named_modules():
        if isinstance(waking := getattr(module, "waking", None), Waking):
            yield name, waking


def follow(target: nn.Module, network: nn.Module) -> None:
    """Copy the layers of ``network`` that were woken to ``target``, which has the same architecture."""
    for (_, source), (_, destination) in zip(watched(network), watched(target), strict=True):
        for number in source.owed:
            destination.stages[number][0].load_state_dict(source.stages[number][0].state_dict())
        source.owed.clear()


def write_notes(policy: nn.Module, notes: list[str]) -> None:
    """Add the notes of ``policy`` to ``notes`` instead of giving warnings."""
    for _, waking in watched(policy):
        waking.notes = notes


class Sleepers(TypedDict):
    """State of a `Waking`, as plain data."""

    asleep: list[int]
    observations: int
    owed: list[int]


def sleepers(policy: nn.Module) -> dict[str, Sleepers]:
    """Layers of each network that may still be woken, and woken layers not yet copied to targets, as plain data."""
    return {
        name: {"asleep": sorted(waking.asleep), "observations": waking.observations, "owed": sorted(waking.owed)}
        for name, waking in watched(policy)
    }


def load_sleepers(policy: nn.Module, state: Mapping[str, Sleepers]) -> None:
    """Restore ``state`` of `sleepers` after the weights were loaded; networks that it does not list do not change."""
    for name, waking in watched(policy):
        if name in state:
            row = state[name]
            waking.asleep = set(row["asleep"])
            waking.observations = row["observations"]
            waking.owed = set(row["owed"])


def _before_loading(network: Any, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    for number in range(len(network.waking.stages)):
        start = f"{prefix}layers.{2 * number}."
        parameters = {name.removeprefix(start): x for name, x in state_dict.items() if name.startswith(start)}
        network.waking.loaded(number, parameters)


def _gain(neuron: Neuron, current: Tensor, state: NeuronState | None, steps: int | None) -> float | None:
    """Smallest gain of ``current`` at which neurons spike at `RATE`, or at half their largest rate; None: never."""

    def rate(gain: float) -> float:
        return neuron.forward(gain * current, state, steps=steps)[0].mean().item()

    enough, gain = min(RATE, rate(LARGEST) / 2), FACTOR
    if enough == 0:
        return None
    while gain < LARGEST and rate(gain) < enough:
        gain *= FACTOR
    return gain
