"""Draws the pictures of docs/codes.md with the codes themselves: python docs/draw_codes.py [FOLDER]."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn4.policies.coding import CodingConfig, DeltaEncoder, PopulationEncoder, make_encoder
from snn4.policies.decoding import make_decoder

try:
    import matplotlib
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit("matplotlib: got none, needed to draw; install it with pip install matplotlib")

matplotlib.use("svg")
# Text stays text, ids come from a fixed salt: small files that are the same at every drawing.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "codes", "font.size": 9, "axes.titlesize": 9})

T = 16
ON, OFF, GREY = "#1f5fa8", "#c2452d", "#9aa0a6"
BOUNDS = np.zeros(1, np.float32), np.ones(1, np.float32)
VALUES = torch.linspace(0.01, 0.99, 17)[:, None]  # no multiples of 1/16, whose late bits are all 0
TRAINS = torch.zeros(T, 4)
for neuron, steps in enumerate([(1, 4, 7, 10, 13), (8, 9, 10, 11), (13, 14), ()]):
    TRAINS[list(steps), neuron] = 1


def encode(kind: Any, **config: Any) -> Tensor:
    """Spikes (T, 17) of `VALUES`; delta's OFF spikes as -1."""
    out = make_encoder(1, T, CodingConfig(kind, **config), BOUNDS)(VALUES).detach()
    return out[..., 0] - out[..., 1] if kind == "delta" else out[..., 0]


def raster(axes: Any, spikes: Tensor, title: str, rows: Tensor = VALUES) -> None:
    """A short bar for each spike of ``spikes`` (T, n), at the heights ``rows`` (n, 1)."""
    for sign, colour in ((1, ON), (-1, OFF)):
        t, row = np.nonzero(spikes.numpy() == sign)
        axes.plot(t, rows[row, 0], "|", color=colour, markersize=95 / len(rows), markeredgewidth=1.6)
    axes.set(xlim=(-0.7, len(spikes) - 0.3), ylim=(-0.06, 1.06), xticks=range(0, T, 5), xlabel="step", title=title)


def direct() -> Any:
    figure, axes = plt.subplots(figsize=(4, 2.6))
    for value in (0.2, 0.5, 0.9):
        axes.step(np.arange(T + 1) - 0.5, [value] * (T + 1), color=ON)
        axes.text(T - 0.3, value, f"{value}", va="center")
    axes.set(
        xlim=(-0.7, T + 1.5),
        ylim=(0, 1),
        xticks=range(0, T, 5),
        xlabel="step",
        ylabel="current",
        title="the value at every step",
    )
    return figure


def rate() -> Any:
    torch.manual_seed(0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    raster(left, encode("rate"), "Poisson")
    raster(right, encode("rate", deterministic=True), "deterministic: evenly spread")
    left.set_ylabel("value")
    return figure


def latency() -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    raster(left, encode("latency"), "the larger the earlier")
    raster(right, encode("latency", latency_threshold=0.3), "latency_threshold 0.3: small values are silent")
    left.set_ylabel("value")
    return figure


def delta() -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    raster(left, encode("delta"), "an observation: ON (blue), OFF (red)")
    left.set_ylabel("value")
    signal = 0.5 + 0.4 * torch.sin(torch.linspace(0, 9, 60)) * torch.linspace(0.3, 1, 60)
    encoder = make_encoder(1, T, CodingConfig("delta", delta_threshold=0.08), BOUNDS)
    assert isinstance(encoder, DeltaEncoder)
    spikes = encoder.over_time(signal.view(-1, 1, 1))[0][:, 0]
    right.plot(signal, color=GREY)
    right.step(
        range(60), 0.5 + 0.08 * (spikes[:, 0] - spikes[:, 1]).cumsum(0), where="post", color="black", linewidth=1
    )
    for channel, colour in ((0, ON), (1, OFF)):
        fired = spikes[:, channel].nonzero()[:, 0]
        right.plot(fired, torch.zeros(len(fired)), "|", color=colour, markersize=10, markeredgewidth=1.6)
    right.set(xlabel="step", ylim=(-0.06, 1.06), title="a signal over time, and the reference that follows")
    return figure


def population() -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), sharey=True)
    encoder = make_encoder(1, T, CodingConfig("population", neurons_per_input=8), BOUNDS)
    assert isinstance(encoder, PopulationEncoder)
    places = np.linspace(-0.1, 1.1, 60)
    for centre, width in zip(encoder.centres[0].tolist(), encoder.log_widths[0].exp().tolist(), strict=True):
        left.plot(np.exp(-(((places - centre) / width) ** 2) / 2), places, color=GREY, linewidth=1)
    left.axhline(0.4, color=ON, linestyle="--")
    left.set(xlabel="activity", ylabel="value", title="receptive fields, and the value 0.4")
    raster(right, encoder(torch.tensor([[0.4]])).detach()[:, 0], "spikes of the fields", encoder.centres.detach().T)
    return figure


def phase() -> Any:
    figure, axes = plt.subplots(figsize=(4, 2.6))
    raster(axes, encode("phase"), "bits of the value, twice")
    axes.axvline(7.5, color=GREY, linewidth=1)
    axes.set_ylabel("value")
    return figure


def decoder(kind: str, title: str, curves: Callable[[Any, Any], None]) -> Any:
    """Four spike trains with what ``kind`` makes of them, beside ``curves``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6), width_ratios=(3, 2))
    raster(left, TRAINS, "four neurons, and their decoded values", torch.arange(4.0)[:, None])
    decoded = make_decoder(kind, T, 0.85)
    curves(right, decoded)
    for row, value in enumerate(decoded(TRAINS).tolist()):
        left.text(T - 0.2, row, f"{value:.2f}", va="center")
    left.set(xlim=(-0.7, T + 1.8), ylim=(-0.6, 3.6), yticks=range(4), ylabel="neuron")
    right.set(xlabel="step", title=title)
    return figure


def weights(axes: Any, decoded: Any) -> None:
    axes.bar(range(T), decoded.weights.detach(), color=ON, width=0.7)
    axes.set_ylim(0, 0.2)


def learned(axes: Any, decoded: Any) -> None:
    """Weights after learning from values that stand in a phase code."""
    spikes = torch.randint(0, 2, (T, 512, 1), generator=torch.Generator().manual_seed(0)).float()
    target = torch.tensordot(0.5 ** (torch.arange(T) % 8 + 2.0), spikes, dims=1)
    optimiser = torch.optim.Adam(decoded.parameters(), 0.02)
    start = decoded.weights.detach().clone()
    for _ in range(300):
        optimiser.zero_grad()
        (decoded(spikes) - target).square().mean().backward()
        optimiser.step()
    axes.bar(range(T), decoded.weights.detach(), color=ON, width=0.7)
    axes.step(np.arange(T + 1) - 0.5, [*start, start[-1]], where="post", color="black", linewidth=1)


def spiked_yet(axes: Any, decoded: Any) -> None:
    for row, style in ((0, "-"), (1, "--"), (2, ":")):
        spiked = np.maximum.accumulate(TRAINS[:, row].numpy())
        axes.step(range(T), spiked, where="post", color=ON, linestyle=style, label=f"neuron {row}")
    axes.legend(fontsize=7)


DRAWINGS: dict[str, Callable[[], Any]] = {
    "direct": direct, "rate": rate, "latency": latency, "delta": delta, "population": population, "phase": phase,
    "decoder_rate": lambda: decoder("rate", "what a spike counts", weights),
    "decoder_membrane": lambda: decoder("membrane", "what a spike counts (decay 0.85)", weights),
    "decoder_weighted": lambda: decoder("weighted", "learned from a phase code; line: at first", learned),
    "decoder_first_spike": lambda: decoder("first_spike", "has spiked by now; its mean is the value", spiked_yet),
}  # fmt: skip


def main(folder: Path) -> None:
    """Write every drawing into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        figure = draw()
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "codes")
