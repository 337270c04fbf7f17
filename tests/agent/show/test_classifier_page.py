"""The test of a classifier as tables, and as whole, self-contained HTML that a strict parser reads, whatever the
classes are called."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from pages import Page
from rich.console import Console

from snn4.agent.evaluation.classifier import ExaminationConfig, examine
from snn4.agent.run.events import Evaluated, Event, Learned, Noted
from snn4.agent.show import classifier_charts as charts
from snn4.agent.show.classifier_page import (
    exit_line,
    indicator_rows,
    layer_rows,
    learning_curves,
    notes,
    sections,
    tables,
)
from snn4.agent.show.page import write_page
from snn4.agent.show.text import prefixed
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig

Summary = dict[str, Any]
STRANGE = ["<script>alert(1)</script>", "$x_{", "a & b", '"quoted"', "naïve ß", "[plain]", "never seen"]


def examined(v_threshold: float, validated: bool) -> Summary:
    torch.manual_seed(0)
    neuron = NeuronConfig(v_threshold=v_threshold)
    network = SpikingConvNet(ConvNetConfig(channels=(4, 6), n_classes=7, neuron=neuron, T=3))
    data = [(torch.rand(12, 3, 8, 8), torch.arange(12) % 6)]
    validation = data if validated else None
    return examine(network, None, data, validation, STRANGE, ExaminationConfig(decisions=2)).to_json()


@pytest.fixture(scope="module")
def summary() -> Summary:
    return examined(0.3, validated=True)


@pytest.fixture(scope="module")
def silent() -> Summary:
    """Of a network none of whose neurons ever spike, without validation data."""
    return examined(1e6, validated=False)


def learned(being: str, images: int, loss: float) -> Learned:
    return Learned(being, "digits", 0, images, 300, images, 0.5, [], {"loss": loss})


def validated(being: str, epoch: int, top1: float, loss: float) -> Evaluated:
    return Evaluated(being, "digits", 100 * epoch, {"digits": {"return_mean": top1, "loss": loss}}, number=epoch)


STORY: list[Event] = [
    learned("network", 30, 2.0), Noted("x"), learned("network", 100, 1.0), validated("network", 1, 0.5, 1.5),
    validated("network", 2, 0.75, 1.25),  # nothing was told of what it learned
    learned("ann_twin", 100, 0.5), validated("ann_twin", 1, 1.0, 0.25),
    learned("ann_twin", 250, 9.0),  # an epoch that is not over
    Evaluated("network", "digits", 300, {"digits": {"return_mean": 0.5}}, part="test", number=3),
]  # fmt: skip


@pytest.fixture(scope="module")
def page(summary: Summary, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(path, "Digits & <more>", sections(STORY, summary))
    return path.read_text(encoding="utf-8")


def test_the_page_nests_and_holds_all_numbers(page: str, summary: Summary) -> None:
    reader = Page(page)
    for rows in (indicator_rows(summary), layer_rows(summary["indicators"][0]["layers"])):
        for row in rows:
            assert all(text in reader.cells for text in row)
    assert all(line in reader.texts for line in notes(summary))
    assert "Digits & <more>" in reader.texts


def test_names_are_text_and_nothing_else(page: str) -> None:
    reader = Page(page)
    assert "script" not in reader.tags
    assert all(name in reader.texts for name in STRANGE)


def test_pictures_are_there_once_each(page: str, summary: Summary, silent: Summary) -> None:
    def drawn(events: list[Event], summary: Summary | None) -> int:
        return len(Page("".join(sections(events, summary))).pictures)

    assert len(Page(page).pictures) == Page(page).tags.count("figure") == 7 + 6
    assert drawn([], silent) == 7
    without = {key: value for key, value in summary.items() if key != "activity"}  # as in version 0.1
    assert drawn([], without) == 5
    assert drawn(STORY, None) == 6
    assert list(sections([], None)) == ["<p>No epoch is finished yet.</p>"]


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    reader = Page(page)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in reader.links)
    assert len(set(reader.ids)) == len(reader.ids)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.ids)
    assert "@import" not in page


def test_ink_is_the_pages(page: str) -> None:
    assert "currentColor" in page
    assert "color-scheme: light dark" in page
    assert "#010203" not in page
    assert not re.search(r"(fill|stroke): ?(#000000|black)", page)


def test_pictures_are_xml_and_equal_results_give_equal_ones(summary: Summary) -> None:
    layers = summary["activity"]["layers"]
    for draw, what in (
        (charts.draw_accuracy, summary), (charts.draw_confusion, summary),
        (charts.draw_raster, layers), (charts.draw_maps, summary["activity"]),
    ):  # fmt: skip
        assert ElementTree.fromstring(draw(what)).tag == "{http://www.w3.org/2000/svg}svg"
        assert draw(what) == draw(what)


def test_many_classes_and_layers_are_drawn_without_names(summary: Summary) -> None:
    n = 40
    many = {
        "classes": [f"class {number}" for number in range(n)], "class_accuracy": [0.5] * n, "confusion": [[1] * n] * n,
    }  # fmt: skip
    assert "class 3" not in charts.draw_confusion(many) + charts.draw_classes(many)
    layers = [{**summary["activity"]["layers"][0], "name": f"layer {number:03d}"} for number in range(60)]
    shown = re.findall(r"layer \d{3}", charts.draw_raster(layers))
    assert (len(set(shown)), "layer 000" in shown, "layer 059" in shown) == (8, True, True)


def test_learning_curves_are_means_over_epochs() -> None:
    assert learning_curves(STORY) == {
        "SNN: training loss": [pytest.approx(1.3), None],
        "SNN: validation loss": [1.5, 1.25],
        "SNN: validation top-1, %": [50.0, 75.0],
        "ANN twin: training loss": [0.5],
        "ANN twin: validation loss": [0.25],
        "ANN twin: validation top-1, %": [100.0],
    }
    assert learning_curves([]) == {}


# Tables


def printed(summary: Summary, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(tables(summary))
    return console.export_text()


def test_what_was_not_measured_is_a_dash(silent: Summary) -> None:
    header, *rows = indicator_rows(silent)
    top1 = header.index("top-1 %")
    assert [row[top1] == "-" for row in rows] == [False, True, True, True]
    assert [row[0] for row in rows] == ["SNN fp32", "SNN int8", "ANN fp32", "ANN int8"]
    assert exit_line(silent["early_exit"]) == "early exit: -, without validation data to choose its threshold on"


def test_layers_are_those_of_the_network(summary: Summary) -> None:
    layers = summary["indicators"][0]["layers"]
    header, *rows = layer_rows(layers)
    assert header == ["layer", "kind", "spikes", "rate", "ACs", "MACs", "parameters"]
    for row, layer in zip(rows, layers, strict=True):
        assert row[:2] == [layer["name"], layer["kind"]]
        assert row[4:] == [prefixed(layer[key]) for key in ("effective_acs", "effective_macs", "parameters")]


@pytest.mark.parametrize(("width", "kinds"), [(160, 1), (80, 0)])
def test_layers_with_millions_of_operations_are_whole_on_narrow_terminals(
    summary: Summary, width: int, kinds: int
) -> None:
    large = {"spikes": 91_234.5, "spike_rate": 0.01234, "effective_acs": 9.099e7, "effective_macs": 1.234e6}
    name = "network.blocks.3.attention.projection.neuron"
    snn, *others = summary["indicators"]
    layer = {**snn["layers"][0], "name": name, "kind": "SpikingSelfAttention", **large}
    text = printed({**summary, "indicators": [{**snn, "layers": [layer]}, *others]}, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text.replace("t = 1 …", "")
    for word in ("network.blocks.3", "91.23 k", "0.01234", "90.99 M", "1.234 M"):
        assert word in text
    assert text.count("SpikingSelfAttention") == kinds


@pytest.mark.parametrize(("width", "first"), [(400, "SNN fp32"), (60, "top-1")])
def test_a_narrow_terminal_sees_rows_as_columns(summary: Summary, width: int, first: str) -> None:
    lines = printed(summary, width).splitlines()
    body = lines[next(number for number, line in enumerate(lines) if "──" in line) + 1]
    assert body.split("  ")[0].strip().startswith(first)


def test_notes_of_the_data_are_told(summary: Summary) -> None:
    noted = {**summary, "notes": ["left out: 2 of 9 files"]}
    assert notes(noted) == [*notes(summary), "left out: 2 of 9 files"]
