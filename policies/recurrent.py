"""Spiking policies that remember: ``RecurrentPPO(SpikingRecurrentPolicy, "CartPoleNoVel-v1")`` of sb3-contrib.

A decision takes one inner step. Membranes keep their values between decisions and return to rest at the start of an
episode. The membrane is the memory: there is no LSTM and no recurrent synapse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor

from snn4.policies.acting.arguments import (
    check_known,
    config_of,
    layer_sizes,
    neuron_of,
    not_negative,
    one_of,
    warn_of_activation,
)
from snn4.policies.acting.categorical import LeanCategorical
from snn4.policies.acting.deciding import Copyable, WarnsOfNaN
from snn4.policies.acting.memory import Memory, MemoryConfig, PackedState
from snn4.policies.acting.spaces import require_plain
from snn4.policies.acting.waking import watch_over
from snn4.policies.backends import BACKENDS
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sparse import SPARSEST, keep_absent

_LSTM: dict[str, Any] = {"lstm_hidden_size": None, "n_lstm_layers": 1, "enable_critic_lstm": True}
_LSTM |= {"shared_lstm": False, "lstm_kwargs": None}
"""Arguments of sb3-contrib's policies that have no meaning here, with their defaults."""


class LstmPolicy(RecurrentActorCriticPolicy):
    """sb3-contrib's MlpLstmPolicy that also learns with MultiDiscrete observations and MultiBinary actions."""

    def make_features_extractor(self) -> BaseFeaturesExtractor:
        extractor = super().make_features_extractor()
        # MultiDiscrete gives a NumPy number, which torch's LSTM refuses.
        extractor._features_dim = int(extractor.features_dim)
        return extractor

    def evaluate_actions(  # type: ignore[override]
        self, obs: Tensor, actions: Tensor, lstm_states: RNNStates, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Unlike PPO's buffer, RecurrentPPO's gives binary actions as int8, for which torch has no probability.
        return super().evaluate_actions(obs, actions.float(), lstm_states, episode_starts)


class SpikingRecurrentPolicy(WarnsOfNaN, Copyable, LstmPolicy):
    """Spiking actor with memory for sb3-contrib's RecurrentPPO, trained by truncated BPTT.

    It takes SB3's policy arguments, of which ``net_arch`` gives the layer sizes of actor and critic, and:

    Args:
        neuron: neurons of all layers: a `NeuronConfig`, a mapping of its fields, or the name of a kind.
        memory: dendrites and readout: a `MemoryConfig`, or a mapping of its fields.
        critic: ``"ann"``, which has the actor's dendrites, or ``"spiking"``, which has the actor's architecture.
        backend: ``"torch"``, ``"snntorch"`` or ``"norse"``.
        spike_cost: of the actor, as in `snn4.policies.sb3`.
        sparsity: of the actor, as in `snn4.policies.sb3`.

    Raises:
        ValueError: for spaces with which SB3 would learn wrongly (`require_plain`), and for arguments of an LSTM.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: Sequence[int] = (64, 64),
        neuron: NeuronConfig | Mapping[str, Any] | str | None = None,
        memory: MemoryConfig | Mapping[str, Any] | None = None,
        critic: Literal["ann", "spiking"] = "ann",
        backend: Literal["torch", "snntorch", "norse"] = "torch",
        spike_cost: float = 0.0,
        sparsity: float = 0.0,
        **kwargs: Any,
    ) -> None:
        require_plain(observation_space, action_space)
        if isinstance(observation_space, spaces.Dict):
            kwargs.setdefault("features_extractor_class", CombinedExtractor)
        check_known(type(self), kwargs)
        for name, default in _LSTM.items():
            value = kwargs.pop(name, default)
            if value != default:
                message = f"{name}: got {value}, allowed is {default}"
                raise ValueError(f"{message}: there is no LSTM here; set net_arch and memory instead")
        neuron, sizes = neuron_of(neuron), layer_sizes("net_arch", net_arch)
        if not neuron.spikes:
            raise ValueError(f"neuron.kind: got {neuron.kind!r}, which does not spike; it is for readouts")
        self.spiking: dict[str, Any] = {
            "neuron": neuron,
            "memory": config_of("memory", memory, MemoryConfig),
            "critic": one_of("critic", critic, ("spiking", "ann")),
            "backend": one_of("backend", backend, BACKENDS),
            "spike_cost": not_negative("spike_cost", spike_cost),
            "sparsity": not_negative("sparsity", sparsity, SPARSEST),
        }
        spaces_and_schedule = (observation_space, action_space, lr_schedule)
        super().__init__(*spaces_and_schedule, net_arch=[], lstm_hidden_size=sizes[-1], **kwargs)
        warn_of_activation(self)
        self.layer_sizes = sizes
        if type(self.action_dist) is CategoricalDistribution:
            self.action_dist = LeanCategorical(self.action_dist.action_dim)
        self.lstm_actor = self._memory(self.spiking["neuron"], "actor")  # type: ignore[assignment]
        critic_neuron = self.spiking["neuron"] if critic == "spiking" else None
        self.lstm_critic = self._memory(critic_neuron, "critic")  # type: ignore[assignment]
        self.lstm_hidden_state_shape = (self.lstm_actor.num_layers, 1, self.lstm_actor.hidden_size)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]
        keep_absent(self, self.optimizer)

    def _memory(self, neuron: NeuronConfig | None, name: str) -> Memory:
        dt, backend = self.spiking["neuron"].dt, self.spiking["backend"]
        own = {key: self.spiking[key] for key in ("spike_cost", "sparsity")} if name == "actor" else {}
        memory = Memory(self.features_dim, self.layer_sizes, neuron, self.spiking["memory"], backend, dt, **own)
        if neuron is not None:
            watch_over(memory, name)
        return memory

    @staticmethod
    def _process_sequence(  # type: ignore[override]
        features: Tensor, lstm_states: PackedState, episode_starts: Tensor, lstm: Any
    ) -> tuple[Tensor, PackedState]:
        """Run features (n_seq * L, n) in sequences of L decisions; states return to rest where an episode starts."""
        n_seq = lstm_states[0].shape[1]
        sequence = features.reshape(n_seq, -1, lstm.input_size).swapaxes(0, 1)
        starts = episode_starts.reshape(n_seq, -1).swapaxes(0, 1)
        # sb3-contrib cuts sequences where episodes start, so only the first step can be a start: one scan does.
        cut = 1 if starts[1:].any() else len(sequence)
        outputs = []
        packed = lstm_states[0]
        for steps, first in zip(sequence.split(cut), starts[::cut], strict=True):
            out, (packed, _) = lstm(steps, (packed * (1 - first).view(1, n_seq, 1), lstm_states[1]))
            outputs.append(out)
        return torch.cat(outputs).swapaxes(0, 1).flatten(0, 1), (packed, lstm_states[1])

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        return {**parameters, **self.spiking, "net_arch": self.layer_sizes}
