from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_folders import through_disk
from torch import Tensor

from snn4.envs.control import make_control
from snn4.learners.algorithms import LearnerConfig, make_policy
from snn4.learners.protection import Protection, ProtectionConfig, acting_optimizer, importance, share_trunk
from snn4.learners.reinforcement import ReinforcementLearner
from snn4.policies.acting.behaviour import Behaviour, head_outputs
from snn4.policies.neurons import NeuronConfig
from snn4.policies.sb3 import PolicyConfig, trunk_names

OFF_POLICY = {"learning_starts": 16, "buffer_size": 200, "batch_size": 16, "train_freq": 4}
LEARNERS = {
    "PPO": LearnerConfig(
        "PPO", hyperparameters={"n_steps": 32, "batch_size": 16, "n_epochs": 4, "learning_rate": 3e-3}
    ),
    "A2C": LearnerConfig("A2C", hyperparameters={"n_steps": 8, "learning_rate": 3e-3}),
    "DQN": LearnerConfig("DQN", hyperparameters={**OFF_POLICY, "learning_rate": 3e-3}),
    "SAC": LearnerConfig("SAC", hyperparameters={**OFF_POLICY, "learning_rate": 3e-3}),
    "TD3": LearnerConfig("TD3", hyperparameters={**OFF_POLICY, "learning_rate": 3e-3}),
}
BOTH = [(algorithm, kind) for algorithm in ("PPO", "A2C", "DQN") for kind in ("spiking", "ann")]
ALL = [*BOTH, ("SAC", "spiking"), ("TD3", "ann")]


def description(kind: Any) -> PolicyConfig:
    return PolicyConfig(kind, (12, 13, 14), T=3, neuron=NeuronConfig(v_threshold=0.2))  # else most would be silent


def first_of(algorithm: str) -> str:
    return "Pendulum-v1" if algorithm in ("SAC", "TD3") else "CartPole-v1"


def second_of(algorithm: str) -> str:
    return "MountainCarContinuous-v0" if algorithm in ("SAC", "TD3") else "Acrobot-v1"


def learner(algorithm: str, kind: str, environment: str, seed: int = 0) -> ReinforcementLearner:
    return ReinforcementLearner(LEARNERS[algorithm], description(kind), make_control(environment), 128, seed)


def past(algorithm: str, kind: str) -> tuple[Any, Behaviour]:
    """A policy of an earlier task, and what it did there on random observations."""
    torch.manual_seed(7)
    policy: Any = make_policy(LEARNERS[algorithm], description(kind), make_control(first_of(algorithm)), learns=True)
    if algorithm in ("PPO", "A2C"):  # as if it had learned: a new one decides evenly, whatever its trunk does
        policy.action_net.weight.data *= 100
    shape = policy.observation_space.shape
    assert shape is not None
    return policy, Behaviour.of(policy, torch.randn(40, *shape, generator=torch.Generator().manual_seed(1)))


def protected(
    algorithm: str, kind: str, how: Any = "none", **config: Any
) -> tuple[ReinforcementLearner, Any, Behaviour]:
    """A learner of a second task with the trunk of the first, guarded; the first one's policy and behaviour."""
    earlier, behaviour = past(algorithm, kind)
    protection = Protection(ProtectionConfig(how, **config))
    protection.finish("first", earlier, behaviour)
    second = learner(algorithm, kind, second_of(algorithm))
    for name, synapses in trunk(earlier).items():
        trunk(second.policy)[name].data.copy_(synapses)
    protection.guard("second", second.policy, {"first": earlier} if protection.earlier("second") else {})
    protection.begin(3)
    return second, earlier, behaviour


def trunk(policy: Any) -> dict[str, Any]:
    return {k: policy.get_parameter(n) for k, n in trunk_names(policy).items() if k.startswith("actor.")}


def copied(policy: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in policy.state_dict().items()}


def learn(one: ReinforcementLearner, steps: int = 128) -> None:
    one.begin(5)
    list(one.learn(steps))


def drift(second: ReinforcementLearner, algorithm: str, kind: str, behaviour: Behaviour) -> float:
    """How far the first task's policy, with its own encoder and head, is from what it did, now by this trunk."""
    earlier, _ = past(algorithm, kind)
    share_trunk(second.policy, earlier)
    with torch.no_grad():
        return behaviour.distance(head_outputs(earlier, behaviour.observations), torch.arange(len(behaviour))).item()


# freeze


@pytest.mark.parametrize(("algorithm", "kind"), ALL)
def test_a_frozen_trunk_stays_to_the_bit_and_the_rest_learns(algorithm: str, kind: str) -> None:
    second, _, behaviour = protected(algorithm, kind, "freeze")
    before, fixed = copied(second.policy), {trunk_names(second.policy)[name] for name in trunk(second.policy)}
    learn(second)
    moved = {name for name, value in second.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert len(fixed) == 4  # two layers of synapses, with their biases
    assert not fixed & moved
    names = [name for name, _ in second.policy.named_parameters() if "target" not in name]
    assert set(names) - fixed <= moved
    assert drift(second, algorithm, kind, behaviour) == pytest.approx(0, abs=1e-6)


def test_torch_s_optimizers_keep_no_moments_of_what_is_frozen() -> None:
    second, _, _ = protected("PPO", "spiking", "freeze")
    learn(second)
    optimizer = acting_optimizer(second.policy)
    assert not any(synapses in optimizer.state for synapses in trunk(second.policy).values())
    again, _, _ = protected("PPO", "spiking", "freeze")
    again.load_state(second.state())
    assert not any(synapses.requires_grad for synapses in trunk(again.policy).values())


@pytest.mark.parametrize(("algorithm", "kind"), [("PPO", "spiking"), ("DQN", "ann")])
def test_a_fraction_of_the_trunk_is_frozen_where_it_matters_most(algorithm: str, kind: str) -> None:
    second, earlier, behaviour = protected(algorithm, kind, "freeze", fraction=0.25)
    before, found = copied(second.policy), importance(earlier, behaviour)
    learn(second)
    stayed = {n: trunk(second.policy)[n] == before[trunk_names(second.policy)[n]] for n in found}
    flat = torch.cat([x.flatten() for x in stayed.values()])
    ranked = torch.cat([x.flatten() for x in found.values()]).argsort(descending=True)
    assert flat[ranked[: round(0.25 * len(flat))]].all()
    assert not flat[ranked[round(0.25 * len(flat)) :]].all()  # those of silent neurons stay, too


# ewc


@pytest.mark.parametrize(("algorithm", "kind"), [("PPO", "spiking"), ("DQN", "ann"), ("SAC", "spiking")])
def test_importance_is_the_mean_square_of_the_slope_of_the_log_probability(algorithm: str, kind: str) -> None:
    """Against the exact expectation over actions, which the drawn ones come near to."""
    policy, behaviour = past(algorithm, kind)
    synapses = list(trunk(policy).values())
    exact = [torch.zeros_like(x) for x in synapses]
    for row in range(len(behaviour)):
        now = head_outputs(policy, behaviour.observations[row : row + 1]) / behaviour.scale
        if behaviour.chooses:
            terms = [(chance.exp().item(), chance) for chance in now.log_softmax(1)[0]]
        else:  # a unit Gaussian around each output: E[(a - m)^2] = 1
            terms = [(1.0, mean) for mean in now[0]]
        for weight, term in terms:
            slopes = torch.autograd.grad(term, synapses, retain_graph=True)
            exact = [total + weight * slope**2 for total, slope in zip(exact, slopes, strict=True)]
    wanted = torch.cat([x.flatten() for x in exact])
    # More samples of the same observations: the estimate must come to the expectation.
    seen, said = (x.repeat(8, 1) for x in (behaviour.observations, behaviour.outputs))
    many = Behaviour(seen, said, behaviour.scale, behaviour.chooses)
    got = torch.cat([x.flatten() for x in importance(policy, many).values()])
    assert got.mean().item() == pytest.approx(1)
    assert np.corrcoef(got.numpy(), wanted.numpy())[0, 1] > 0.97
    torch.testing.assert_close(got, wanted / wanted.mean(), atol=0.25 * float(got.max()), rtol=0)


def test_importance_is_that_of_decisions_without_their_cost() -> None:
    policy, behaviour = past("PPO", "spiking")
    policy.set_training_mode(True)
    wanted = importance(policy, behaviour)
    body = policy.mlp_extractor.policy_net
    body.spike_cost = 5.0
    torch.testing.assert_close(importance(policy, behaviour), wanted)
    assert body.spike_cost == 5
    body.spike_cost = 0.0


def gradients_of_hooks(policy: Any) -> dict[str, Tensor]:
    """What is added to empty gradients at a step of the optimizer."""
    optimizer = acting_optimizer(policy)
    optimizer.zero_grad()
    for hook in optimizer._optimizer_step_pre_hooks.values():
        hook(optimizer, (), {})
    return {name: x.grad.clone() for name, x in trunk(policy).items() if x.grad is not None}


def test_the_pull_is_the_slope_of_all_penalties_together() -> None:
    torch.manual_seed(0)
    protection = Protection(ProtectionConfig("ewc", strength=3.0))
    for task in ("a", "b", "present"):
        policy, behaviour = past("PPO", "spiking")
        for synapses in trunk(policy).values():
            synapses.data += 0.1 * torch.randn_like(synapses)
        protection.finish(task, policy, Behaviour.of(policy, behaviour.observations))
    policy = learner("PPO", "spiking", "Acrobot-v1").policy
    protection.guard("present", policy, {})
    memories = [protection.memories[task] for task in ("a", "b")]  # its own past does not hold a task back
    penalty = sum(
        (memory["importance"][n] * (x - memory["values"][n]) ** 2).sum()
        for memory in memories for n, x in trunk(policy).items()
    )  # fmt: skip
    wanted = torch.autograd.grad(3.0 / 2 * penalty, list(trunk(policy).values()))
    for got, want in zip(gradients_of_hooks(policy).values(), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


# replay


@pytest.mark.parametrize(("algorithm", "kind"), ALL)
def test_replay_adds_the_slope_of_the_distance_from_remembered_decisions(algorithm: str, kind: str) -> None:
    second, earlier, behaviour = protected(algorithm, kind, "replay", strength=2.0, batch_size=9)
    assert not earlier.training, "batch norms of an encoder, say, would go by the rehearsed samples and change"
    for synapses in trunk(second.policy).values():
        synapses.data += 0.3 * torch.randn(synapses.shape, generator=torch.Generator().manual_seed(2))
    got = gradients_of_hooks(second.policy)
    rows = torch.randint(len(behaviour), (9,), generator=torch.Generator().manual_seed(3))
    plain, _ = past(algorithm, kind)
    for name, synapses in trunk(plain).items():
        synapses.data.copy_(trunk(second.policy)[name])
    loss = 2.0 * behaviour.distance(head_outputs(plain, behaviour.observations[rows]), rows)
    for mine, its in zip(got.values(), torch.autograd.grad(loss, list(trunk(plain).values())), strict=True):
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize(("algorithm", "kind"), [both for both in BOTH if both[0] != "A2C"])  # which hardly updates
@pytest.mark.parametrize("how", ["ewc", "replay"])
def test_protected_behaviour_drifts_less(algorithm: str, kind: str, how: Any) -> None:
    plain, *_ = protected(algorithm, kind)
    learn(plain)
    second, earlier, behaviour = protected(algorithm, kind, how, strength=30.0)
    own = {n: x.clone() for n, x in earlier.state_dict().items() if n not in trunk_names(earlier).values()}
    before = copied(second.policy)
    learn(second)
    drifts = [drift(one, algorithm, kind, behaviour) for one in (plain, second)]
    assert drifts[1] < drifts[0]
    assert all(not torch.equal(x, before[trunk_names(second.policy)[n]]) for n, x in trunk(second.policy).items())
    assert all(torch.equal(x, own[n]) for n, x in earlier.state_dict().items() if n in own), "others' heads learn"


# All of them


@pytest.mark.parametrize("how", ["none", "freeze", "ewc", "replay"])
def test_the_first_task_is_free(how: Any) -> None:
    one, other = learner("PPO", "spiking", "CartPole-v1"), learner("PPO", "spiking", "CartPole-v1")
    protection = Protection(ProtectionConfig(how))
    protection.guard("first", one.policy, {})
    for each in (one, other):
        learn(each)
    assert all(torch.equal(x, other.policy.state_dict()[n]) for n, x in one.policy.state_dict().items())


@pytest.mark.parametrize("how", ["ewc", "replay"])
def test_a_task_is_not_held_back_by_its_own_past(how: Any) -> None:
    earlier, behaviour = past("PPO", "spiking")
    protection = Protection(ProtectionConfig(how))
    protection.finish("first", earlier, behaviour)
    assert protection.earlier("first") == []
    again = learner("PPO", "spiking", "CartPole-v1")
    protection.guard("first", again.policy, {})
    assert gradients_of_hooks(again.policy) == {}


@pytest.mark.parametrize("how", ["ewc", "replay"])
def test_a_task_that_was_returned_to_is_remembered_as_it_last_was(how: Any) -> None:
    earlier, behaviour = past("PPO", "spiking")
    protection = Protection(ProtectionConfig(how))
    protection.finish("first", earlier, behaviour)
    for synapses in trunk(earlier).values():
        synapses.data += 0.1
    protection.finish("first", earlier, Behaviour.of(earlier, behaviour.observations))
    (memory,) = protection.memories.values()
    if how == "ewc":
        assert all(torch.equal(memory["values"][name], synapses) for name, synapses in trunk(earlier).items())
    else:
        assert torch.equal(memory["outputs"], Behaviour.of(earlier, behaviour.observations).outputs)


@pytest.mark.parametrize("how", ["freeze", "ewc", "replay"])
def test_state_is_all_there_is(how: Any, tmp_path: Path) -> None:
    earlier, behaviour = past("PPO", "spiking")
    one, other = Protection(ProtectionConfig(how, fraction=0.5)), Protection(ProtectionConfig(how, fraction=0.5))
    one.finish("first", earlier, behaviour)
    other.load_state(through_disk(one.state(), tmp_path))
    results = []
    for protection in (one, other):
        second, again = learner("PPO", "spiking", "Acrobot-v1"), past("PPO", "spiking")[0]
        protection.guard("second", second.policy, {"first": again} if protection.earlier("second") else {})
        protection.begin(4)
        learn(second, 64)
        results.append(copied(second.policy))
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "frost"}, "kind: got 'frost', allowed are none, freeze, ewc, replay"),
        ({"strength": -1.0}, "strength: got -1.0, allowed is a finite number >= 0"),
        ({"strength": float("nan")}, "strength: got nan, allowed is a finite number >= 0"),
        ({"fraction": 0.0}, "fraction: got 0.0, allowed is above 0, up to 1"),
        ({"samples": 0}, "samples: got 0, allowed is a whole number >= 1 and <= 1,000,000"),
        ({"batch_size": 0}, "batch_size: got 0, allowed is a whole number >= 1 and <= 1,000,000"),
    ],
)
def test_config_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ProtectionConfig(**arguments)
