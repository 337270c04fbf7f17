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

from snn4.agent.evaluation.classifier import Examination, ExaminationConfig, examine
from snn4.agent.run.events import Event, Fitted, Noted, Validated
from snn4.agent.show import charts as pictures
from snn4.agent.show.tables import indicator_rows, layer_rows, notes
from snn4.agent.training import page as report
from snn4.agent.training.page import learning_curves, write_report
from snn4.policies.networks.convnet import ConvNetConfig, SpikingConvNet
from snn4.policies.neurons import NeuronConfig

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
    without = Reader(report._page("", "\n".join(report._sections(dataclasses.replace(make_silent()), {}))))
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


def fitted(being: str, images: int, new: int, loss: float) -> Fitted:
    return Fitted(being, 0, images, 300, 4, loss, 0.5, 1e-3, new_images=new)


def test_learning_curves_are_means_over_epochs() -> None:
    story: list[Event] = [
        fitted("network", 30, 30, 2.0), Noted("x"), fitted("network", 100, 70, 1.0),
        Validated("network", 1, 100, 0.5, 1.5, best=True),
        Validated("network", 2, 200, 0.75, 1.25, best=True),  # nothing was told of what it learned
        fitted("ann_twin", 100, 100, 0.5), Validated("ann_twin", 1, 100, 1.0, 0.25, best=True),
        fitted("network", 250, 50, 9.0),  # an epoch that is not over
    ]  # fmt: skip
    assert learning_curves(story) == {
        "network: training loss": [pytest.approx(1.3), None],
        "network: validation loss": [1.5, 1.25],
        "network: validation top-1, %": [50.0, 75.0],
        "ann_twin: training loss": [0.5],
        "ann_twin: validation loss": [0.25],
        "ann_twin: validation top-1, %": [100.0],
    }
    assert learning_curves([]) == {}
