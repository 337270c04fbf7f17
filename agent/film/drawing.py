"""One frame: the world on the left; spikes, membranes and numbers on the right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]

HEIGHT, SIDE, RASTER, MEMBRANES, EDGE, TEXT = 300, 300, 300, 14, 10, 22
"""Pixels: of the panels, of the edges around them, and of a line of text."""
CAPTION = 16
"""Pixels of the line above a raster."""
PAPER, INK, FAINT, SPIKE = (255, 255, 255), (28, 30, 38), (233, 235, 240), (214, 69, 65)
LOW, HIGH = np.array((66, 113, 174), float), np.array((214, 69, 65), float)
"""Colours of a membrane far below rest, and at the threshold."""


def frame(
    world: Pixels, rasters: Sequence[NDArray[np.bool_]], membranes: Sequence[NDArray[np.float32]], columns: int,
    lines: Sequence[str],
) -> Image.Image:  # fmt: skip
    """A frame.

    Args:
        world: the environment as it is seen (H, W, 3).
        rasters: spikes (neurons, up to ``columns``) of each layer.
        membranes: (neurons,) of each layer, in units of the threshold.
        columns: inner steps for which there is room.
        lines: text below.
    """
    size = (SIDE + RASTER + MEMBRANES + 4 * EDGE, HEIGHT + 2 * EDGE + TEXT * len(lines))
    picture = Image.new("RGB", size, PAPER)
    picture.paste(_fitted(world), (EDGE, EDGE))
    left, top = SIDE + 2 * EDGE, EDGE
    room = HEIGHT / len(rasters)
    draw, small, font = ImageDraw.Draw(picture), ImageFont.load_default(11), ImageFont.load_default(14)
    for number, (spikes, membrane) in enumerate(zip(rasters, membranes, strict=True)):
        upper = top + round(number * room)
        draw.text((left, upper), f"spikes of layer {number + 1}; membranes at the right", INK, small)
        height = round(room) - CAPTION - 2
        picture.paste(_scaled(_raster(spikes, columns), RASTER, height), (left, upper + CAPTION))
        picture.paste(_scaled(_heat(membrane), MEMBRANES, height), (left + RASTER + EDGE, upper + CAPTION))
    for number, line in enumerate(lines):
        draw.text((EDGE, HEIGHT + EDGE + 6 + TEXT * number), line, INK, font)
    return picture


def _fitted(world: Pixels) -> Image.Image:
    """The world in a square, centred on its own background."""
    picture = Image.fromarray(world)
    factor = SIDE / max(picture.size)
    smooth = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.NEAREST
    picture = picture.resize((round(picture.width * factor), round(picture.height * factor)), smooth)
    square = Image.new("RGB", (SIDE, HEIGHT), PAPER)
    square.paste(picture, ((SIDE - picture.width) // 2, (HEIGHT - picture.height) // 2))
    return square


def _raster(spikes: NDArray[np.bool_], columns: int) -> Pixels:
    """One pixel for each neuron and inner step, the latest step at the right."""
    pixels = np.full((spikes.shape[0], columns, 3), FAINT, np.uint8)
    pixels[:, columns - spikes.shape[1] :][spikes] = SPIKE
    return pixels


def _heat(membranes: NDArray[np.float32]) -> Pixels:
    """One pixel for each neuron: white at rest."""
    strength = np.abs(membranes).clip(0, 1)[:, None]
    colour = np.where(membranes[:, None] < 0, LOW, HIGH)
    return (strength * colour + (1 - strength) * 255).round().astype(np.uint8)[:, None]


def _scaled(pixels: Pixels, width: int, height: int) -> Image.Image:
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
