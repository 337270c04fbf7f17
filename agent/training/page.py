"""The report: one HTML file that needs nothing else, light or dark as its reader likes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from snn4.agent.evaluation.classifier import Examination
from snn4.agent.run.events import Event, Fitted, Validated
from snn4.agent.show import charts as pictures
from snn4.agent.show.tables import indicator_rows, layer_rows, notes
from snn4.policies.metering.energy import ENERGY_MODELS

_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
body { background: Canvas; color: CanvasText; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { display: inline-block; vertical-align: top; margin: .5rem 1rem .5rem 0; max-width: 100%; }
figure svg { max-width: 100%; height: auto; }
figcaption { opacity: .75; }
"""


def write_report(
    path: Path,
    result: Examination,
    title: str = "Report",
    curves: Mapping[str, Sequence[float | None]] | None = None,
) -> None:
    """Write the file ``path``; it is there completely, or as it was before.

    Args:
        path: of the HTML file; its folder exists.
        result: what to show.
        title: plain text, as all names in ``result`` and ``curves`` are: they are escaped.
        curves: values for each epoch by name, to draw how the network learned: ``{"training loss": [2.1, 0.9]}``.
    """
    write_page(path, title, _sections(result, curves or {}))


def write_curves(path: Path, title: str, curves: Mapping[str, Sequence[float | None]]) -> None:
    """Write the file ``path`` of a training that goes on: its ``curves`` alone, as in `write_report`."""
    write_page(path, title, _learning(curves) if curves else ["<p>No epoch is finished yet.</p>"])


def write_page(path: Path, title: str, sections: Iterable[str]) -> None:
    """Write ``path``, a page that needs nothing else; it is there completely, or as it was before."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(_page(title, "\n".join(sections)), encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def learning_curves(events: Iterable[Event]) -> dict[str, list[float | None]]:
    """What `write_report` draws of a training: loss and accuracy of each student, one value an epoch."""
    curves: dict[str, list[float | None]] = defaultdict(list)
    pieces: list[Fitted] = []
    for event in events:
        if isinstance(event, Fitted):
            pieces.append(event)
        elif isinstance(event, Validated):
            images = sum(piece.new_images for piece in pieces)
            loss = sum(piece.loss * piece.new_images for piece in pieces) / images if images else None
            curves[f"{event.being}: training loss"].append(loss)
            curves[f"{event.being}: validation loss"].append(event.loss)
            curves[f"{event.being}: validation top-1, %"].append(100 * event.top1)
            pieces = []
    return dict(curves)


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _sections(result: Examination, curves: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    yield heading("Indicators") + html_table(indicator_rows(result))
    yield "".join(f"<p>{escape(line)}</p>" for line in notes(result))
    yield heading("Accuracy and latency")
    yield figure(pictures.draw_accuracy(result), "Accuracy by the mean scores of all steps so far.")
    yield figure(pictures.draw_exit(result), "Early exit: a sample is decided as soon as its confidence is reached.")
    yield heading("Classes")
    yield figure(pictures.draw_confusion(result), "Confusion matrix; numbers are test samples.")
    yield figure(pictures.draw_classes(result), "Accuracy of each class.")
    yield heading("Spikes")
    if result.activity.layers:
        yield figure(pictures.draw_raster(result), f"Spikes for the first test sample: {_first(result)}.")
        yield figure(pictures.draw_rates(result), "Mean over test samples.")
    yield figure(pictures.draw_maps(result), "The first test sample, and where the first layer spikes.")
    yield html_table(layer_rows(result.rows[0].cost.layers))
    yield from _learning(curves)
    yield heading("Energy models") + energy_sources()


def _learning(curves: Mapping[str, Sequence[float | None]]) -> Iterator[str]:
    if drawn := [figure(pictures.draw_curve(name, values), "") for name, values in curves.items() if len(values)]:
        yield heading("Learning") + "".join(drawn)


def _first(result: Examination) -> str:
    """What the first test sample is, and what the network takes it for."""
    taken = int(result.activity.scores.mean(0).argmax())
    return f"{result.class_names[result.activity.label]}, taken for {result.class_names[taken]}"


def energy_sources() -> str:
    """A list of the energy models and where their figures come from."""
    items = "".join(f"<li>{escape(name)}: {escape(model.source)}</li>" for name, model in ENERGY_MODELS.items())
    return f"<ul>{items}</ul>"


def heading(text: str) -> str:
    """Of a section."""
    return f"<h2>{escape(text)}</h2>"


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row names the columns."""
    header, *body = rows
    lines = "".join(f"<tr>{_cells('td', row)}</tr>" for row in body)
    return f'<div class="wide"><table><tr>{_cells("th", header)}</tr>{lines}</table></div>'


def figure(svg: str, caption: str) -> str:
    """A picture with a line below it."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _cells(tag: str, row: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in row)
