from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_cases import POLICIES
from stable_baselines3 import DQN, PPO, SAC, TD3
from torch import Tensor

from snn4.policies.acting.activity import Activity, activity
from snn4.policies.acting.behaviour import head_outputs
from snn4.policies.acting.chains import chains
from snn4.policies.acting.descent import Descent
from snn4.policies.inheritance import Inheritance, inherit, inheritance
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import trunk_names

SPACE = spaces.Box(-1, 1, (3,))
BOX, CHOICES = spaces.Box(-1, 1, (2,)), spaces.Discrete(4)
OBSERVATIONS = torch.from_numpy(np.random.default_rng(0).integers(-8, 9, (40, 3)) / 8).float()
"""Multiples of 1/8. With weights that are multiples of 1/64, all currents are exact, in whatever order they are summed:
so parent and child spike alike on every machine."""
WIDER = [20, 14]


def make(
    algorithm: Any, net_arch: Any = (12, 10), actions: Any = None, space: Any = SPACE, seed: int = 0, **kwargs: Any
) -> Any:
    """A new policy whose neurons have much to do."""
    policy_class = SpikingRecurrentPolicy if algorithm == "carry" else POLICIES[algorithm]
    actions = actions or (CHOICES if algorithm is DQN else BOX)
    policy: Any = policy_class(space, actions, lambda _: 1e-3, net_arch=list(net_arch), **kwargs)
    random = torch.Generator().manual_seed(seed)
    for name, parameter in policy.named_parameters():
        if name.endswith(("weight", "bias")):
            drawn = torch.randint(-64, 65, parameter.shape, generator=random)
            parameter.data.copy_(drawn / 64)  # targets and networks differ, too
        else:
            parameter.data.add_(0.1 * torch.rand(parameter.shape, generator=random))
    return policy


make_child = functools.partial(make, seed=1)


def descend(parent: Any, child: Any, seed: int = 0) -> list[str]:
    return inherit(child, parent, inheritance([parent], child, [activity(parent, OBSERVATIONS)], seed))


@torch.no_grad()
def outputs(policy: Any) -> list[Tensor]:
    """Everything that the networks of a policy compute for the observations, targets as well."""
    if hasattr(policy, "lstm_actor"):
        rest = (torch.zeros(policy.lstm_hidden_state_shape),) * 2
        starts = torch.zeros(len(OBSERVATIONS))
        distribution, _ = policy.get_distribution(OBSERVATIONS, rest, starts)
        return [distribution.distribution.mean, policy.predict_values(OBSERVATIONS, rest, starts)]
    computed = [head_outputs(policy, OBSERVATIONS)]
    if hasattr(policy, "predict_values"):
        return [*computed, policy.predict_values(OBSERVATIONS)]
    if hasattr(policy, "q_net_target"):
        return [*computed, policy.q_net_target(OBSERVATIONS)]
    if hasattr(policy, "actor_target"):
        computed.append(policy.actor_target(OBSERVATIONS))
    else:
        computed.append(policy.actor.get_action_dist_params(OBSERVATIONS)[1])
    actions = OBSERVATIONS[:, :2]
    return [*computed, *policy.critic(OBSERVATIONS, actions), *policy.critic_target(OBSERVATIONS, actions)]


def assert_same_outputs(child: Any, parent: Any) -> None:
    for got, expected in zip(outputs(child), outputs(parent), strict=True):
        assert expected.std() > 0.01, "the networks have much to do"
        torch.testing.assert_close(got, expected)


def body(policy: Any) -> Any:
    return policy.mlp_extractor.policy_net


SPIKING_CRITIC = {"critic": "spiking"}


@pytest.mark.parametrize("T", [1, 4])
@pytest.mark.parametrize("kind", ["lif", "cuba", "alif", "plif"])
def test_wider_layers_spike_as_the_layers_they_descend_from(kind: str, T: int) -> None:
    form: dict[str, Any] = {"neuron": kind, "T": T, **SPIKING_CRITIC}
    parent, child = make(PPO, **form), make_child(PPO, WIDER, **form)
    plan = inheritance([parent], child, [activity(parent, OBSERVATIONS)], seed=0)
    assert inherit(child, parent, plan) == []
    with torch.no_grad():
        trains = zip(body(child).spikes(OBSERVATIONS), body(parent).spikes(OBSERVATIONS), strict=True)
        for number, (own, theirs) in enumerate(trains):
            assert 0.05 < theirs.mean() < 0.95
            assert torch.equal(own, theirs[..., plan.layers[f"actor.{number}"].source])
    assert_same_outputs(child, parent)


@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3, "carry"])
def test_wider_policies_compute_what_their_parent_computes(algorithm: Any) -> None:
    parent, child = make(algorithm), make_child(algorithm, WIDER)
    before = outputs(child)[0]
    assert descend(parent, child) == []
    assert not torch.allclose(before, outputs(child)[0])
    assert_same_outputs(child, parent)


def test_many_copies_share_weights_that_sum_to_exactly_those_of_the_parent() -> None:
    parent, child = make(PPO, (2, 10)), make_child(PPO, (9, 10))
    plan = inheritance([parent], child, None, seed=3)
    inherit(child, parent, plan)
    source, weight = plan.layers["actor.0"].source, body(child).layers[2].weight.detach().double()
    summed = torch.zeros(10, 2, dtype=torch.double).index_add(1, source, weight)
    assert torch.equal(summed, body(parent).layers[2].weight.detach().double())
    parts = weight[:, source == source[-1]]
    assert all(len(row.unique()) == len(row) for row in parts if row.any()), "unequal parts"


def test_copies_diverge_when_they_learn() -> None:
    parent, child = make(PPO, **SPIKING_CRITIC), make_child(PPO, (24, 10), **SPIKING_CRITIC)
    plan = inheritance([parent], child, None, seed=0)
    inherit(child, parent, plan)
    random, weight = torch.Generator().manual_seed(0), body(child).layers[0].weight
    for _ in range(10):
        child.optimizer.zero_grad()  # Adam, lr 1e-3
        values, log_probability, _ = child.evaluate_actions(OBSERVATIONS, torch.randn(40, 2, generator=random))
        (values.square().mean() - log_probability.mean()).backward()
        child.optimizer.step()
    source = plan.layers["actor.0"].source
    distances = [torch.dist(*weight[source == neuron], p=float("inf")).item() for neuron in range(12)]
    assert min(distances) > 2e-5, "more than rounding; with the same parts for all outgoing weights, it would be less"


@pytest.mark.parametrize("algorithm", [PPO, DQN, SAC, TD3, "carry"])
def test_the_same_form_inherits_everything_exactly(algorithm: Any) -> None:
    form: dict[str, Any] = {"neuron": "plif"}
    form |= {} if algorithm == "carry" else {"coding": "population", "readout": "weighted"}
    parent, child = make(algorithm, **form), POLICIES.get(algorithm, SpikingRecurrentPolicy)
    child = child(parent.observation_space, parent.action_space, lambda _: 1e-3, net_arch=[12, 10], **form)
    assert any(not torch.equal(x, parent.state_dict()[name]) for name, x in child.state_dict().items())
    assert descend(parent, child) == []
    for name, x in child.state_dict().items():
        assert torch.equal(x, parent.state_dict()[name]), name


def silence(policy: Any, neurons: list[int]) -> None:
    """Make neurons of both hidden layers of the actor never spike."""
    for layer in (0, 2):
        body(policy).layers[layer].bias.data[neurons] = -100.0


def test_silent_neurons_go_first_and_nobody_misses_them() -> None:
    parent, child = make(PPO, actions=CHOICES), make_child(PPO, (7, 18), actions=CHOICES)
    silence(parent, [0, 3, 4, 8, 9])
    use = activity(parent, OBSERVATIONS)
    assert (use["actor.0"].size == 0).sum() == 5, "only these are silent"
    plan = inheritance([parent], child, [use], seed=0)
    inherit(child, parent, plan)
    assert plan.layers["actor.0"].source.tolist() == [1, 2, 5, 6, 7, 10, 11]
    assert not {0, 3, 4, 8, 9} & set(plan.layers["actor.1"].source[10:].tolist()), "nobody copies silent neurons"
    torch.testing.assert_close(outputs(child)[0], outputs(parent)[0])


def test_what_removed_neurons_pass_on_in_the_mean_goes_to_the_next_biases() -> None:
    parent, child, plain = make(PPO), make_child(PPO, (10, 9)), make_child(PPO, (10, 9))
    always, next_layer = [2, 5], body(parent).layers[2]
    body(parent).layers[0].bias.data[always] = 100.0
    next_layer.weight.data[:, always] /= 64  # unimportant, and the sums stay exact
    plan = inheritance([parent], child, [activity(parent, OBSERVATIONS)], seed=0)
    assert not set(always) & set(plan.layers["actor.0"].source.tolist())
    inherit(child, parent, plan)
    silent = {name: Descent(descent.source, 0 * descent.mean) for name, descent in plan.layers.items()}
    inherit(plain, parent, Inheritance(silent, 0))
    with torch.no_grad():
        currents = [body(policy).layers[2](body(policy).spikes(OBSERVATIONS)[0]) for policy in (child, plain, parent)]
    kept = plan.layers["actor.1"].source
    torch.testing.assert_close(currents[0], currents[2][..., kept])
    assert not torch.allclose(currents[1], currents[2][..., kept])
    error = [(outputs(policy)[0] - outputs(parent)[0]).square().mean() for policy in (child, plain)]
    assert error[0] < error[1]


@pytest.mark.parametrize("algorithm", [PPO, SAC, "carry"])
def test_activity_is_what_neurons_pass_on(algorithm: Any) -> None:
    policy = make(algorithm)
    use = activity(policy, OBSERVATIONS)
    assert use.keys() == {place for chain in chains(policy).values() for place in chain.layers()}
    assert all(
        layer.size.shape == (width,) for layer, width in zip(use.values(), [12, 10] * (len(use) // 2), strict=True)
    )
    with torch.no_grad():
        if algorithm is PPO:
            inner, last = body(policy).spikes(OBSERVATIONS)
            torch.testing.assert_close(use["actor.0"].mean, inner.mean((0, 1)))
            torch.testing.assert_close(use["actor.1"].mean, last.mean((0, 1)))
            latent = policy.mlp_extractor.value_net(OBSERVATIONS)
            torch.testing.assert_close(use["critic.1"].size, latent.abs().mean(0))
            torch.testing.assert_close(use["critic.1"].mean, latent.mean(0))
        if algorithm is SAC:
            seen = torch.cat([OBSERVATIONS, policy.actor(OBSERVATIONS, deterministic=True)], 1)
            torch.testing.assert_close(use["qf1.0"].size, policy.critic.qf1[:2](seen).mean(0))


def test_activity_leaves_policy_and_generators_as_they_were() -> None:
    policy = make(PPO, coding="rate", neuron="plif").train()
    generator = torch.get_rng_state()
    before = {name: x.clone() for name, x in policy.state_dict().items()}
    activity(policy, OBSERVATIONS)
    assert torch.equal(torch.get_rng_state(), generator)
    assert policy.training
    assert all(torch.equal(x, before[name]) for name, x in policy.state_dict().items())
    assert not any(module._forward_pre_hooks for module in policy.modules())


def test_tasks_of_one_organism_keep_a_trunk_in_common() -> None:
    tasks = [{"actions": BOX}, {"actions": CHOICES, "space": spaces.Box(-1, 1, (5,))}]
    parents = [make(PPO, (12, 10, 11), **task) for task in tasks]
    trunk = {name: parents[0].state_dict()[own] for name, own in trunk_names(parents[0]).items()}
    parents[1].load_state_dict({**parents[1].state_dict(), **{trunk_names(parents[1])[n]: x for n, x in trunk.items()}})
    uses = [activity(parents[0], OBSERVATIONS), activity(parents[1], torch.rand(20, 5))]
    children = [make_child(PPO, (15, 7, 13), **task) for task in tasks]
    plan = inheritance(parents, children[1], uses, seed=1)
    for child, parent in zip(children, parents, strict=True):
        assert inherit(child, parent, plan) == []
    means = [use["actor.1"].mean for use in uses]
    torch.testing.assert_close(plan.layers["actor.1"].mean, (means[0] + means[1]) / 2)
    states = [child.state_dict() for child in children]
    for name, own in trunk_names(children[0]).items():
        assert torch.equal(states[0][own], states[1][trunk_names(children[1])[name]]), name
    # One task alone would have chosen otherwise: the choice counts all.
    alone = inheritance(parents[:1], children[0], uses[:1], seed=1)
    assert not torch.equal(alone.layers["actor.1"].source, plan.layers["actor.1"].source)


def test_codes_with_one_neuron_for_each_value_share_weights() -> None:
    parent = make(PPO)
    for coding in ("rate", "latency", "phase"):
        child = make_child(PPO, coding=coding)
        assert descend(parent, child) == []
        assert torch.equal(body(child).layers[0].weight, body(parent).layers[0].weight)


CODES = [
    ("direct", "delta"),
    ("population", "rate"),
    ("population", {"kind": "population", "neurons_per_input": 4}),
    ({"kind": "population", "neurons_per_input": 2}, "delta"),
]


@pytest.mark.parametrize("algorithm", [PPO, DQN])
@pytest.mark.parametrize("codes", CODES, ids=str)
def test_the_first_layer_starts_anew_for_another_code(algorithm: Any, codes: Any) -> None:
    parent, child = make(algorithm, coding=codes[0]), make_child(algorithm, coding=codes[1])
    first, *inner = next(iter(chains(child).values())).synapses
    code = next(iter(chains(child).values())).code
    state = child.state_dict()
    own = {name: x.clone() for name, x in state.items() if name.startswith((f"{first}.", f"{code}."))}
    notes = descend(parent, child)
    assert len(notes) == 1
    assert "first layer starts anew" in notes[0]
    state = child.state_dict()
    assert all(torch.equal(state[name], x) for name, x in own.items())
    assert torch.equal(state[f"{inner[0]}.weight"], parent.state_dict()[f"{inner[0]}.weight"])


def test_notes_name_what_the_parent_cannot_give() -> None:
    parent = make(PPO, T=4, readout="weighted")
    child = make_child(PPO, T=2, readout="weighted", neuron="plif")
    name = "mlp_extractor.policy_net"
    assert descend(parent, child) == [
        f"{name}.layers.1.decay_logit: starts anew, because the parent's is not there",
        f"{name}.layers.3.decay_logit: starts anew, because the parent's is not there",
        f"{name}.decoder.weights: starts anew, because the parent's is of shape (4,)",
    ]
    assert torch.equal(body(child).layers[2].weight, body(parent).layers[2].weight)


@pytest.mark.parametrize("algorithm", [PPO, SAC])
def test_exploration_that_depends_on_the_state_keeps_its_size(algorithm: Any) -> None:
    parent, child = make(algorithm, use_sde=True), make_child(algorithm, WIDER, use_sde=True)
    descend(parent, child)
    spreads = []
    with torch.no_grad():
        for policy in (parent, child):
            if algorithm is PPO:
                distribution = policy.get_distribution(OBSERVATIONS)
            else:
                actor = policy.actor
                mean, log_std, rest = actor.get_action_dist_params(OBSERVATIONS)
                distribution = actor.action_dist.proba_distribution(mean, log_std, **rest)
            spreads.append(distribution.distribution.stddev)
    torch.testing.assert_close(spreads[1], spreads[0])


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    parent = make(PPO)
    plan = inheritance([parent], parent, None, seed=0)
    with pytest.raises(ValueError, match=r"net_arch: got 3 hidden layers in mlp_extractor.policy_net of the child"):
        inheritance([parent], make(PPO, (12, 10, 8)), None, seed=0)
    with pytest.raises(ValueError, match=r"policy: got the networks q_net.q_net, q_net_target.q_net for the child"):
        inheritance([parent], make(DQN), None, seed=0)
    with pytest.raises(ValueError, match=r"observation_space: got Box.* for the child, allowed .*"):
        inherit(make(PPO, space=spaces.Box(-1, 1, (4,))), parent, plan)
    with pytest.raises(ValueError, match=r"action_space: got Discrete\(4\) for the child"):
        inherit(make(PPO, actions=CHOICES), parent, plan)
    with pytest.raises(ValueError, match=r"plan: got widths \(parent, child\) \[\(12, 12\), \(10, 10\)\]"):
        inherit(make(PPO, WIDER), parent, plan)
    with pytest.raises(ValueError, match="uses: got 0 for 1 parents"):
        inheritance([parent], parent, [], seed=0)
    wrong = {place: Activity(torch.zeros(3), torch.zeros(3)) for place in plan.layers}
    with pytest.raises(ValueError, match=r"uses: got actor.0 of \[3\] and \[12\] neurons"):
        inheritance([parent], parent, [wrong], seed=0)


def test_nan_never_passes_silently() -> None:
    parent, child = make(PPO), make_child(PPO, WIDER)
    plan = inheritance([parent], child, None, seed=0)
    parent.value_net.bias.data.fill_(float("nan"))
    before = {name: x.clone() for name, x in child.state_dict().items()}
    with pytest.raises(ValueError, match=r"value_net.bias of the parent: got NaN or infinity"):
        inherit(child, parent, plan)
    assert all(torch.equal(x, before[name]) for name, x in child.state_dict().items())
