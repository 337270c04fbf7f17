"""Protection of the shared trunk: later tasks must not undo what earlier tasks taught it.

All kinds are hooks around the steps of an optimizer, so they protect any algorithm. The critic's part of the trunk does
not act and stays unprotected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from snn4.learners.plain_data import on_device, tensors
from snn4.policies.acting.behaviour import Behaviour, head_outputs
from snn4.policies.acting.spike_cost import free_spikes
from snn4.policies.sb3 import trunk_names

Kind = Literal["none", "freeze", "ewc", "replay"]


@dataclass(frozen=True)
class ProtectionConfig:
    """How the synapses shared by all tasks are protected from forgetting."""

    kind: Kind = "none"
    """none: no protection. freeze: the trunk, or a fraction of it, stops learning after the first task. ewc: elastic
    weight consolidation (Kirkpatrick et al. 2017), a penalty on changes to synapses that earlier policies depend on.
    replay: at each update, the trunk also learns to repeat the decisions of earlier policies on remembered observations
    (policy distillation, Rusu et al. 2016), through their own encoders and heads."""
    strength: float = 1.0
    """ewc, replay: weight of the penalty relative to the loss of the current task."""
    fraction: float = 1.0
    """freeze: fraction of the trunk's synapses, the most important ones for the policy of the first task."""
    samples: int = 1000
    """Observations per task that are remembered (replay) or used to estimate importance (ewc, freeze)."""
    batch_size: int = 64
    """replay: remembered observations per earlier task and update."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind: got {self.kind!r}, allowed are {', '.join(get_args(Kind))}")
        if not 0 <= self.strength < math.inf:
            raise ValueError(f"strength: got {self.strength}, allowed is a finite number >= 0")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction: got {self.fraction}, allowed is above 0, up to 1")
        for name in ("samples", "batch_size"):
            if not 1 <= getattr(self, name) <= 10**6:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a whole number >= 1 and <= 1,000,000")

    @property
    def measures(self) -> bool:
        """Whether the kind needs the `Behaviour` at the end of a task."""
        return self.kind in ("ewc", "replay") or (self.kind == "freeze" and self.fraction < 1)


class Protection:
    """Memories of finished tasks, and a guard for the learner of the next task.

    ``memories`` holds tensors by name for each finished task: importance and value of each shared synapse (ewc), the
    mask of frozen synapses (freeze), observations and outputs (replay).
    """

    def __init__(self, config: ProtectionConfig | None = None) -> None:
        self.config = config or ProtectionConfig()
        self.memories: dict[str, dict[str, Any]] = {}
        self._random = torch.Generator()

    def finish(self, task: str, policy: BasePolicy, behaviour: Behaviour | None) -> None:
        """Keep the memories that protect ``task``, from ``policy`` at its end and its ``behaviour`` there."""
        match self.config.kind:
            case "freeze" if not self.memories:
                self.memories[task] = self._frozen(policy, behaviour)
            case "ewc":
                assert behaviour is not None
                values = {name: synapses.detach().clone() for name, synapses in _actor_trunk(policy).items()}
                self.memories[task] = {"importance": importance(policy, behaviour), "values": values}
            case "replay":
                assert behaviour is not None
                self.memories[task] = behaviour.state()

    def _frozen(self, policy: BasePolicy, behaviour: Behaviour | None) -> dict[str, Any]:
        if behaviour is None:
            return {"frozen": {name: torch.ones_like(x, dtype=torch.bool) for name, x in _actor_trunk(policy).items()}}
        importances = importance(policy, behaviour)
        ranks = torch.cat([x.flatten() for x in importances.values()]).argsort(descending=True).argsort()
        chosen = (ranks < round(self.config.fraction * len(ranks))).split([x.numel() for x in importances.values()])
        return {"frozen": {name: part.view_as(x) for part, (name, x) in zip(chosen, importances.items(), strict=True)}}

    def earlier(self, task: str) -> list[str]:
        """Names of the other finished tasks, whose policies `guard` needs for replay."""
        return [name for name in self.memories if name != task] if self.config.kind == "replay" else []

    def guard(self, task: str, policy: BasePolicy, earlier: Mapping[str, BasePolicy]) -> None:
        """Protect finished tasks while ``policy`` learns ``task``; earlier stays in ``task`` itself do not restrain it.

        Args:
            earlier: a policy for each name in `earlier`, with its own encoder and head; it receives this trunk.
        """
        trunk, optimizer = _actor_trunk(policy), acting_optimizer(policy)
        memories = {name: on_device(policy.device, memory) for name, memory in self.memories.items()}
        others = [memory for name, memory in memories.items() if name != task]
        match self.config.kind:
            case "freeze":
                for memory in memories.values():
                    _freeze(trunk, memory["frozen"], optimizer)
            case "ewc" if others:
                pull = _pull(trunk, others, self.config.strength)
                optimizer.register_step_pre_hook(lambda *_: pull())
            case "replay" if earlier:
                rehearsals = [self._rehearsal(policy, memories[name], other) for name, other in earlier.items()]
                optimizer.register_step_pre_hook(lambda *_: self._rehearse(rehearsals))

    def begin(self, seed: int) -> None:
        """Seed all later randomness."""
        self._random.manual_seed(seed)

    def _rehearsal(self, policy: BasePolicy, memory: dict[str, Any], earlier: BasePolicy) -> Callable[[], Tensor]:
        """A function that draws remembered observations and returns the distance of decisions now from those then."""
        share_trunk(policy, earlier.to(policy.device))
        earlier.set_training_mode(False)  # as when the remembered decisions were made
        behaviour = Behaviour(**memory)

        def distance() -> Tensor:
            rows = torch.randint(len(behaviour), (self.config.batch_size,), generator=self._random)
            return behaviour.distance(head_outputs(earlier, behaviour.observations[rows]), rows)

        return distance

    def _rehearse(self, rehearsals: Sequence[Callable[[], Tensor]]) -> None:
        with torch.enable_grad():
            loss = torch.stack([distance() for distance in rehearsals]).sum()
            (self.config.strength * loss).backward()  # type: ignore[no-untyped-call]  # adds to the gradients of the task

    @property
    def bytes(self) -> int:
        """Size of all memories."""
        return sum(x.nbytes for _, x in tensors(self.memories))

    @property
    def replay_bytes(self) -> int:
        """Size of the memories that are replayed: observations and the decisions on them."""
        return self.bytes if self.config.kind == "replay" else 0

    def state(self) -> dict[str, Any]:
        """The memories as plain data and tensors."""
        return {name: dict(memory) for name, memory in self.memories.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.memories = {name: dict(memory) for name, memory in state.items()}


def importance(policy: BasePolicy, behaviour: Behaviour) -> dict[str, Tensor]:
    """The dependence of decisions on each synapse of the trunk: the diagonal of the policy's Fisher information.

    It is the mean squared gradient of log p(action | observation) over the observations of ``behaviour``, for actions
    drawn by the policy itself (Kirkpatrick et al. 2017). It is divided by its mean over all synapses, so that the
    weight of a penalty does not depend on the scale of a task's outputs.
    """
    trunk, random = _actor_trunk(policy), torch.Generator().manual_seed(0)
    squares = {name: torch.zeros_like(synapses) for name, synapses in trunk.items()}
    with free_spikes(policy):  # importance is that for decisions alone
        for row in range(len(behaviour)):
            outputs = head_outputs(policy, behaviour.observations[row : row + 1])
            chance = behaviour.log_probability(outputs, random)
            gradients = torch.autograd.grad(chance, list(trunk.values()))
            for square, gradient in zip(squares.values(), gradients, strict=True):
                square += gradient**2
    total = torch.cat([square.flatten() for square in squares.values()]).mean().clamp(min=torch.finfo().tiny)
    return {name: square / total for name, square in squares.items()}


def _pull(trunk: dict[str, Tensor], memories: Sequence[dict[str, Any]], strength: float) -> Callable[[], None]:
    """A function that adds the gradient of the penalty ``strength / 2 * sum over tasks of importance * (synapse - its
    value then)^2`` (Kirkpatrick et al. 2017, eq. 3)."""
    # The sum of parabolas is one parabola: F (w - c) with F = sum of F_k, F c = sum of F_k w_k.
    stiffness = {n: sum(memory["importance"][n] for memory in memories) for n in trunk}
    offsets = {n: sum(memory["importance"][n] * memory["values"][n] for memory in memories) for n in trunk}

    def pull() -> None:
        for name, synapses in trunk.items():
            force = strength * (stiffness[name] * synapses.detach() - offsets[name])
            synapses.grad = force if synapses.grad is None else synapses.grad.add_(force)

    return pull


def _freeze(trunk: dict[str, Tensor], frozen: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Stop the gradients of wholly frozen tensors, so that optimizers skip them; restore the others after each step."""
    partly = [(trunk[name], mask, trunk[name].detach().clone()) for name, mask in frozen.items() if not mask.all()]
    for name, mask in frozen.items():
        trunk[name].requires_grad_(not mask.all())

    def restore(*_: Any) -> None:
        with torch.no_grad():
            for synapses, mask, values in partly:
                synapses.copy_(torch.where(mask, values, synapses))

    if partly:
        optimizer.register_step_post_hook(restore)


def share_trunk(policy: BasePolicy, earlier: BasePolicy) -> None:
    """Make ``earlier`` act through the trunk of ``policy`` itself; its other parts do not learn."""
    earlier.requires_grad_(False)
    shared = _actor_trunk(policy)
    for name, place in _actor_names(earlier).items():
        module, _, parameter = place.rpartition(".")
        setattr(earlier.get_submodule(module), parameter, shared[name])


def acting_optimizer(policy: Any) -> torch.optim.Optimizer:
    """The optimizer of the acting network: the policy's only optimizer, or that of SAC's or TD3's actor."""
    return policy.actor.optimizer if getattr(policy, "actor", None) is not None else policy.optimizer  # type: ignore[no-any-return]


def _actor_names(policy: nn.Module) -> dict[str, str]:
    return {shared: name for shared, name in trunk_names(policy).items() if shared.startswith("actor.")}


def _actor_trunk(policy: nn.Module) -> dict[str, Tensor]:
    return {shared: policy.get_parameter(name) for shared, name in _actor_names(policy).items()}
