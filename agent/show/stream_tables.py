"""What is told of a stream: events in lines, measures in rows of text, the matrix as a heatmap for terminals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table
from rich.text import Text

from snn4.agent.run.events import Began, Compared, Ended, Entered, Event, Noted, Recalled, Saved, Studied
from snn4.agent.show.tables import percent, prefixed
from snn4.agent.training.students import ANN_TWIN, NETWORK

NAMES = {NETWORK: "SNN", ANN_TWIN: "ANN twin"}
_PERCENTS = {
    "average_accuracy": "average {}, %", "average_incremental_accuracy": "average incremental {}, %",
    "forgetting": "forgetting, %", "backward_transfer": "backward transfer, %",
    "forward_transfer": "forward transfer, %",
}  # fmt: skip
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Red, green and blue from 0 to 1, as matplotlib's viridis."""


def describe(event: Event) -> str | None:
    """One line for the log; None for events that need none."""
    match event:
        case Began():
            goes_on = f"goes on after {event.age:,} images" if event.resumed else "begins"
            return f"{event.name} {goes_on}, seed {event.seed}: {len(event.tasks)} experiences"
        case Entered():
            return f"{NAMES[event.being]} meets experience {event.number + 1} ({event.task}): {event.steps:,} images"
        case Recalled():
            return f"{NAMES[event.being]} recalls after {event.learned}: {_recalled(event)}"
        case Compared():
            rows = event.scores["stream"], event.ann_twin["stream"]
            accuracies, lost = ([percent(row[key]) for row in rows] for key in ("average_accuracy", "forgetting"))
            return (
                f"average accuracy {accuracies[0]} % against the ANN twin's {accuracies[1]} %, "
                f"forgetting {lost[0]} against {lost[1]}"
            )
        case Saved():
            return f"saved {event.path} ({event.bytes / 1e6:.1f} MB, {event.seconds * 1e3:.0f} ms)"
        case Noted():
            return event.text
        case Ended():
            return f"stream {event.state} after {event.age:,} images{': ' + event.text if event.text else ''}"
    return None


def progress(event: Event) -> str | None:
    """One line for a piece of learning; None for other events."""
    if not isinstance(event, Studied):
        return None
    return (
        f"{NAMES[event.being]} experience {event.experience + 1}, epoch {event.epoch + 1}: {event.images:,}/"
        f"{event.total:,} images, loss {event.loss:.3f}, accuracy {event.accuracy:.1%}"
    )


def measure_rows(
    told: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] = NAMES, what: str = "accuracy"
) -> list[list[str]]:
    """Measures of each being, one a row; the first row names the columns.

    Args:
        told: of `snn4.agent.evaluation.matrix.retained`, with the cost of a decision if that is known, by being.
        names: of beings, for people.
        what: is measured.
    """
    rows = [[label.format(what), *(percent(one[key]) for one in told.values())] for key, label in _PERCENTS.items()]
    for key, unit in {"memory_bytes": "memory, bytes", "replay_bytes": "of these samples, bytes"}.items():
        rows.append([unit, *("-" if one[key] is None else f"{one[key]:,}" for one in told.values())])
    if all("energy_joules" in one for one in told.values()):
        rows.append(["spikes a decision", *(f"{one['spikes_per_decision']:,.0f}" for one in told.values())])
        rows += [
            [f"{model} J a decision", *(prefixed(one["energy_joules"][model]) for one in told.values())]
            for model in ("45nm_fp32", "45nm_int8")
        ]
    return [["", *(names[name] for name in told)], *rows]


def heatmap(matrix: Sequence[Sequence[float]], title: str) -> Table:
    """A row for each moment, a column for each experience, in percent; without colour what is not learned yet."""
    table = Table(title=title, box=None, padding=0, pad_edge=False, title_style="bold", header_style="dim")
    table.add_column("after ", justify="right", no_wrap=True)
    for number in range(len(matrix[0])):
        table.add_column(f"{number + 1:>3} ", justify="right", no_wrap=True)
    for learned, row in enumerate(matrix):
        cells = [_cell(value, known=number < learned) for number, value in enumerate(row)]
        table.add_row(Text(f"{learned} ", style="dim"), *cells)
    return table


def _cell(value: float, known: bool) -> Text:
    text = f"{100 * value:>3.0f} "
    if not known:
        return Text(text, style="dim")
    red, green, blue = _colour(value)
    ink = "black" if value > 0.6 else "white"
    return Text(text, style=f"{ink} on rgb({red},{green},{blue})")


def _colour(value: float) -> tuple[int, int, int]:
    place = max(0.0, min(value, 1.0)) * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True))
    return red, green, blue


def _recalled(event: Recalled) -> str:
    known, unknown = event.accuracies[: event.learned], event.accuracies[event.learned :]
    written = [" ".join(f"{100 * value:.0f}" for value in part) for part in (known, unknown)]
    mean = f" % (mean {100 * fmean(known):.1f})" if known else ""
    return f"{written[0]}{mean}{'; ' if known and unknown else ''}{f'not yet learned: {written[1]}' if unknown else ''}"
