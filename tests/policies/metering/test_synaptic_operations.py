from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from snn4.policies.metering.synaptic_operations import (
    crossed,
    fan_out,
    recurrent_operations,
    sample_rows,
    touched_weights,
)


def sparse(*shape: int) -> Tensor:
    return torch.randn(shape) * (torch.rand(shape) < 0.5)


def pruned(layer: Any) -> Any:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(torch.rand_like(parameter) < 0.6)
    return layer


LAYERS = {
    "linear": (nn.Linear(5, 4), (3, 5)),
    "conv1d": (nn.Conv1d(2, 3, 3, padding=1), (3, 2, 7)),
    "conv2d": (nn.Conv2d(2, 4, 3, stride=2, padding=1), (3, 2, 6, 5)),
    "grouped, dilated": (nn.Conv2d(4, 4, 3, dilation=2, groups=2), (2, 4, 6, 6)),
    "circular": (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (2, 2, 4, 4)),
    "conv3d": (nn.Conv3d(1, 2, 2), (2, 1, 3, 3, 3)),
}


def matrix(layer: nn.Module, sample: torch.Size) -> Tensor:
    """The layer as a dense matrix (inputs, outputs), from its outputs for one input at a time."""
    one_by_one = torch.eye(sample.numel()).reshape(-1, *sample)
    return (layer(one_by_one) - layer(torch.zeros(1, *sample))).flatten(1).detach()


@pytest.mark.parametrize("name", LAYERS)
def test_operations_are_the_non_zero_products(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    layer, x = pruned(layer), sparse(*shape)
    products = x.flatten(1)[:, :, None] * matrix(layer, x.shape[1:])
    assert torch.equal(crossed(layer, (x != 0).float()).flatten(1), (products != 0).sum(1).float())
    fan = fan_out(layer, x.shape[1:])
    assert float(((x != 0) * fan).sum()) == torch.count_nonzero(products)
    assert torch.all(fan <= fan_out(layer, x.shape[1:], dense=True))


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "linear"])
def test_a_weight_is_touched_where_its_product_alone_is_not_zero(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[name]
    layer, x = pruned(copy.deepcopy(layer)), (torch.rand(shape) < 0.1).float()
    alone, touched = copy.deepcopy(layer), 0
    for number in range(layer.weight.numel()):
        nn.init.zeros_(alone.weight)
        alone.weight.data.view(-1)[number] = layer.weight.data.view(-1)[number]
        touched += int(crossed(alone, x).flatten(1).any(1).sum())
    assert 0 < touched < shape[0] * int(torch.count_nonzero(layer.weight))
    assert touched_weights(layer, x) == touched


def test_dense_operations_ignore_zero_weights_and_padding() -> None:
    linear, conv = nn.Linear(5, 4), nn.Conv2d(1, 1, 3, padding=1)
    nn.init.zeros_(linear.weight)
    assert fan_out(linear, torch.Size([5]), dense=True).tolist() == [4.0] * 5
    assert fan_out(linear, torch.Size([5])).tolist() == [0.0] * 5
    expected = [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]  # corners, edges, the middle
    assert fan_out(conv, torch.Size([1, 3, 3]), dense=True).tolist() == [expected]


def test_rows_are_samples_of_all_steps() -> None:
    assert sample_rows(nn.Linear(5, 4), torch.zeros(7, 3, 5)).shape == (21, 5)
    assert sample_rows(nn.Conv2d(2, 4, 3), torch.zeros(21, 2, 6, 5)).shape == (21, 2, 6, 5)


@torch.inference_mode()
def test_works_in_inference_mode() -> None:
    assert fan_out(nn.Linear(2, 3), torch.Size([2])).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("started", [False, True], ids=["from zeros", "from a state"])
def test_recurrent_operations_step_by_step(kind: type[nn.RNNBase], started: bool) -> None:
    torch.manual_seed(0)
    layer = pruned(kind(3, 4, num_layers=2))
    x, hidden = sparse(5, 2, 3), sparse(2, 2, 4) if started else None
    h = torch.zeros(2, 2, 4) if hidden is None else hidden
    state: Any = (h, torch.zeros(2, 2, 4)) if kind is nn.LSTM else h
    effective = dense = 0.0
    for step in x:
        h = state[0] if kind is nn.LSTM else state
        _, state = layer(step[None], state)
        above = (state[0] if kind is nn.LSTM else state)[0]  # the output of the first layer, the input of the second
        for number, values in enumerate((step, above)):
            for weight, operand in ((f"weight_ih_l{number}", values), (f"weight_hh_l{number}", h[number])):
                matrix = getattr(layer, weight)
                effective += float(((operand[:, None] * matrix) != 0).sum())
                dense += len(operand) * matrix.numel()
    assert recurrent_operations(layer, x, hidden) == (effective, dense)


def test_lstm_takes_four_gates_of_all_inputs_and_states() -> None:
    assert recurrent_operations(nn.LSTM(3, 8), torch.randn(5, 2, 3), torch.ones(1, 2, 8)) == (
        5 * 2 * 4 * (3 + 8) * 8, 5 * 2 * 4 * (3 + 8) * 8,
    )  # fmt: skip


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, bidirectional=True), nn.LSTM(3, 4, proj_size=2)])
def test_recurrent_layers_that_are_not_counted(layer: nn.RNNBase) -> None:
    with pytest.raises(ValueError, match=r"^network: got LSTM\(3, 4.*, allowed is one direction without projection"):
        recurrent_operations(layer, torch.zeros(1, 1, 3), None)
