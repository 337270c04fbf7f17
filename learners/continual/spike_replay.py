"""Replay from a layer inside the network: spikes are kept as bits, an ANN's activity as floats.

Latent replay is by Pellegrini et al. (2020); with compressed spikes, by Dequino et al. (2024). Layers before the split
learn only in the first experience. If they kept learning, from new samples only, kept spikes would no longer match the
spikes of old samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from snn4.learners.continual.experiences import Batches, NumberedSamples, numbers_of
from snn4.learners.continual.memories import Kept
from snn4.learners.continual.numbered_model import NumberedModel


@dataclass(frozen=True)
class Code:
    """The storage format of a latent: spikes (T, B, …) as bits, or activity (B, …) as floats.

    Args:
        shape: of one sample, (T, …) or (…).
        spiking: whether all values are 0 or 1.
    """

    shape: tuple[int, ...]
    spiking: bool

    @property
    def sample_bytes(self) -> int:
        n = int(np.prod(self.shape))
        return -(-n // 8) if self.spiking else 4 * n

    def packed(self, x: Tensor) -> Tensor:
        """(T, B, …) -> uint8 (B, bytes); floats (B, …) -> float32 (B, values).

        Raises:
            ValueError: for values other than 0 and 1, from layers that output means or sums of spikes.
        """
        if not self.spiking:
            return x.flatten(1).float().cpu()
        if not ((x == 0) | (x == 1)).all():
            raise ValueError("layer: got outputs other than 0 and 1, allowed is a layer of single spikes")
        bits = x.transpose(0, 1).flatten(1).bool().cpu().numpy()
        return torch.from_numpy(np.packbits(bits, axis=1))

    def unpacked(self, x: Tensor) -> Tensor:
        """The inverse of `packed`, float32."""
        if not self.spiking:
            return x.view(len(x), *self.shape)
        bits = np.unpackbits(x.numpy(), axis=1, count=int(np.prod(self.shape)))
        return torch.from_numpy(bits).view(len(x), *self.shape).transpose(0, 1).float()


@torch.no_grad()
def latent_code(model: NumberedModel, x: Tensor) -> Code:
    """The code for the latent of raw samples ``x``; ValueError if a spiking network's latent is not single spikes."""
    with model.evaluated():
        latent, spiking = model.latent(x), model.split.spiking
    code = Code(tuple(latent[:, 0].shape if spiking else latent[0].shape), spiking)
    code.packed(latent)
    return code


class SpikeReplay(SupervisedTemplate):  # type: ignore[misc]
    """New samples pass the whole network; kept samples, stored as spikes at the split, join them there.

    Experiences share the memory equally, with random samples of each.

    Args:
        memory: number of samples, over all experiences.
        batch_size_mem: kept samples per new mini-batch.
        code: the storage format of kept samples.
        samples: the training samples.
    """

    def __init__(
        self, *, memory: int, batch_size_mem: int, code: Code, samples: NumberedSamples, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.memory = memory
        self.batch_size_mem = batch_size_mem
        self.code = code
        self.samples = samples
        self.groups: list[dict[str, Tensor]] = []
        """Codes, labels and tasks of each experience."""
        self._old: Any = None

    def forward(self) -> Tensor:
        model: NumberedModel = self.model
        latent = model.latent(model.sight.images(self.mb_x))
        if self._old is not None:
            codes, *targets = next(self._old)
            latent = torch.cat([latent, self.code.unpacked(codes).to(latent.device)], dim=1 if self.code.spiking else 0)
            new = (self.mb_y, self.mb_task_id)
            self.mbatch = [self.mb_x, *(torch.cat([x, y.to(x.device)]) for x, y in zip(new, targets, strict=True))]
        return model.from_latent(latent, self.mb_task_id)

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        if self.groups:
            whole = [torch.cat([group[name] for group in self.groups]) for name in ("codes", "labels", "tasks")]
            self._old = Batches(whole, self.batch_size_mem).endless()

    @torch.no_grad()
    def _after_training_exp(self, **kwargs: Any) -> None:
        share = self.memory // (len(self.groups) + 1)
        numbers = numbers_of(self.experience.dataset)
        chosen = numbers[torch.randperm(len(numbers))[:share]]
        with self.model.evaluated():
            codes = [self.code.packed(self.model.latent(self.samples.images(part))) for part in chosen.split(256)]
        self.groups = [{name: x[:share] for name, x in group.items()} for group in self.groups]
        new = {"labels": self.samples.labels[chosen], "tasks": self.samples.tasks[chosen]}
        self.groups.append({"codes": torch.cat(codes), **new})
        super()._after_training_exp(**kwargs)

    def kept(self) -> Kept:
        return {"groups": self.groups}

    def restore(self, kept: Kept, samples: NumberedSamples) -> None:
        self.groups = kept["groups"]
