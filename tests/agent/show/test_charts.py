from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from snn4.agent.errors import BadInput
from snn4.agent.show.charts import MOST_POINTS, draw_course, draw_curve, draw_tradeoff, kept_in, svg, thinned

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


def test_charts_are_kept_in_files(tmp_path: Path) -> None:
    """Black on white, and the chart of the page is the same."""
    folder = tmp_path / "figures"
    with kept_in(folder):
        kept = draw_curve("loss", [2.0, 1.0])
        draw_tradeoff({"SNN": [(3.0, 1.0), (4.0, 2.0)], "ANN twin": [(900.0, 2.0)]}, "world", "nJ", "return")
    assert kept == draw_curve("loss", [2.0, 1.0])
    names = ["01-loss-over-epochs", "02-world-return-against-nj"]
    assert sorted(path.name for path in folder.iterdir()) == [f"{n}.{end}" for n in names for end in ("png", "svg")]
    text = (folder / "01-loss-over-epochs.svg").read_text()
    assert "#010203" not in text
    assert {"loss", "epoch"} <= words(ElementTree.fromstring(text))
    with Image.open(folder / "01-loss-over-epochs.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(BadInput, match=r"--figures: cannot make .*; name a new folder"), kept_in(folder):
        pass


def test_long_lines_are_thinned() -> None:
    points = [(float(x), 0.0) for x in range(123_457)]
    assert len(thinned(points)) <= MOST_POINTS + 1
    assert (thinned(points)[0], thinned(points)[-1]) == (points[0], points[-1])
    assert thinned(points[:500]) == points[:500]
