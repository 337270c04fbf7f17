"""Samples for a classifier: batches in an order that can be entered anywhere, for one process or many."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from snn4.envs.data.augmentation import Augmentation


class Pixels(Protocol):
    """A source of uint8 images (B, C, H, W), or event frames (B, T, 2, H, W), by row numbers (B,)."""

    def __getitem__(self, rows: Tensor, /) -> Tensor: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Changed:
    """Pixels that are changed when they are used: the original may be a file larger than the memory."""

    pixels: Pixels
    change: Callable[[Tensor], Tensor]
    """Changes each sample by itself; a function that can be sent to other processes."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        return self.change(self.pixels[rows])

    def __len__(self) -> int:
        return len(self.pixels)


class Samples:
    """Some rows of a data set, with their labels.

    Args:
        pixels: of the whole data set, shared by all of its parts.
        labels: class of each row of the data set (N,), int64.
        rows: of this part.
        mean: of each channel, which is subtracted; images are in 0 to 1, event frames are counts.
        std: of each channel; the result is divided by it.
        augmentation: applied by `batches` on request.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Tensor,
        rows: Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augmentation: Augmentation,
        is_events: bool = False,
    ) -> None:
        self.pixels = pixels
        self.rows = rows
        self.augmentation = augmentation
        self.is_events = is_events
        self.labels = labels[rows]
        scale = 1.0 if is_events else 255.0
        self._shift = scale * torch.tensor(mean).view(-1, 1, 1)
        self._factor = 1 / (scale * torch.tensor(std).view(-1, 1, 1))

    def __len__(self) -> int:
        return len(self.rows)

    def n_batches(self, batch_size: int, drop_last: bool = False, world_size: int = 1) -> int:
        """Batches per epoch and process, for ``world_size`` processes."""
        _positive(batch_size=batch_size, world_size=world_size)
        rounds, remainder = divmod(len(self), batch_size * world_size)
        return rounds + (remainder > 0 and not drop_last)

    def batches(
        self,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        epoch: int = 0,
        first: int = 0,
        augment: bool = False,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """An epoch from batch ``first`` on: images (B, C, H, W), or events (T, B, 2, H, W), float32, and labels (B,).

        The order depends only on ``shuffle_seed`` (None: as stored) and ``epoch``. The augmentation of a sample depends
        only on these and the sample. So starting at ``first`` gives the same batches as the whole epoch from there on.
        The global random state is neither read nor changed.

        All ``world_size`` processes get the same number of batches, and together they see each sample once. A remainder
        that does not fill a batch for every process is divided into smaller batches, or left out with ``drop_last``.

        Raises:
            ValueError: naming the argument, also if some batch has no sample for some process.
        """
        self._check(batch_size, first, drop_last, rank, world_size, workers)
        n = self.n_batches(batch_size, drop_last, world_size)
        shares = _Shares(len(self), batch_size, drop_last, rank, world_size)
        batches = _Epoch(self, shuffle_seed, epoch, augment, shares)
        if workers == 0:
            return (batches[number] for number in range(first, n))
        generator = torch.Generator()  # the default is the global one
        loader = DataLoader[tuple[Tensor, Tensor]](
            batches,  # type: ignore[arg-type]  # it needs only __getitem__
            batch_size=None,
            sampler=range(first, n),
            num_workers=workers,
            collate_fn=tuple,
            generator=generator,
        )
        return iter(loader)

    def positions(
        self, batch_size: int, *, shuffle_seed: int | None = None, epoch: int = 0, first: int = 0,
        drop_last: bool = False, rank: int = 0, world_size: int = 1,
    ) -> Iterator[Tensor]:  # fmt: skip
        """The positions (B,) in this part of the samples in each batch of `batches` with the same arguments."""
        self._check(batch_size, first, drop_last, rank, world_size, 0)
        shares = _Shares(len(self), batch_size, drop_last, rank, world_size)
        order = _Epoch(self, shuffle_seed, epoch, False, shares)
        return (order.positions(number) for number in range(first, self.n_batches(batch_size, drop_last, world_size)))

    def take(self, positions: Tensor, numbers: Tensor | None) -> tuple[Tensor, Tensor]:
        """Samples at ``positions`` of this part, augmented by random ``numbers`` (B,) unless None, and their labels."""
        x = self.pixels[self.rows[positions]]
        x = x if numbers is None else self.augmented(x, numbers)
        return self.normalized(x), self.labels[positions]

    def augmented(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Images (B, C, H, W), or event frames (B, T, 2, H, W), uint8, augmented by random ``numbers`` (B,)."""
        return self.augmentation(x.flatten(1, -3), numbers).view(x.shape)

    def normalized(self, x: Tensor) -> Tensor:
        """uint8 samples as float32 for a network: images (B, C, H, W), events (T, B, 2, H, W)."""
        x = x.float().sub_(self._shift.to(x.device)).mul_(self._factor.to(x.device))
        return x.transpose(0, 1).contiguous() if self.is_events else x

    def _check(self, batch_size: int, first: int, drop_last: bool, rank: int, world_size: int, workers: int) -> None:
        _positive(batch_size=batch_size, world_size=world_size)
        if workers < 0:
            raise ValueError(f"workers: got {workers}, allowed is a whole number >= 0")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: got {rank}, allowed is 0 to {world_size - 1}, one below world_size")
        together = batch_size * world_size
        if drop_last and len(self) < together:
            raise ValueError(
                f"batch_size: got {batch_size} x world_size {world_size}, allowed are {len(self)} samples in all with "
                "drop_last, which would leave out everything"
            )
        if not drop_last and (len(self) < world_size or (batch_size == 1 and len(self) % world_size)):
            raise ValueError(
                f"world_size: got {world_size} for {len(self)} samples in batches of {batch_size}, allowed are only "
                "processes that get a sample in every batch; use fewer processes, or larger batches"
            )
        n = self.n_batches(batch_size, drop_last, world_size)
        if not 0 <= first <= n:
            raise ValueError(f"first: got {first}, allowed is 0 to {n}, the number of batches")


def _positive(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name}: got {value}, allowed is a whole number >= 1")


@dataclass(frozen=True)
class _Shares:
    """The slice of an epoch's order in each batch of a process."""

    n: int
    batch_size: int
    drop_last: bool
    rank: int
    world_size: int

    def __getitem__(self, number: int) -> slice:
        rounds, remainder = divmod(self.n, self.batch_size * self.world_size)
        if 0 < remainder < self.world_size and not self.drop_last:
            rounds -= 1  # too few for all processes: divided together with the last full round
        turn = (number - rounds) * self.world_size + self.rank
        full = rounds * self.world_size * self.batch_size
        if turn < 0 or self.drop_last:
            start = full + turn * self.batch_size
            return slice(start, start + self.batch_size)
        left, parts = self.n - full, self.world_size * (2 if 0 < remainder < self.world_size else 1)
        return slice(full + left * turn // parts, full + left * (turn + 1) // parts)


class _Epoch:
    """Batches of an epoch by number; a worker of a data loader makes each one without the others."""

    def __init__(self, samples: Samples, seed: int | None, epoch: int, augment: bool, shares: _Shares) -> None:
        self.samples, self.shares = samples, shares
        generator = _generator(seed or 0, epoch)
        shuffled = torch.randperm(len(samples), generator=generator)
        self.order = torch.arange(len(samples)) if seed is None else shuffled
        self.numbers = torch.randint(2**62, (len(samples),), generator=generator) if augment else None
        if self.numbers is not None and samples.augmentation.alternate_flips:
            first = torch.randint(2, (len(samples),), generator=_generator(seed or 0, "first flips"))
            self.numbers = samples.augmentation.mirroring(self.numbers, (first + epoch) % 2)

    def positions(self, number: int) -> Tensor:
        return self.order[self.shares[number]]

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        positions = self.positions(number)
        return self.samples.take(positions, None if self.numbers is None else self.numbers[positions])


def _generator(*key: int | str) -> torch.Generator:
    """A generator seeded by a hash of ``key``, so that similar keys are independent."""
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Data:
    """A data set in three disjoint parts."""

    name: str
    classes: list[str]
    in_channels: int
    image_size: tuple[int, int]
    """Height and width."""
    is_events: bool
    mean: tuple[float, ...]
    """Of each channel, subtracted from it; for images in 0 to 1."""
    std: tuple[float, ...]
    train: Samples
    validation: Samples
    test: Samples
    notes: list[str] = field(default_factory=list)
    """Remarks on this copy of the data: files left out, fewer recordings than the official data set."""

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the order and look of training samples depend on: plain data."""
        digest = hashlib.sha256(self.train.labels.numpy().tobytes()).hexdigest()
        return {"samples": len(self.train), "labels": digest[:16], "mean": list(self.mean), "std": list(self.std)}
