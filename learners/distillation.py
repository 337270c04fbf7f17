"""What a pupil learns from a teacher: the losses of distillation, and their weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

WEIGHTS = ("labels", "logits", "features", "steps", "attention")
CHOICES = {"matched": ("rates", "currents"), "steps_from": ("next", "mean")}


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """Weights and settings of the losses, whose weighted sum is learned."""

    labels: float = 0.5
    """Weight of the recipe's own loss, the cross-entropy with the labels."""
    logits: float = 0.5
    """Weight of the divergence from the teacher's answers: Kullback-Leibler at ``temperature``, times its square
    (Hinton et al. 2015)."""
    temperature: float = 1.0
    """Divisor of all scores before their softmax. High ones (4 in Tian et al. 2020) show how similar the teacher finds
    the classes, and take longer to learn."""
    features: float = 0.0
    """Weight of the mean squared difference between the teacher's features and the pupil's, after a learned 1 x 1
    convolution. Maps of different sizes are averaged to the smaller one; it needs one teacher."""
    matched: Literal["rates", "currents"] = "rates"
    """What represents the pupil in ``features``, as a mean over steps: the output of its layer (rates, for a layer of
    neurons), or the input of its last neurons."""
    blur: float = 0.0
    """Fraction of places of the pupil's features that are blanked at random, and that two learned convolutions must
    restore before they are compared (BKDSNN, Xu et al. 2024); 0: no blur."""
    pupil_layer: str | None = None
    """Name of the pupil's layer for ``features``, as in ``named_modules()``. None: its last map before the readout."""
    teacher_layer: str | None = None
    """The same for the teacher."""
    steps: float = 0.0
    """Weight of what the inner steps teach each other: Kullback-Leibler at ``temperature``; it needs no teacher."""
    steps_from: Literal["next", "mean"] = "next"
    """Who teaches a step: the one after it, or the mean of all."""
    attention: float = 0.0
    """Weight of the squared difference between the attention maps of a Spikformer and those of its teacher, a vision
    transformer or Spikformer with as many tokens (after Zagoruyko & Komodakis 2017)."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in WEIGHTS:
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed is a finite number >= 0")
        if not any(getattr(self, name) for name in WEIGHTS):
            raise ValueError(f"labels: got 0, and 0 for every other loss; allowed is one above 0: {', '.join(WEIGHTS)}")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature: got {self.temperature}, allowed is a finite number > 0")
        if not 0 <= self.blur < 1:
            raise ValueError(f"blur: got {self.blur}, allowed is a number from 0 to below 1")

    @property
    def looks_inside(self) -> bool:
        """Whether layers inside the networks are compared, and not only their scores."""
        return bool(self.features or self.attention)

    @property
    def asks(self) -> bool:
        """Whether a teacher is needed."""
        return bool(self.logits or self.looks_inside)


def probabilities(logits: Tensor, temperature: float) -> Tensor:
    """The mean probabilities (B, classes) of several teachers with ``logits`` (teachers, B, classes)."""
    return (logits / temperature).softmax(-1).mean(0)


def divergence(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of ``scores`` (…, classes) from the probabilities ``wanted``, times T^2.

    The factor keeps the gradients as large as those of the labels at every temperature.
    """
    answers = (scores / temperature).log_softmax(-1)
    return F.kl_div(answers, wanted.expand_as(answers), reduction="none").sum(-1).mean() * temperature**2


def over_time(scores: Tensor, temperature: float, steps_from: Literal["next", "mean"]) -> Tensor:
    """The divergence of each step's ``scores`` (T, B, classes) from those that teach it; 0 for one step."""
    if len(scores) == 1:
        return scores.new_zeros(())
    teaching = scores[1:] if steps_from == "next" else scores.mean(0)
    learning = scores[:-1] if steps_from == "next" else scores
    return divergence(learning, (teaching.detach() / temperature).softmax(-1), temperature)


def attention_difference(pupil: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared distance between maps (B, N, N), each divided by its norm: scales of attention do not matter."""
    both = [F.normalize(maps.flatten(1), dim=1) for maps in (pupil, teacher)]
    return (both[0] - both[1]).square().sum(1).mean()


def blurred(features: Tensor, fraction: float) -> Tensor:
    """``features`` (B, C, H, W) or (B, C) with a random ``fraction`` of their places blanked in all channels."""
    shape = (len(features), 1, *features.shape[2:]) if features.dim() == 4 else features.shape
    return features * (torch.rand(shape, device=features.device) >= fraction)
