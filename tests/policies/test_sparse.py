from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_cases import OBSERVATIONS, Case, body_and_head, predict
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from torch import Tensor, nn

from snn4.policies.acting.mlp import SpikingMLP
from snn4.policies.metering.meter import Meter
from snn4.policies.neurons import Neuron, NeuronConfig
from snn4.policies.recurrent import SpikingRecurrentPolicy
from snn4.policies.sb3 import PolicyConfig
from snn4.policies.sparse import SparseLinear

SPARSE = {"sparsity": 0.7}


def layers(network: nn.Module) -> list[SparseLinear]:
    return [layer for layer in network.modules() if isinstance(layer, SparseLinear)]


def absent(layer: nn.Linear) -> set[int]:
    return set((layer.weight.flatten() == 0).nonzero().flatten().tolist())


def weakest(weight: Tensor, number: int) -> set[int]:
    return set(weight.abs().flatten().argsort()[:number].tolist())


def net(sparsity: float = 0.7, seed: int = 0, **more: Any) -> Any:
    torch.manual_seed(seed)
    neuron = NeuronConfig(tau_mem=5e-3, v_threshold=0.3, v_leak=0.1)
    return SpikingMLP(5, (16, 12), 4, neuron, sparsity=sparsity, **more)


@pytest.mark.parametrize(("sparsity", "n"), [(0.5, 30), (0.7, 42), (0.95, 57), (0.01, 1)])
def test_the_weakest_are_absent(sparsity: float, n: int) -> None:
    torch.manual_seed(0)
    dense = nn.Linear(10, 6)
    torch.manual_seed(0)
    layer = SparseLinear(10, 6, sparsity)
    assert absent(layer) == weakest(dense.weight, n)
    assert torch.equal(layer.weight, dense.weight * layer.mask)
    assert torch.equal(layer.bias, dense.bias)


def test_one_synapse_is_left() -> None:
    assert absent(SparseLinear(1, 1, 0.95)) == set()
    assert len(absent(SparseLinear(2, 1, 0.95))) == 1


def test_a_dense_policy_is_as_before() -> None:
    assert list(net(0.0).state_dict()) == list(net(0.7).state_dict())
    assert all(type(layer) in (nn.Linear, Neuron) for layer in net(0.0).layers)


def test_shapes_without_values_and_other_types() -> None:
    with torch.device("meta"):
        outline = net()
    assert {name: x.shape for name, x in outline.state_dict().items()} == {
        name: x.shape for name, x in net().state_dict().items()
    }
    wide = net().double()
    wide(torch.randn(20, 5, dtype=torch.float64)).sum().backward()
    for layer in layers(wide):
        assert torch.equal(layer.weight.grad != 0, layer.weight.grad.bool() & layer.mask)


CASES = [
    Case(PPO, "Discrete", policy={**SPARSE, "critic": "spiking"}),
    Case(A2C, "Discrete", policy=SPARSE),
    Case(DQN, "Discrete", policy={**SPARSE, "optimizer_kwargs": {"weight_decay": 0.1}}),
    Case(SAC, "Box", policy=SPARSE),
    Case(TD3, "Box", {"policy_delay": 1, "learning_rate": 1e-2}, SPARSE),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_absent_synapses_stay_absent(case: Case, tmp_path: Path) -> None:
    model: Any = case.model()
    body, head = body_and_head(model.policy)
    born = [layer.weight.clone() for layer in layers(body)]
    assert [len(absent(layer)) for layer in layers(body)] == [round(0.7 * 3 * 24), round(0.7 * 24 * 16)]
    assert not absent(head)
    model.learn(64)
    for layer, weight in zip(layers(body), born, strict=True):
        assert torch.equal(layer.weight == 0, weight == 0)
        assert torch.equal(layer.mask, weight != 0)
        assert (layer.weight != weight)[layer.mask].any(), "the others learn"
    acting = {id(layer) for layer in layers(body)}
    targets = [layer for layer in layers(model.policy) if id(layer) not in acting]
    assert len(targets) == (2 if case.algorithm in (DQN, TD3) else 0), "critics stay dense"
    for layer, target in zip(layers(body), targets, strict=False):
        assert torch.equal(layer.mask, target.mask)
        assert torch.equal(target.weight == 0, ~target.mask)

    model.save(tmp_path / "model")
    loaded: Any = case.algorithm.load(tmp_path / "model", model.env)
    np.testing.assert_array_equal(predict(loaded), predict(model))
    for one, other in zip(layers(loaded.policy), layers(model.policy), strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.mask, other.mask)
    before = [layer.mask for layer in layers(loaded.policy)]
    loaded.learn(32, reset_num_timesteps=False)
    for layer, mask in zip(layers(loaded.policy), before, strict=True):
        assert torch.equal(layer.weight != 0, mask)


@pytest.mark.parametrize("case", [case for case in CASES if case.algorithm in (PPO, DQN, SAC)], ids=str)
def test_moments_of_a_denser_policy_move_no_absent_synapse(case: Case, tmp_path: Path) -> None:
    """`set_parameters` of a dense policy that has learned: pruned, with the moments of all its synapses."""
    dense = Case(case.algorithm, case.actions, case.kwargs, {**case.policy, "sparsity": 0.0}).model()
    dense.learn(64)
    dense.save(tmp_path / "dense")
    model: Any = case.model()
    model.set_parameters(tmp_path / "dense")
    body, _ = body_and_head(model.policy)
    masks = [layer.mask.clone() for layer in layers(body)]
    for layer, other in zip(layers(body), body_and_head(dense.policy)[0].layers[::2], strict=True):
        assert absent(layer) == weakest(other.weight, round(0.7 * layer.weight.numel()))
    model.learn(64)
    for layer, mask in zip(layers(body), masks, strict=True):
        assert torch.equal(layer.weight != 0, mask)


def test_absent_synapses_of_a_policy_that_carries_its_state() -> None:
    kwargs = {"net_arch": [16, 12], "neuron": NeuronConfig(tau_mem=3e-3, v_threshold=0.2), **SPARSE}
    model: Any = RecurrentPPO(
        SpikingRecurrentPolicy, "CartPole-v1", policy_kwargs=kwargs, n_steps=16, batch_size=16, n_epochs=2, seed=0,
        device="cpu",
    )  # fmt: skip
    born = [layer.weight.clone() for layer in layers(model.policy)]
    assert len(born) == 2
    assert not layers(model.policy.lstm_critic)
    model.learn(16)
    for layer, weight in zip(layers(model.policy), born, strict=True):
        assert torch.equal(layer.weight == 0, weight == 0)
        assert len(absent(layer)) == round(0.7 * weight.numel())
        assert not torch.equal(layer.weight, weight)


@pytest.mark.parametrize("watched", [False, True])
def test_gradients_are_those_of_a_dense_network_where_synapses_are(watched: bool) -> None:
    sparse, dense, x = net(), net(0.0), torch.randn(20, 5)
    dense.load_state_dict(sparse.state_dict())
    if watched:  # layer by layer
        sparse.layers[1].register_forward_hook(lambda *_: None)
    outputs = [network(x) for network in (sparse, dense)]
    assert ("FusedLayers" in type(outputs[0].grad_fn).__name__) == (not watched)
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for layer, other in zip(sparse.layers[::2], dense.layers[::2], strict=True):
        torch.testing.assert_close(layer.weight.grad, other.weight.grad * layer.mask, rtol=1e-4, atol=1e-6)
        assert (layer.weight.grad != 0).any()
        torch.testing.assert_close(layer.bias.grad, other.bias.grad, rtol=1e-4, atol=1e-6)


def test_the_engine_acts_for_sparse_networks() -> None:
    network, x = net(), torch.randn(6, 5)
    decided = network.decide(x.numpy())
    assert decided.any()
    np.testing.assert_allclose(decided, network(x).detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1),
        lambda parameters: torch.optim.AdamW(parameters, 0.1, weight_decay=0.1, fused=True),
        lambda parameters: torch.optim.RMSprop(parameters, 0.1, weight_decay=0.1),
    ],
)
def test_optimizers_leave_absent_synapses_alone(optimizer: Any) -> None:
    network = copy.deepcopy(net())
    masks, steps = [layer.mask.clone() for layer in layers(network)], optimizer(network.parameters())
    for _ in range(3):
        steps.zero_grad()
        network(torch.randn(20, 5)).square().sum().backward()
        steps.step()
    for layer, mask in zip(layers(network), masks, strict=True):
        assert torch.equal(layer.weight != 0, mask)


def test_weights_of_a_denser_policy_are_pruned() -> None:
    for giver in (net(0.0, seed=1), net(0.4, seed=1)):
        taker = net()
        given = {name: value.clone() for name, value in giver.state_dict().items()}
        taker.load_state_dict(given)
        for number, layer in zip((0, 2), layers(taker), strict=True):
            weight = given[f"layers.{number}.weight"]
            assert absent(layer) == weakest(weight, round(0.7 * weight.numel()))
            assert torch.equal(layer.weight, weight * layer.mask)


def test_weights_of_a_sparser_policy_make_room() -> None:
    """Synapses that were absent there begin at 0, spread over all neurons, and learn."""
    giver, taker = net(0.9), net(0.5, seed=1)
    taker.load_state_dict(giver.state_dict())
    for layer, other in zip(layers(taker), layers(giver), strict=True):
        assert torch.equal(layer.weight, other.weight)
        assert int(layer.mask.sum()) == layer.mask.numel() - round(0.5 * layer.mask.numel())
        assert (layer.mask & ~other.mask).any(0).sum() > layer.in_features / 2
    taker(torch.randn(20, 5)).square().sum().backward()
    for layer, other in zip(layers(taker), layers(giver), strict=True):
        assert (layer.weight.grad != 0)[layer.mask & ~other.mask].any()
    dense = net(0.0, seed=2)
    dense.load_state_dict(giver.state_dict())
    assert torch.equal(dense.layers[0].weight, giver.layers[0].weight)


def test_a_present_weight_of_0_is_present_when_loaded() -> None:
    saved, loaded = net(), net(seed=1)
    with torch.no_grad():
        for layer in layers(saved):
            layer.weight[tuple(layer.mask.nonzero()[3])] = 0
    loaded.load_state_dict(saved.state_dict())
    for layer, other in zip(layers(loaded), layers(saved), strict=True):
        assert torch.equal(layer.mask, other.mask)
        torch.testing.assert_close(layer.weight, other.weight, rtol=0, atol=1e-37)


def test_absent_synapses_cost_nothing() -> None:
    """The meter, against a walk over all synapses."""
    model = Case(PPO, "Discrete", policy={**SPARSE, "T": 3}).model()
    body, head = body_and_head(model.policy)
    with Meter(model.policy) as meter:
        predict(model)
    cost = meter.cost()
    first, second = (train.detach() for train in body.spikes(torch.as_tensor(OBSERVATIONS)))
    operations, received = [0, 0, 0], 0
    (a, b), inputs = layers(body), [torch.as_tensor(OBSERVATIONS)[None], first, second]
    for number, (layer, signal) in enumerate(zip((a, b, head), inputs, strict=True)):
        for row in signal.flatten(0, 1):
            for _, sender in itertools.product(range(layer.out_features), row.nonzero().flatten().tolist()):
                operations[number] += int(layer.weight[_, sender] != 0)
    for number, (layer, signal) in enumerate(((a, inputs[0].expand(3, -1, -1)), (b, first))):
        reached = (signal != 0).float() @ (layer.weight != 0).float().t() > 0
        received += int((reached | (inputs[number + 1] != 0)).sum())
    n = len(OBSERVATIONS)
    assert cost.effective_macs == pytest.approx(operations[0] / n)
    assert cost.effective_acs == pytest.approx((operations[1] + operations[2]) / n)
    assert 0 < operations[1] < int(first.sum()) * 16
    assert cost.active_neuron_updates == pytest.approx(received / n)
    assert cost.dense_macs == 3 * 24 + 3 * (24 * 16 + 16 * 5)
    weights = 3 * 24 + 24 * 16 + 16 * 5
    assert cost.connection_sparsity == pytest.approx((len(absent(a)) + len(absent(b))) / weights)
    assert cost.parameters == weights + 24 + 16 + 5
    buffers = sum(x.nbytes for x in body.buffers())
    assert cost.footprint_bytes == cost.bytes + buffers == 4 * cost.parameters + buffers
    row = next(layer for layer in cost.layers if layer.parameters == 24 * 16 + 16)
    values = operations[1] + 16 * 3 * n + int(first.sum()) + 16 * 3 * n  # weights, biases, inputs, outputs
    assert row.memory_bytes == pytest.approx(4 * values / n), "weights that are absent are not read"


@pytest.mark.parametrize("value", [-0.1, 0.96, 1.0, float("nan"), "0.5"])
def test_errors(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^sparsity: got .*, allowed is a number from 0 to 0.95$"):
        net(value)
    with pytest.raises(ValueError, match=r"^sparsity: got .*, allowed is a number from 0 to 0.95$"):
        PolicyConfig(sparsity=value)
    with pytest.raises(ValueError, match=r"^sparsity: got"):
        Case(PPO, "Discrete", policy={"sparsity": value}).model()
