"""Attention against its definition, written out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from thresholds import NEAR
from torch import Tensor, nn

from snn4.policies.metering.meter import Meter
from snn4.policies.network import SpikingSequential, detach
from snn4.policies.networks.ann import without_time
from snn4.policies.networks.attention import Coincidences, Mask, SelfAttention, SpikeDrivenAttention
from snn4.policies.neurons import Neuron, NeuronConfig

HALF = NeuronConfig(tau_mem=2e-3, v_threshold=0.5)
SIZES = {"few tokens": (2, 3), "many tokens": (5, 4)}  # of heads with 8 channels


def spikes(*shape: int, rate: float = 0.4) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < rate).float()


def heads_of(x: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (M, heads, tokens, channels of a head), by index."""
    m, channels, height, width = x.shape
    d = channels // 3 // heads
    parts = torch.zeros(3, m, heads, height * width, d)
    for part, head, i in itertools.product(range(3), range(heads), range(d)):
        parts[part, :, head, :, i] = x[:, (part * heads + head) * d + i].reshape(m, -1)
    q, k, v = parts
    return q, k, v


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_orders_are_the_same_attention(size: tuple[int, int], layout: torch.memory_format) -> None:
    x = spikes(3, 48, *size)
    q, k, v = heads_of(x, heads=2)
    expected = torch.zeros(3, 16, *size)
    for m, head, i, j in itertools.product(range(3), range(2), *[range(q.shape[2])] * 2):
        attention = (q[m, head, i] * k[m, head, j]).sum() / 8
        row, column = divmod(i, size[1])
        expected[m, head * 8 : head * 8 + 8, row, column] += attention * v[m, head, j]
    assert expected.max() > 1
    assert torch.equal(SelfAttention(heads=2)(x.to(memory_format=layout)), expected)
    # and so, of whole numbers, are the two orders written out
    assert torch.equal((q @ k.mT) @ v, q @ (k.mT @ v))


def effective_and_dense(a: Tensor, b: Tensor) -> Tensor:
    """Operations of ``a @ b``, one by one: those without a factor 0, and all."""
    counts = [0, 0]
    for i, j, k in itertools.product(range(a.shape[0]), range(b.shape[1]), range(a.shape[1])):
        counts[0] += bool(a[i, k] * b[k, j] != 0)
        counts[1] += 1
    return torch.tensor(counts)


@pytest.mark.parametrize("size", [(1, 3), (3, 2)])
def test_operations_of_self_attention_are_counted_one_by_one(size: tuple[int, int]) -> None:
    x, expected = spikes(2, 24, *size, rate=0.3), torch.zeros(2, dtype=torch.long)
    for q, k, v in zip(*(part.flatten(0, 1) for part in heads_of(x, heads=2)), strict=True):
        if len(q) < 4:  # tokens, of heads with 4 channels
            expected += effective_and_dense(q, k.T) + effective_and_dense(q @ k.T, v)
        else:
            expected += effective_and_dense(k.T, v) + effective_and_dense(q, k.T @ v)
    assert 0 < expected[0] < expected[1]
    assert SelfAttention(heads=2).operations(x) == tuple(expected.tolist())


def test_spike_driven_attention_step_by_step() -> None:
    x = spikes(5, 2, 12, 3, 3)
    layer = SpikeDrivenAttention(Neuron(HALF))
    v, expected, decay = torch.zeros(2, 4), [], HALF.decay
    for step in x:
        query, key, value = step[:, :4], step[:, 4:8], step[:, 8:]
        v = decay * v + (key * value).sum((2, 3))
        assert (v - 0.5).abs().min() > NEAR
        fired = (v >= 0.5).float()
        v = v - 0.5 * fired
        expected.append(query * fired[:, :, None, None])
    y, last = layer(x)
    assert torch.equal(y, torch.stack(expected))
    assert set(y.unique().tolist()) == {0, 1}
    torch.testing.assert_close(last.v.flatten(1), v)
    first, state = layer(x[:2])
    second, state = layer(x[2:], detach(state))
    assert torch.equal(torch.cat([first, second]), y)
    assert torch.equal(state.v, last.v)
    constant, _ = layer(x[:1], steps=3)
    assert torch.equal(constant, layer(x[:1].repeat(3, 1, 1, 1, 1))[0])


def test_twin_of_spike_driven_attention() -> None:
    x = torch.randn(3, 12, 2, 2)
    q, k, v = x.chunk(3, 1)
    twin = without_time(SpikeDrivenAttention(Neuron(HALF)))
    torch.testing.assert_close(twin(x), q * torch.relu((k * v).sum((2, 3), keepdim=True)))


def test_gradients_pass_through_spike_driven_attention() -> None:
    x = spikes(3, 2, 12, 3, 3).requires_grad_()
    y, _ = SpikeDrivenAttention(Neuron(HALF))(x)
    y.sum().backward()
    assert x.grad is not None
    assert all((part != 0).any() for part in x.grad.chunk(3, 2))


def metered(network: nn.Module, x: Tensor) -> tuple[Any, dict[str, Any]]:
    with Meter(network) as meter, torch.no_grad():
        network(x)
    cost = meter.cost()
    return cost, {row.kind: row for row in cost.layers}


def test_meter_counts_self_attention() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 24, 1), Neuron(NeuronConfig()), SelfAttention(2), Neuron(HALF), nn.Conv2d(8, 3, 1)]
    network, x = SpikingSequential(*layers, nn.Flatten()).eval(), torch.rand(4, 5, 2, 3, 3) * 3
    qkv, _ = layers[1](layers[0](x.flatten(0, 1)).unflatten(0, (4, 5)))
    effective, dense = layers[2].operations(qkv.flatten(0, 1))  # type: ignore[operator]
    out = layers[2](qkv.flatten(0, 1))
    cost, rows = metered(network, x)
    attention = rows["SelfAttention"]
    assert (attention.effective_acs, attention.effective_macs) == (effective / 5, 0)
    assert attention.dense_macs == dense / 5 == 2 * 4 * 2 * 9 * 4 * 4
    assert attention.memory_bytes == 4 * (int(qkv.sum()) + out.numel()) / 5
    assert cost.effective_acs == sum(row.effective_acs for row in rows.values()) > attention.effective_acs > 0
    assert cost.energy_joules["loihi1"] is None
    neurons = [row for row in cost.layers if row.kind == "lif"]
    received = (out.unflatten(0, (4, 5)) != 0) | (layers[3](out.unflatten(0, (4, 5)))[0] != 0)
    assert neurons[1].active_neuron_updates == int(received.sum()) / 5


def test_meter_counts_real_values_of_a_twin_as_macs() -> None:
    torch.manual_seed(0)
    twin = nn.Sequential(nn.Conv2d(2, 12, 1), nn.ReLU(), SelfAttention(1), nn.Flatten(), nn.Linear(36, 2))
    _, rows = metered(twin, torch.randn(4, 2, 3, 3))
    assert rows["SelfAttention"].effective_macs > 0 == rows["SelfAttention"].effective_acs


def test_meter_counts_spike_driven_attention() -> None:
    torch.manual_seed(0)
    attention = SpikeDrivenAttention(Neuron(HALF))
    network = SpikingSequential(nn.Conv2d(2, 12, 1), Neuron(NeuronConfig()), attention, nn.Flatten(), nn.Linear(36, 2))
    x = torch.rand(4, 5, 2, 3, 3) * 3
    qkv, _ = network[1](network[0](x.flatten(0, 1)).unflatten(0, (4, 5)))
    q, k, v = qkv.chunk(3, 2)
    gate, _ = attention.neuron((k * v).sum((3, 4), keepdim=True))
    _, rows = metered(network, x)
    assert rows["Coincidences"].effective_acs == int((k * v).sum()) / 5 > 0
    assert rows["Mask"].effective_acs == int((q * gate).sum()) / 5 > 0
    assert rows["Coincidences"].dense_macs == rows["Mask"].dense_macs == 4 * 4 * 9
    assert rows["Mask"].memory_bytes == 4 * (int(q.sum()) + int(gate.sum()) + q.numel()) / 5


def test_half_precision_holds_small_numbers_of_spikes() -> None:
    x = spikes(2, 12, 3, 3)
    key, gate = x[:, :4], x[:, :4, :1, :1]
    expected = [SelfAttention(2)(x), Coincidences()(key, x[:, 4:8]), Mask()(key, gate)]
    half = x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = [SelfAttention(2)(half), Coincidences()(half[:, :4], half[:, 4:8]), Mask()(half[:, :4], gate.bfloat16())]
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == torch.bfloat16
        assert torch.equal(a.float(), b)
