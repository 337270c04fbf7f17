"""A whole examination: of networks that have learned scikit-learn's digits, of an untrained twin, of events."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from snn4.agent.evaluation.accuracy import recognize, select_exit
from snn4.agent.evaluation.classifier import Examination, ExaminationConfig, examine
from snn4.agent.show.classifier_page import indicator_rows, layer_rows, notes, tables
from snn4.agent.show.text import prefixed
from snn4.policies.metering.energy import ENERGY_MODELS
from snn4.policies.metering.meter import Meter
from snn4.policies.networks.ann import twin
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet

NAMES = [f"digit {number}" for number in range(10)]
CONFIG = ConvNetConfig(channels=(8, 16), in_channels=1, image_size=(8, 8), head="flatten", T=3)
QUICK = ExaminationConfig(decisions=3, metered=50, calibration=64)


def learned(network: Any, x: Tensor, labels: Tensor) -> Any:
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for chosen in [chosen for _ in range(5) for chosen in torch.randperm(len(x)).split(32)]:
        loss = nn.functional.cross_entropy(network(x[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def digits() -> list[TensorDataset]:
    """Training, validation and test."""
    images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    x, order = (images / 16).float().view(-1, 1, 8, 8), torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return [TensorDataset(x[part], labels[part].long()) for part in order.split([900, 300, 597])]


@pytest.fixture(scope="module")
def networks(digits: list[TensorDataset]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return learned(SpikingConvNet(CONFIG), *digits[0].tensors), learned(twin(CONFIG), *digits[0].tensors)


@pytest.fixture(scope="module")
def result(digits: list[TensorDataset], networks: Any) -> Examination:
    validation, test = (DataLoader(part, 100) for part in digits[1:])
    return examine(*networks, test, validation, NAMES, QUICK)


def test_rows_are_both_networks_in_both_precisions(result: Examination, networks: Any, digits: Any) -> None:
    snn, snn8, ann, ann8 = result.rows
    assert [(row.name, row.precision, row.steps) for row in result.rows] == [
        ("SNN", "fp32", 3), ("SNN", "int8", 3), ("ANN", "fp32", 1), ("ANN", "int8", 1),
    ]  # fmt: skip
    x, labels = digits[2].tensors
    for row, network in ((snn, networks[0]), (ann, networks[1])):
        with torch.no_grad():
            assert row.top1 == pytest.approx((network(x).argmax(-1) == labels).double().mean().item(), abs=0.01)
        assert row.top1 > 0.5, "chance is a tenth"
    assert snn8.top1 == pytest.approx(snn.top1, abs=0.03)
    assert ann8.top1 == pytest.approx(ann.top1, abs=0.02)
    assert snn8.bytes < snn.bytes / 3
    assert snn.cost.spikes_per_decision > 0 == ann.cost.spikes_per_decision
    assert (len(snn.timings), len(ann.timings), snn8.timings) == (2, 2, ())


def test_costs_are_of_samples_spread_over_the_test_set(result: Examination, networks: Any, digits: Any) -> None:
    chosen = np.linspace(0, 596, 50).round()
    for row, network in ((result.rows[0], networks[0]), (result.rows[2], networks[1])):
        with torch.no_grad(), Meter(network) as meter:
            network(digits[2].tensors[0][chosen])
        for name in ("effective_acs", "effective_macs", "spikes_per_decision", "memory_bytes"):
            assert getattr(row.cost, name) == pytest.approx(getattr(meter.cost(), name), rel=1e-3)
    assert result.metered == 50


def test_early_exit_is_chosen_on_validation_and_told_on_test_data(
    result: Examination, networks: Any, digits: Any
) -> None:
    validation, test = (recognize(networks[0], DataLoader(part, 100), 10) for part in digits[1:])
    assert result.chosen == select_exit(validation, 0.001)
    assert result.chosen is not None
    assert result.exit == test.exit(result.chosen.threshold)
    assert result.exit.mean_steps < 3


def test_the_table_holds_what_was_measured(result: Examination) -> None:
    summary = result.to_json()
    header, *rows = indicator_rows(summary)
    assert {len(row) for row in rows} == {len(header)} == {8 + len(ENERGY_MODELS)}
    columns = {name: [row[number] for row in rows] for number, name in enumerate(header)}
    assert columns["top-1 %"] == [f"{100 * row.top1:.2f}" for row in result.rows if row.top1 is not None]
    assert [text == "-" for text in columns["45nm fp32 J"]] == [False, True, False, True]
    assert [text == "-" for text in columns["45nm int8 J"]] == [True, False, True, False]
    assert [text == "-" for text in columns["45nm int8 memory J"]] == [True, False, True, False]
    assert [text == "-" for text in columns["loihi1 J"]] == [False, False, True, True]
    assert [text == "-" for text in columns["ms (p95)"]] == [False, True, False, True]
    assert [row[1] for row in layer_rows(summary["indicators"][0]["layers"])[1:]].count("lif") == 2
    assert any("top-1 % after t = 1 … 3:" in line for line in notes(summary))


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_is_whole_on_any_terminal(result: Examination, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(tables(result.to_json()))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("t = 1 …", "")
    for word in (prefixed(result.rows[0].cost.energy_joules["45nm_fp32"]), f"{100 * result.rows[0].top1:.2f}"):
        assert word in text


def test_json_is_plain_and_complete(result: Examination) -> None:
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert data == result.to_json()
    assert data["top1_accuracy_by_step"] == result.recognition.top1
    assert data["early_exit"]["test"] == dataclasses.asdict(result.exit)
    assert np.sum(data["confusion"]) == data["test_samples"] == 597
    assert data["indicators"][0]["energy_joules"]["45nm_fp32"] == result.rows[0].cost.energy_joules["45nm_fp32"]
    assert data["indicators"][0]["layers"][0]["name"] == "network.0"


def test_an_untrained_twin_has_a_cost_and_no_accuracy(networks: Any, digits: Any) -> None:
    test, state = [digits[2][:]], torch.get_rng_state()  # a DataLoader would draw a number
    found = examine(networks[0], None, test, None, NAMES, QUICK)
    assert torch.equal(torch.get_rng_state(), state)
    ann = found.rows[2]
    assert (ann.top1, ann.top5, ann.to_json()["cross_entropy_nats"]) == (None, None, None)
    assert ann.cost.effective_macs > 0
    assert ann.timings
    assert ann.cost == examine(networks[0], None, test, None, NAMES, QUICK).rows[2].cost
    # Without validation data there is nothing to choose by.
    assert (found.chosen, found.exit, found.rows[1].top1) == (None, None, None)
    assert found.rows[1].cost == found.rows[0].cost
    summary = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {row[1] for row in indicator_rows(summary)[2:]} == {"-"}
    assert any("early exit: -" in line for line in notes(summary))


def test_events_and_flips_are_examined() -> None:
    torch.manual_seed(0)
    net = SpikingConvNet(ConvNetConfig(channels=(4, 6), in_channels=2, n_classes=3, image_size=(8, 8)))
    data = [(torch.rand(5, 6, 2, 8, 8).round(), torch.arange(6) % 3) for _ in range(2)]
    found = examine(net, twin(net.config), data, data, ["a", "b", "c"], dataclasses.replace(QUICK, flip=True, steps=4))
    once = examine(net, twin(net.config), data, data, ["a", "b", "c"], dataclasses.replace(QUICK, steps=4))
    assert [row.steps for row in found.rows] == [4, 4, 1, 1]
    assert found.recognition.flip
    assert found.rows[0].cost.dense_macs == 2 * once.rows[0].cost.dense_macs
    assert found.rows[2].cost.dense_macs == 2 * once.rows[2].cost.dense_macs
    assert once.rows[0].cost.dense_macs == 4 * once.rows[2].cost.dense_macs
    mirrored = [any("mirror" in line for line in notes(each.to_json())) for each in (found, once)]
    assert mirrored == [True, False]


def test_data_that_can_be_used_once_are_refused(networks: Any, digits: Any) -> None:
    with pytest.raises(ValueError, match=r"validation: got an iterator.*list or a DataLoader"):
        examine(*networks, DataLoader(digits[2]), iter(DataLoader(digits[1])), NAMES)
    with pytest.raises(ValueError, match=r"scores: got 10 classes in batch 0, allowed is n_classes \(9\)"):
        examine(*networks, DataLoader(digits[2], 99), None, NAMES[:9])
    with pytest.raises(ValueError, match="batches: got no samples"):
        examine(*networks, DataLoader(digits[2], 99), [], NAMES)


@pytest.mark.parametrize(
    ("name", "value"), [("metered", 0), ("decisions", 0), ("calibration", 0), ("steps", 0), ("tolerance", 2.0)]
)
def test_bad_settings_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}: got {value}, allowed is"):
        ExaminationConfig(**{name: value})
