from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from snn4.agent.examination import Examination, ExaminationConfig, examine
from snn4.agent.tables import exit_line, indicator_rows, layer_rows, percent, prefixed, table
from snn4.policies.convnet import ConvNetConfig, SpikingConvNet


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
    header, *rows = layer_rows(result.rows[0].cost.layers)
    parameters = header.index("parameters")
    assert sum(int(row[parameters]) for row in rows) == result.rows[0].cost.parameters
    assert [row[0] for row in rows] == [layer.name for layer in result.rows[0].cost.layers]


@pytest.mark.parametrize(("width", "first"), [(400, "SNN fp32"), (60, "top-1")])
def test_a_narrow_terminal_sees_rows_as_columns(result: Examination, width: int, first: str) -> None:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table(result))
    lines = console.export_text().splitlines()
    body = lines[next(number for number, line in enumerate(lines) if "──" in line) + 1]
    assert body.split("  ")[0].strip().startswith(first)
