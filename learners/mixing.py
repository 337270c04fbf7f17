"""Mixed samples: MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019), from torchvision."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from snn4.learners.recipe import Recipe


def mixed(config: Recipe, x: Tensor, labels: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Mixed ``x`` (B, C, H, W) or (T, B, C, H, W) with probabilities (B, n_classes).

    Each sample is mixed with the previous one, in the same way for all bins of events. Draws come from torch's global
    generator. Without mixing, ``x`` and ``labels`` (B,) are unchanged.
    """
    kinds = [kind for kind in (config.mixup and v2.MixUp, config.cutmix and v2.CutMix) if kind]
    if not kinds:
        return x, labels
    kind = kinds[int(torch.randint(len(kinds), ()))]
    mix = kind(alpha=config.mixup if kind is v2.MixUp else config.cutmix, num_classes=n_classes)
    if x.dim() == 4:
        return mix(x, labels)  # type: ignore[no-any-return]
    video, targets = mix(tv_tensors.Video(x.transpose(0, 1)), labels)  # torchvision's type for (B, T, C, H, W)
    return video.as_subclass(Tensor).transpose(0, 1).contiguous(), targets
