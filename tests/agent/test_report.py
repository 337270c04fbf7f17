"""The report is whole, self-contained HTML that a strict parser reads, whatever the classes are called."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from snn4.agent import pictures, report
from snn4.agent.activity import watch
from snn4.agent.examination import Examination, ExaminationConfig, examine
from snn4.agent.recognition import Recognizer
from snn4.agent.report import write_report
from snn4.agent.tables import indicator_rows, layer_rows, notes
from snn4.policies.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import Neuron, NeuronConfig

STRANGE = ["<script>alert(1)</script>", "$x_{", "a & b", '"quoted"', "naïve ß", "plain", "never seen"]
CURVES = {"training <loss>": [2.0, 1.0, 0.5], "validation": [None, 0.5, None], "none": []}


def make(**fields: Any) -> SpikingConvNet:
    torch.manual_seed(0)
    config = ConvNetConfig(channels=(4, 6), n_classes=7, neuron=NeuronConfig(v_threshold=0.3), T=3)
    return SpikingConvNet(dataclasses.replace(config, **fields))


@pytest.fixture(scope="module")
def result() -> Examination:
    data = [(torch.rand(12, 3, 8, 8), torch.arange(12) % 6)]
    return examine(make(), None, data, data, STRANGE, ExaminationConfig(decisions=2))


@pytest.fixture(scope="module")
def page(result: Examination, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, result, "Digits & <more>", CURVES)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Checks that elements nest, and collects texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name.endswith(("href", "src")):
                self.links.append(value or "")
        if tag not in ("meta",):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_nests_and_holds_all_numbers(page: str, result: Examination) -> None:
    reader = Reader(page)
    for rows in (indicator_rows(result), layer_rows(result.rows[0].cost.layers)):
        for row in rows:
            assert all(text in reader.cells for text in row)
    assert all(line in reader.texts for line in notes(result))
    assert "Digits & <more>" in reader.texts


def test_names_are_text_and_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert "script" not in reader.tags
    assert all(name in reader.texts for name in STRANGE)
    assert "training <loss>" in reader.texts


def test_pictures_are_there_once_each_and_curves_that_have_points(page: str) -> None:
    reader = Reader(page)
    assert reader.tags.count("svg") == reader.tags.count("figure") == 9
    without = Reader(report._page(dataclasses.replace(make_silent()), "", {}))
    assert without.tags.count("svg") == 7


def make_silent() -> Examination:
    """A network none of whose neurons ever spike."""
    net = make(neuron=NeuronConfig(v_threshold=1e6))
    data = [(torch.rand(4, 3, 8, 8), torch.arange(4))]
    return examine(net, None, data, None, STRANGE, ExaminationConfig(decisions=1))


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    reader = Reader(page)
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


def test_pictures_are_xml_and_equal_results_give_equal_ones(result: Examination) -> None:
    for draw in (pictures.draw_accuracy, pictures.draw_confusion, pictures.draw_raster, pictures.draw_maps):
        assert ElementTree.fromstring(draw(result)).tag == "{http://www.w3.org/2000/svg}svg"
        assert draw(result) == draw(result)


def test_many_classes_and_layers_are_drawn_without_names(result: Examination) -> None:
    names = tuple(f"class {number}" for number in range(40))
    recognition = dataclasses.replace(result.recognition, n_classes=40)
    many = dataclasses.replace(result, class_names=names, recognition=recognition)
    assert "class 3" not in pictures.draw_confusion(many) + pictures.draw_classes(many)
    layers = [dataclasses.replace(result.activity.layers[0], name=f"layer {number:03d}") for number in range(60)]
    deep = dataclasses.replace(result, activity=dataclasses.replace(result.activity, layers=tuple(layers)))
    shown = re.findall(r"layer \d{3}", pictures.draw_raster(deep))
    assert (len(set(shown)), "layer 000" in shown, "layer 059" in shown) == (8, True, True)


def test_a_report_that_cannot_be_made_leaves_the_old_one(
    result: Examination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(self: Path, *_: Any, **__: Any) -> None:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_report(path, result)
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_activity_is_what_the_neurons_gave() -> None:
    net, x = make().eval(), torch.rand(1, 3, 8, 8)
    found: list[torch.Tensor] = []
    neurons = [module for module in net.modules() if isinstance(module, Neuron)]
    handles = [layer.register_forward_hook(lambda _, __, out: found.append(out[0])) for layer in neurons]
    with torch.no_grad():
        scores = net(x)
    for handle in handles:
        handle.remove()
    activity = watch(Recognizer(net), x, 3, neurons=10)
    assert torch.equal(activity.scores.mean(0, keepdim=True), scores)
    assert torch.allclose(activity.picture, x[0].mean(0))
    names = [name for name, module in net.named_modules() if isinstance(module, Neuron)]
    assert [layer.name for layer in activity.layers] == names
    for layer, spikes in zip(activity.layers, found, strict=True):
        assert layer.n_neurons == spikes[0].numel()
        assert layer.rate == pytest.approx(spikes.mean().item())
        assert layer.map is not None
        assert torch.allclose(layer.map, spikes[:, 0].mean((0, 1)))
        flat = spikes.flatten(1)
        assert torch.equal(layer.spikes[:, [0, -1]], flat[:, [0, -1]])
        assert layer.spikes.shape == (3, 10)
    assert sum(layer.spikes.sum() for layer in activity.layers) > 0
    assert not any(module._forward_hooks for module in net.modules() if isinstance(module, nn.Module))


def test_activity_of_events_has_their_steps() -> None:
    activity = watch(Recognizer(make(), steps=2), torch.rand(5, 1, 3, 8, 8), 0)
    assert activity.picture.shape == (8, 8)
    assert [len(layer.spikes) for layer in activity.layers] == [2, 2]
