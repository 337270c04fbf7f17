from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from snn4.envs.data.augmentation import Augmentation
from snn4.envs.data.samples import Samples

AUGMENTED = {"shuffle_seed": 3, "epoch": 2, "augment": True}


def numbered(n: int, augmentation: Augmentation | None = None, rows: Tensor | None = None) -> Samples:
    """Samples whose pixels, label and row are the same number, also after normalisation."""
    pixels = torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1).expand(n, 1, 4, 4)
    rows = torch.arange(n) if rows is None else rows
    return Samples(pixels, torch.arange(n), rows, (0.0,), (1 / 255,), augmentation or Augmentation("none", 0))


def pictures(name: str = "flip_crop", n: int = 50) -> Samples:
    pixels = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(name, 2)  # type: ignore[arg-type]
    return Samples(pixels, torch.arange(n), torch.arange(n), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), augmentation)


def labels_of(batches: Any) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


def same(batches: Any, expected: Any) -> bool:
    first, second = list(batches), list(expected)
    return len(first) == len(second) and all(
        torch.equal(x, a) and torch.equal(y, b) for (x, y), (a, b) in zip(first, second, strict=True)
    )


def test_an_image_keeps_its_label_and_is_normalised() -> None:
    samples = numbered(10, rows=torch.tensor([7, 2, 5]))
    assert len(samples) == 3
    assert samples.labels.tolist() == [7, 2, 5]
    for x, labels in samples.batches(2, shuffle_seed=0):
        assert x.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.allclose(x, labels.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).float())
    data = pictures()
    x, _ = next(data.batches(50))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)))
    assert torch.allclose(x, (data.pixels[data.rows].float() / 255 - mean) / std, atol=1e-5)


def test_the_order_follows_seed_and_epoch() -> None:
    samples = numbered(100)
    assert labels_of(samples.batches(32)) == [
        list(range(32)),
        list(range(32, 64)),
        list(range(64, 96)),
        [*range(96, 100)],
    ]
    orders = {str(labels_of(samples.batches(32, shuffle_seed=s, epoch=e))) for s, e in ((0, 0), (0, 1), (1, 0), (1, 1))}
    assert len(orders) == 4
    again = labels_of(samples.batches(32, shuffle_seed=1, epoch=1))
    assert str(again) in orders
    assert sorted(chain(*again)) == list(range(100))
    assert labels_of(samples.batches(32, shuffle_seed=1, epoch=1, drop_last=True)) == again[:3]


@pytest.mark.parametrize("first", [0, 1, 3, 4])
@pytest.mark.parametrize("name", ["crop", "trivial"])
def test_an_epoch_can_be_entered_at_any_batch(first: int, name: str) -> None:
    samples = pictures(name)
    whole = list(samples.batches(14, **AUGMENTED))
    torch.manual_seed(first)
    assert same(samples.batches(14, first=first, **AUGMENTED), whole[first:])
    assert same(samples.batches(14, first=4, **AUGMENTED), [])


@pytest.mark.parametrize("name", ["flip_crop", "trivial"])
def test_workers_change_nothing(name: str) -> None:
    samples = pictures(name)
    assert same(samples.batches(8, workers=2, first=1, **AUGMENTED), samples.batches(8, first=1, **AUGMENTED))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_global_random_state_is_left_alone(workers: int) -> None:
    before = torch.get_rng_state()
    list(pictures("trivial").batches(25, workers=workers, **AUGMENTED))
    assert torch.equal(torch.get_rng_state(), before)


def test_augmentation_belongs_to_the_sample_and_changes_with_the_epoch() -> None:
    samples = pictures()

    def by_label(batch_size: int, epoch: int, **options: Any) -> Tensor:
        x, labels = (
            torch.cat(parts)
            for parts in zip(*samples.batches(batch_size, shuffle_seed=0, epoch=epoch, **options), strict=True)
        )
        return x[labels.argsort()]

    assert torch.equal(by_label(7, 0, augment=True), by_label(50, 0, augment=True))
    assert not torch.equal(by_label(7, 0, augment=True), by_label(7, 1, augment=True))
    assert torch.equal(by_label(7, 0), by_label(7, 1))


@pytest.mark.parametrize("name", ["flip", "flip_crop"])
def test_flips_can_alternate(name: str) -> None:
    """A corner shows which way an image faces: two epochs in a row show each image once each way."""
    pixels = torch.zeros(400, 1, 8, 8, dtype=torch.uint8)
    pixels[..., :4] = 255
    augmentation = Augmentation(name, 2, alternate_flips=True)  # type: ignore[arg-type]
    samples = Samples(pixels, torch.arange(400), torch.arange(400), (0.0,), (1.0,), augmentation)

    def mirrored(seed: int, epoch: int, batch_size: int) -> Tensor:
        batches = samples.batches(batch_size, shuffle_seed=seed, epoch=epoch, augment=True)
        x, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return x[labels.argsort(), 0, 0, 0] == 0

    first = mirrored(0, 0, 64)
    assert first.float().mean() == pytest.approx(0.5, abs=0.1)
    for epoch in range(1, 5):
        assert torch.equal(mirrored(0, epoch, 100), first if epoch % 2 == 0 else ~first)
    assert not torch.equal(mirrored(1, 0, 64), first)


def test_events_are_time_major_counts() -> None:
    pixels = torch.randint(0, 9, (6, 5, 2, 8, 8), dtype=torch.uint8)
    shift = Augmentation("crop", 2, border="zero")
    events = Samples(pixels, torch.arange(6), torch.arange(6), (0.0, 0.0), (1.0, 1.0), shift, is_events=True)
    x, _ = next(events.batches(4))
    assert torch.equal(x, pixels[:4].transpose(0, 1).float())
    moved, labels = next(events.batches(6, shuffle_seed=0, augment=True))
    for sample, label in enumerate(labels.tolist()):
        near = torch.nn.functional.pad(pixels[label].float(), [2] * 4)
        places = [near[..., top : top + 8, left : left + 8] for top in range(5) for left in range(5)]
        assert any(torch.equal(moved[:, sample], place) for place in places)  # all frames and polarities move together


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_processes_share_an_epoch(n: int, batch_size: int, world_size: int, drop_last: bool) -> None:
    assume(n >= (batch_size * world_size if drop_last else world_size))
    assume(drop_last or batch_size > 1 or n % world_size == 0)
    samples = numbered(n)
    options: dict[str, Any] = {"shuffle_seed": 0, "drop_last": drop_last, "world_size": world_size}
    ranks = [labels_of(samples.batches(batch_size, rank=rank, **options)) for rank in range(world_size)]
    assert {len(batches) for batches in ranks} == {samples.n_batches(batch_size, drop_last, world_size)}
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert 1 <= min(sizes) <= max(sizes) <= batch_size
    labels = sorted(label for batches in ranks for batch in batches for label in batch)
    if drop_last:
        assert set(sizes) == {batch_size}
        assert len(set(labels)) == len(labels) > n - batch_size * world_size
    else:
        assert labels == list(range(n))
    if world_size == 1:
        assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert labels_of(samples.batches(batch_size, rank=world_size - 1, first=1, **options)) == ranks[-1][1:]


def test_a_round_of_all_processes_is_a_batch_of_one() -> None:
    samples = numbered(60)
    alone = labels_of(samples.batches(12, shuffle_seed=0, drop_last=True))
    three = [labels_of(samples.batches(4, shuffle_seed=0, drop_last=True, world_size=3, rank=r)) for r in range(3)]
    assert [list(chain(*parts)) for parts in zip(*three, strict=True)] == alone


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: got 0, allowed is a whole number >= 1"),
        ({"batch_size": 4, "world_size": 0}, "world_size: got 0, allowed is a whole number >= 1"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank: got 2, allowed is 0 to 1"),
        ({"batch_size": 4, "workers": -1}, "workers: got -1, allowed is a whole number >= 0"),
        ({"batch_size": 4, "first": 4}, "first: got 4, allowed is 0 to 3"),
        ({"batch_size": 4, "first": -1}, "first: got -1, allowed is 0 to 3"),
        ({"batch_size": 6, "world_size": 2, "drop_last": True}, "batch_size: got 6 x world_size 2, allowed are 10"),
        ({"batch_size": 4, "world_size": 11}, "world_size: got 11 for 10 samples in batches of 4"),
        ({"batch_size": 1, "world_size": 3}, "world_size: got 3 for 10 samples in batches of 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        numbered(10).batches(**arguments)
    if arguments["batch_size"] < 1:
        with pytest.raises(ValueError, match=f"^{message}"):
            numbered(10).n_batches(0)


@pytest.mark.parametrize(
    "where",
    [{}, {"shuffle_seed": 3, "epoch": 2}, {"shuffle_seed": 3, "first": 2}, {"shuffle_seed": 1, "drop_last": True},
     {"shuffle_seed": 1, "rank": 1, "world_size": 2}],
    ids=str,
)  # fmt: skip
def test_positions_are_those_of_the_batches(where: Any) -> None:
    samples = numbered(50, rows=torch.arange(50).flip(0)[:41])
    shown = labels_of(samples.batches(4, **where))
    positions = list(samples.positions(4, **where))
    assert [samples.labels[rows].tolist() for rows in positions] == shown
    assert len(positions) > 2
    with pytest.raises(ValueError, match="first: got 99"):
        samples.positions(4, first=99)
