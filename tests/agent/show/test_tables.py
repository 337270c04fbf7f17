from __future__ import annotations

import dataclasses
import io

import pytest
import torch
from rich.console import Console

from snn4.agent.evaluation.classifier import Examination, ExaminationConfig, examine
from snn4.agent.show.tables import exit_line, indicator_rows, layer_rows, notes, percent, prefixed, table
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet


@pytest.fixture(scope="module")
def result() -> Examination:
    """Of an untrained network with more classes than five, without validation data."""
    torch.manual_seed(0)
    data = [(torch.rand(6, 1, 8, 8), torch.arange(6))]
    network = SpikingConvNet(ConvNetConfig(channels=(4, 8), in_channels=1, n_classes=6, T=2))
    return examine(network, None, data, None, [f"[{name}]" for name in "abcdef"], ExaminationConfig(decisions=1))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12.5, "12.5"), (1.234e-6, "1.234 µ"), (4e-12, "4 p"), (1973258, "1.973 M"), (1e-20, "1e-05 f"),
     (999.9, "999.9"), (1000, "1 k"), (None, "-")],
)  # fmt: skip
def test_numbers_have_prefixes(value: float | None, text: str) -> None:
    assert prefixed(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0, "0.00"), (1.0, "100.00"), (0.98765, "98.77")])
def test_percents(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_what_was_not_measured_is_a_dash(result: Examination) -> None:
    header, *rows = indicator_rows(result)
    top1 = header.index("top-1 %")
    assert [row[top1] == "-" for row in rows] == [False, True, True, True]
    assert [row[0] for row in rows] == ["SNN fp32", "SNN int8", "ANN fp32", "ANN int8"]
    assert exit_line(result) == "early exit: -, without validation data to choose its threshold on"


def test_layers_are_those_of_the_network(result: Examination) -> None:
    layers = result.rows[0].cost.layers
    header, *rows = layer_rows(layers)
    assert header == ["layer", "kind", "spikes", "rate", "ACs", "MACs", "parameters"]
    for row, layer in zip(rows, layers, strict=True):
        assert row[:2] == [layer.name, layer.kind]
        assert row[4:] == [prefixed(x) for x in (layer.effective_acs, layer.effective_macs, layer.parameters)]


@pytest.mark.parametrize(("width", "kinds"), [(160, 1), (80, 0)])
def test_layers_with_millions_of_operations_are_whole_on_narrow_terminals(
    result: Examination, width: int, kinds: int
) -> None:
    large = {"spikes": 91_234.5, "spike_rate": 0.01234, "effective_acs": 9.099e7, "effective_macs": 1.234e6}
    first, snn = result.rows[0].cost.layers[0], result.rows[0]
    name = "network.blocks.3.attention.projection.neuron"
    layer = dataclasses.replace(first, name=name, kind="SpikingSelfAttention", **large)
    shown = dataclasses.replace(snn, cost=dataclasses.replace(snn.cost, layers=[layer]))
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table(dataclasses.replace(result, rows=(shown, *result.rows[1:]))))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("t = 1 …", "")
    for word in ("network.blocks.3", "91.23 k", "0.01234", "90.99 M", "1.234 M"):
        assert word in text
    assert text.count("SpikingSelfAttention") == kinds


def test_notes_of_the_data_are_told(result: Examination) -> None:
    noted = dataclasses.replace(result, notes=("left out: 2 of 9 files",))
    assert notes(noted) == [*notes(result), "left out: 2 of 9 files"]
    assert (noted.to_json()["notes"], result.to_json()["notes"]) == (["left out: 2 of 9 files"], [])


@pytest.mark.parametrize(("width", "first"), [(400, "SNN fp32"), (60, "top-1")])
def test_a_narrow_terminal_sees_rows_as_columns(result: Examination, width: int, first: str) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table(result))
    lines = console.export_text().splitlines()
    body = lines[next(number for number, line in enumerate(lines) if "──" in line) + 1]
    assert body.split("  ")[0].strip().startswith(first)
