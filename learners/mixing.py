"""Mixed samples: MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019), by torchvision."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

from snn4.learners.recipe import TrainingConfig


def mixed(config: TrainingConfig, x: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """``x`` (B, C, H, W) or (T, B, C, H, W) and labels (B,), or mixed and with probabilities (B, n_classes).

    Draws from torch's global generator.
    """
    kinds = [kind for kind in (config.mixup and v2.MixUp, config.cutmix and v2.CutMix) if kind]
    if not kinds:
        return x, labels
    kind = kinds[int(torch.randint(len(kinds), ()))]
    mix = kind(alpha=config.mixup if kind is v2.MixUp else config.cutmix, num_classes=n_classes)
    if x.dim() == 4:
        return mix(x, labels)  # type: ignore[no-any-return]
    x, targets = mix(x.transpose(0, 1), labels)
    return x.transpose(0, 1).contiguous(), targets
