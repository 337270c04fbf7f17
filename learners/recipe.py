"""The recipe of a training: optimizer, schedules of learning rate and inner steps, average of the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from snn4.policies.gene import Gene

CHOICES = {"optimizer": ("adamw", "sgd"), "schedule": ("one_cycle", "cosine", "constant"), "loss": ("mean", "tet"),
           "gradient": ("surrogate", "rates")}  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """Settings of the training of a classifier."""

    epochs: int = 10
    """Passes over the training samples."""
    batch_size: int = 128
    """Images per step and process."""
    T: tuple[tuple[int, int], ...] | None = None
    """Inner steps by epoch: ``[[8, 1], [4, 4]]`` is 8 epochs at T = 1, then 4 at T = 4. None: the T of the network.
    Few steps are cheap, and for images as constant currents, weights trained with few steps also work with more."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd uses Nesterov momentum."""
    learning_rate: Annotated[float, Gene(1e-4, 0.2, log=True)] = 2e-3
    """Largest learning rate of the schedule."""
    weight_decay: float = 1e-2
    """Decay of weights; biases, norms and time constants do not decay. For sgd, the factor of the L2 term."""
    momentum: float = 0.9
    """Momentum of sgd; beta1 of adamw."""
    bias_scale: float = 1.0
    """Learning rate of biases, norms and time constants, as a multiple of the learning rate of weights."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """After the warm-up, one_cycle falls linearly, cosine falls by half a cosine, constant does not fall."""
    warmup: float = 0.2
    """Fraction of all steps in which the learning rate rises linearly."""
    final: float = 0.01
    """Learning rate at the end, as a fraction of the largest."""
    label_smoothing: float = 0.0
    """Fraction of a label that is spread evenly over all classes (Szegedy et al. 2016)."""
    mixup: float = 0.0
    """MixUp: parameter of the Beta distribution (Zhang et al. 2018); 0: off. With cutmix, a batch draws one of them."""
    cutmix: float = 0.0
    """CutMix: the same for pasted rectangles (Yun et al. 2019)."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights, which replaces the weights after training; 0: no average."""
    loss: Literal["mean", "tet"] = "mean"
    """Cross-entropy of the mean scores, or of the scores per step (temporal efficient training, Deng et al. 2022)."""
    gradient: Literal["surrogate", "rates"] = "surrogate"
    """How errors pass neurons: back through time with surrogate gradients; or through the rates of a converted network,
    at the cost of one step (tandem learning, Wu et al. 2021)."""
    clip: float | None = None
    """Largest norm of the gradient."""
    channels_last: bool = True
    """Memory format: faster for convolutions on CPUs and GPUs."""
    checkpoint_steps: int | None = None
    """Inner steps per segment that the backward pass recomputes, to save memory; None: no recomputation."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed are {', '.join(allowed)}")
        for name in ("epochs", "batch_size"):
            _require(name, 1 <= getattr(self, name) <= 10**6, self, "a whole number >= 1 and <= 1,000,000")
        for name in ("learning_rate", "bias_scale"):
            _require(name, 0 < getattr(self, name) < math.inf, self, "a finite number > 0")
        for name in ("weight_decay", "mixup", "cutmix"):
            _require(name, 0 <= getattr(self, name) < math.inf, self, "a finite number >= 0")
        for name in ("momentum", "warmup", "label_smoothing", "ema"):
            _require(name, 0 <= getattr(self, name) < 1, self, "a number from 0 to below 1")
        _require("final", 0 <= self.final <= 1, self, "a number from 0 to 1")
        _require("clip", self.clip is None or self.clip > 0, self, "null or a number > 0")
        in_time = self.gradient == "surrogate"
        _require("loss", in_time or self.loss == "mean", self, "mean where the gradient is rates")
        _require("checkpoint_steps", in_time or self.checkpoint_steps is None, self, "null where the gradient is rates")
        if self.T is not None and (min(map(min, self.T), default=0) < 1 or sum(n for n, _ in self.T) != self.epochs):
            raise ValueError(
                f"T: got {[list(pair) for pair in self.T]}, allowed are pairs [epochs, steps] of whole numbers >= 1 "
                f"whose epochs add up to {self.epochs}"
            )

    def T_of(self, epoch: int) -> int | None:
        """Inner steps in ``epoch`` (from 0); None: the T of the network."""
        for epochs, steps in self.T or ():
            if epoch < epochs:
                return steps
            epoch -= epochs
        return None


def lay_out(network: nn.Module, config: Recipe) -> None:
    """Convert the weights of ``network`` to the memory format of the recipe."""
    if config.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def learning_rate(config: Recipe, step: int, steps: int) -> float:
    """The learning rate at ``step`` of ``steps``."""
    warmup = config.warmup * steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (math.floor(warmup) + 1)
    progress = (step - warmup) / max(steps - warmup, 1)
    match config.schedule:
        case "one_cycle":
            scale = 1 - progress
        case "cosine":
            scale = (1 + math.cos(math.pi * progress)) / 2
        case "constant":
            scale = 1.0
    return config.learning_rate * (config.final + (1 - config.final) * scale)


def make_optimizer(config: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD in two groups: weights, and all vectors (biases, norms, time constants), without decay."""
    trained = [p for p in network.parameters() if p.requires_grad]
    channels = [p for p in trained if sum(side > 1 for side in p.shape) < 2]
    weights = [p for p in trained if sum(side > 1 for side in p.shape) >= 2]
    groups: list[dict[str, Any]] = [
        {"params": weights, "scale": 1.0, "weight_decay": config.weight_decay},
        {"params": channels, "scale": config.bias_scale, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise ValueError("network: got no trainable parameter, allowed is one or more")
    if config.optimizer == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(groups, config.learning_rate, config.momentum, nesterov=nesterov, fused=True)
    return torch.optim.AdamW(groups, config.learning_rate, (config.momentum, 0.999), fused=True)


def averaged_copy(config: Recipe, network: nn.Module) -> AveragedModel | None:
    """An exponential moving average of weights and norms' statistics, with a shorter memory at the start; None if the
    recipe has none."""
    if not config.ema:
        return None

    @torch.no_grad()
    def average(averages: list[Tensor], values: list[Tensor], n: Tensor) -> None:
        if not averages[0].is_floating_point():  # counters of batches
            for mean, value in zip(averages, values, strict=True):
                mean.copy_(value)
            return
        decay = min(config.ema, (1 + float(n)) / (10 + float(n)))
        torch._foreach_lerp_(averages, values, 1 - decay)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)  # type: ignore[arg-type]


def _require(name: str, holds: bool, config: Recipe, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{name}: got {getattr(config, name)}, allowed is {allowed}")
