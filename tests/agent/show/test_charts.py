from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from snn4.agent.show.charts import draw_course, draw_curve, svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text: str) -> ElementTree.Element:
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    return root


def words(root: ElementTree.Element) -> set[str]:
    return {"".join(text.itertext()).strip() for text in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("values", [[0.5], [2.0, 1.0, 0.5], [None, 0.5, None], [None], [float("nan"), 1.0], [1e9] * 99])
def test_a_curve_of_any_length(values: list[Any]) -> None:
    root = drawn(draw_curve("loss", values))
    assert {"loss", "epoch", "1"} <= words(root)


def test_few_epochs_are_named() -> None:
    names = {int(word) for word in words(drawn(draw_curve("x", [0.0] * 300))) if word.isdigit()} & set(range(1, 301))
    assert len(names) <= 10


@pytest.mark.parametrize("name", ["<b>", "a & b", '"x"', "$x_{", "ß"])
def test_names_are_text(name: str) -> None:
    root = drawn(draw_curve(name, [1.0, 2.0]))
    assert name in words(root)
    assert root.get("aria-label") == f"{name} over epochs"


def test_ids_are_each_picture_s_own() -> None:
    def draw(figure: Any) -> None:
        figure.subplots().plot([0, 1])

    ids = [{e.get("id") for e in drawn(svg(draw, (2, 2), label)).iter() if e.get("id")} for label in ("a", "b")]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert svg(draw, (2, 2), "a") == svg(draw, (2, 2), "a")


def test_pyplot_keeps_nothing() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    draw_curve("x", [1.0])
    assert plt.get_fignums() == before


def test_every_being_of_a_life_has_a_curve() -> None:
    names = ("SNN", "ANN twin", "ReLU twin")
    text = draw_course({name: [(0.0, 1.0), (1.0, 2.0)] for name in names}, "CartPole-v1", "return")
    assert [name for name in names if f">{name}<" in text] == list(names)
