"""The gradient that is added in the backward pass, against a loss that contains the term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from sb3_cases import Case, body_and_head
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from torch import Tensor, nn

from snn4.learners.protection import acting_optimizer
from snn4.policies.acting.memory import Memory, MemoryConfig
from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.acting.spike_cost import free_spikes
from snn4.policies.coding import CodingConfig
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy

COST = 2.0


def make(kind: Any = "lif", coding: Any = "direct", readout: str = "rate", cost: float = COST, **more: Any) -> Any:
    torch.manual_seed(0)
    neuron = NeuronConfig(kind, tau_mem=5e-3, v_threshold=0.5, surrogate="sigmoid", **more)
    net = SpikingMLP(3, (16, 12), 5, neuron, CodingConfig(coding), readout, spike_cost=cost)
    with torch.no_grad():
        for linear in net.layers[::2]:
            linear.weight.mul_(3)  # lively enough that all layers spike
    return net


def mean_rate(trains: Sequence[Tensor], signed: bool = False) -> Tensor:
    """Spikes per neuron and step of all layers together; abs() has no slope at 0."""
    counts = (train.abs() if signed else train for train in trains)
    spikes = sum((count.sum() for count in counts), torch.zeros(()))
    return spikes / sum(train.numel() for train in trains)


def watched(net: SpikingMLP) -> SpikingMLP:
    """The same network, which runs layer by layer."""
    net.layers[1].register_forward_hook(lambda *_: None)
    return net


NETWORKS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("lif", "direct", "rate", {}),
    ("alif", "population", "weighted", {}),
    ("signed_if", "direct", "rate", {}),
    ("plif", "direct", "rate", {}),
    ("lif", "direct", "first_spike", {}),
]


@pytest.mark.parametrize("again", [False, True], ids=["once", "create_graph"])
@pytest.mark.parametrize(("kind", "coding", "readout", "more"), NETWORKS)
def test_gradients_are_those_of_a_term_of_the_loss(
    kind: str, coding: str, readout: str, more: dict[str, Any], again: bool
) -> None:
    net, x = make(kind, coding, readout, **more), torch.randn(9, 3, generator=torch.Generator().manual_seed(2))
    ways = [net, watched(make(kind, coding, readout, **more))]
    fused = ["FusedLayers" in type(way(x).grad_fn).__name__ for way in ways]
    assert fused == [kind in ("lif", "alif") and readout != "first_spike", False]
    grads = []
    for way in [*ways, net]:
        values = x.clone().requires_grad_()
        parameters = [values, *way.parameters()]
        if len(grads) < len(ways):
            loss = way(values).square().mean()
        else:
            trains = net.spikes(values)
            assert all(train.any() for train in trains)
            loss = net.decoder(trains[-1]).square().mean() + COST * mean_rate(trains, kind == "signed_if")
        grads.append(torch.autograd.grad(loss, parameters, create_graph=again))
    *got, wanted = grads
    for one in got:
        for a, b in zip(one, wanted, strict=True):
            assert b.any()
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_costs_nothing_without_learning() -> None:
    """In evaluation mode, with `free_spikes`, and at 0, gradients are those of the loss alone."""
    x, grads = torch.randn(9, 3), []
    free, evaluated, plain, charged = make(), make().eval(), make(cost=0.0), make()
    with free_spikes(nn.Sequential(free)):
        free_output = free(x)
    assert free.spike_cost == COST, "the cost comes back"
    for net, output in ((free, free_output), *((net, net(x)) for net in (evaluated, plain, charged))):
        grads.append(torch.autograd.grad(output.square().sum(), list(net.parameters())))
    for one in zip(*grads, strict=True):
        assert torch.equal(one[0], one[2])
        assert torch.equal(one[1], one[2])
        assert not torch.equal(one[3], one[2])


def test_padding_of_sequences_costs_nothing() -> None:
    """As sb3-contrib pads: three sequences of 7, 4 and 2 decisions, whose loss is a mean over these 13."""
    torch.manual_seed(0)
    memory = Memory(3, (9, 6), NeuronConfig(tau_mem=3e-3, v_threshold=0.3), MemoryConfig(), spike_cost=COST)
    mask = torch.arange(7).view(-1, 1) < torch.tensor([7, 4, 2])
    x = 3 * torch.randn(7, 3, 3) * mask.unsqueeze(-1)
    life = torch.zeros(memory.num_layers, 3, memory.hidden_size)
    grads = []
    for learns in (True, False):
        trains: list[Tensor] = []
        handles = [
            layer.register_forward_hook(lambda _, __, out, trains=trains: trains.append(out[0]))
            for layer in memory.train(learns).layers
            if isinstance(layer, Neuron) and layer.config.spikes
        ]
        out, _ = memory(x, (life, life))
        loss = out[mask].square().mean()
        if not learns:
            assert all(train[mask].any() for train in trains)
            loss = loss + COST * mean_rate([train[mask] for train in trains])
        grads.append(torch.autograd.grad(loss, list(memory.parameters())))
        for handle in handles:
            handle.remove()
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


UNCLIPPED = {"max_grad_norm": 1e9}
CASES = [
    Case(PPO, "Discrete", UNCLIPPED, {"critic": "spiking"}),
    Case(A2C, "Box", UNCLIPPED),
    Case(DQN, "Discrete", UNCLIPPED),
    Case(SAC, "Box"),
    Case(TD3, "Box"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_sb3_learns_with_the_term_in_its_loss(case: Case) -> None:
    """The first update of the actor with a cost, less that without, is the gradient of the term on its batch."""
    grads, batch = [], torch.empty(0)
    for cost in (0.0, 100.0):
        model = Case(case.algorithm, case.actions, case.kwargs, {**case.policy, "spike_cost": cost}).model()
        body, _ = body_and_head(model.policy)
        inputs, steps = list[Tensor](), list[list[Tensor]]()

        def see(_: Any, arguments: Any, inputs: list[Tensor] = inputs) -> None:
            inputs += [arguments[0].clone()] if torch.is_grad_enabled() else []

        def step(*_: Any, body: SpikingMLP = body, steps: Any = steps, inputs: Any = inputs) -> None:
            if not steps:
                steps.append([p.grad.clone() for p in body.parameters() if p.grad is not None])
                steps.append(inputs[-1:])

        body.register_forward_pre_hook(see)
        acting_optimizer(model.policy).register_step_pre_hook(step)
        before = [p.detach().clone() for p in body.parameters()]
        model.learn(40)
        grads.append(steps[0])
        batch = steps[1][0]
    fresh = Case(case.algorithm, case.actions, case.kwargs, case.policy).model()
    body, _ = body_and_head(fresh.policy)
    assert all(torch.equal(a, b) for a, b in zip(body.parameters(), before, strict=True))
    wanted = torch.autograd.grad(100 * mean_rate(body.spikes(batch)), list(body.parameters()))
    for without, having, want in zip(*grads, wanted, strict=True):
        assert want.any()
        torch.testing.assert_close(having - without, want, rtol=1e-3, atol=1e-4)


def test_only_the_actor_pays() -> None:
    policy: Any = Case(PPO, "Discrete", {}, {"critic": "spiking", "spike_cost": COST}).model().policy
    assert policy.mlp_extractor.policy_net.spike_cost == COST
    assert policy.mlp_extractor.value_net.spike_cost == 0
    for algorithm, actions in ((DQN, "Discrete"), (TD3, "Box")):
        policy = Case(algorithm, actions, {}, {"spike_cost": COST}).model().policy
        policy.set_training_mode(True)
        target = policy.q_net_target if algorithm is DQN else policy.actor_target
        assert all(not m.training for m in target.modules() if isinstance(m, SpikingMLP))


def test_recurrent_policies_spike_less() -> None:
    """With a cost that outweighs every return, a few updates silence a policy that carries its state."""
    spikes = []
    for cost in (0.0, 1e4):
        kwargs = {"net_arch": [16, 12], "neuron": NeuronConfig(tau_mem=3e-3, v_threshold=0.2), "spike_cost": cost}
        model: Any = RecurrentPPO(
            SpikingRecurrentPolicy, "CartPole-v1", policy_kwargs=kwargs, n_steps=32, batch_size=32, n_epochs=10,
            learning_rate=1e-2, seed=0, device="cpu",
        )  # fmt: skip
        model.learn(64)
        actor = model.policy.lstm_actor
        assert model.policy.lstm_critic.spike_cost == 0
        life = torch.zeros(actor.num_layers, 8, actor.hidden_size)
        trains: list[Tensor] = []
        for neuron in actor.layers[1:-1:2]:
            neuron.register_forward_hook(lambda _, __, out, trains=trains: trains.append(out[0]))
        actor.eval()(torch.randn(20, 8, 4, generator=torch.Generator().manual_seed(1)), (life, life))
        spikes.append(mean_rate(trains).item())
    assert spikes[1] < spikes[0]


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "1"])
def test_errors(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^spike_cost: got .*, allowed is a finite number >= 0$"):
        make(cost=value)
