"""Layers that are born silent: noticed on the first observations that a policy learns from, and woken.

A layer without spikes passes nothing on, and the synapses behind it have no gradient. Synapses that SB3 does not make
orthogonal, behind features that are small (NatureCNN) or few (one of 500 of a one-hot code), are born so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import Neuron
from snn4.policies.scan import is_recorded

ENOUGH = 64
"""Observations without a spike after which a layer counts as silent: an ordinary mini-batch."""
RATE = 0.1
"""Spikes per neuron and step to which a silent layer is brought, where so many of its currents are positive."""
FACTOR, LARGEST = 1.2, 1e6
"""The gain of a silent layer is a power of the one, up to the other."""


class SilentLayers(UserWarning):
    """Layers of a new policy did not spike."""


class Waking:
    """Watches new layers ``[Linear, Neuron, Linear, Neuron, …]`` until each has spiked, and wakes those that do not.

    Weights and biases of a silent layer are multiplied by one gain, as if its threshold were lower by that factor:
    threshold balancing (Diehl et al. 2015), layer by layer on the first batch as in LSUV (Mishkin & Matas 2016). A
    layer that spikes keeps its weights to the bit, as does one whose weights were loaded. Only passes that keep
    gradients count: a policy that acts never changes.

    Args:
        layers: synapses and neurons in turn; a last one without a partner is left out.
        name: of the network, for notes.
    """

    def __init__(self, layers: Sequence[nn.Module], name: str) -> None:
        self.name = name
        self.stages: list[tuple[Any, Any]] = list(zip(layers[::2], layers[1::2], strict=False))
        self.asleep = set(range(len(self.stages)))
        """Layers that have neither spiked nor been loaded, from 0."""
        self.observations = 0
        """Observations seen while some layer was asleep."""
        self.owed: set[int] = set()
        """Layers that were woken since a target network last took them over."""
        self.notes: list[str] | None = None
        """Where notes go; None warns."""

    def watch(
        self, signal: Tensor, observations: int, steps: int | None = None, states: Sequence[NeuronState] | None = None
    ) -> None:
        """Look at what the layers do with ``signal`` ((1 or T), B, n) that they learn from; wakes after `ENOUGH`.

        Args:
            observations: how many the signal codes.
            steps: T of a constant signal (1, B, n).
            states: of each layer of neurons; None is rest.
        """
        if not self.asleep or not torch.is_grad_enabled() or is_recorded():
            return
        self.observations += observations
        with torch.no_grad():
            self._look(signal, steps, states or [None] * len(self.stages))

    def _look(self, signal: Tensor, steps: int | None, states: Sequence[NeuronState | None]) -> None:
        for number, ((synapse, neuron), state) in enumerate(zip(self.stages, states, strict=True)):
            current = synapse.forward(signal)  # unseen by hooks, which are for what acts and learns
            signal, _ = neuron.forward(current, state, steps=steps)
            if signal.any():
                self.asleep.discard(number)
                continue
            if self.observations < ENOUGH or number not in self.asleep:
                return  # layers behind it have nothing to spike for
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
        """A layer's synapses are about to be replaced by ``parameters``; those of someone who has learned stay."""
        for name, own in self.stages[number][0].named_parameters():
            if name in parameters and not torch.equal(own, parameters[name].to(own)):
                self.asleep.discard(number)


def watch_over(network: Any, name: str) -> None:
    """Give a new network with ``layers`` a `Waking`, which knows of weights that are loaded into it."""
    network.waking = Waking(network.layers, name)
    network.register_load_state_dict_pre_hook(_before_loading)


def watched(policy: nn.Module) -> Iterator[tuple[str, Waking]]:
    """Every `Waking` in ``policy``, by the name of its network."""
    for name, module in policy.named_modules():
        if isinstance(waking := getattr(module, "waking", None), Waking):
            yield name, waking


def follow(target: nn.Module, network: nn.Module) -> None:
    """Let ``target``, of the architecture of ``network``, take over the layers that were woken there."""
    for (_, own), (_, other) in zip(watched(network), watched(target), strict=True):
        for number in own.owed:
            other.stages[number][0].load_state_dict(own.stages[number][0].state_dict())
        own.owed.clear()


def write_notes(policy: nn.Module, notes: list[str]) -> None:
    """Add what is noticed in ``policy`` to ``notes``, in the place of warnings."""
    for _, waking in watched(policy):
        waking.notes = notes


def sleepers(policy: nn.Module) -> dict[str, Any]:
    """Which layers of which network may still be woken, and what targets have not taken over, as plain data."""
    return {
        name: {"asleep": sorted(waking.asleep), "observations": waking.observations, "owed": sorted(waking.owed)}
        for name, waking in watched(policy)
    }


def load_sleepers(policy: nn.Module, state: Mapping[str, Any]) -> None:
    """Go on from `sleepers`, after the weights were loaded; a network that is not listed stays as it is."""
    for name, waking in watched(policy):
        if name in state:
            own = state[name]
            waking.asleep, waking.observations, waking.owed = set(own["asleep"]), own["observations"], set(own["owed"])


def _before_loading(network: Any, state_dict: Mapping[str, Tensor], prefix: str, *_: Any) -> None:
    for number in range(len(network.waking.stages)):
        start = f"{prefix}layers.{2 * number}."
        parameters = {name.removeprefix(start): x for name, x in state_dict.items() if name.startswith(start)}
        network.waking.loaded(number, parameters)


def _gain(neuron: Neuron, current: Tensor, state: NeuronState | None, steps: int | None) -> float | None:
    """The least gain of ``current`` with which neurons spike at `RATE`, or half as often as they can; None: never."""

    def rate(gain: float) -> float:
        return neuron.forward(gain * current, state, steps=steps)[0].mean().item()

    enough, gain = min(RATE, rate(LARGEST) / 2), FACTOR
    if enough == 0:
        return None
    while gain < LARGEST and rate(gain) < enough:
        gain *= FACTOR
    return gain
