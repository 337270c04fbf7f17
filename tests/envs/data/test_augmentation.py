from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from snn4.envs.data.augmentation import AUGMENTATIONS, Augmentation, erased, flip_crop

IMAGES = torch.randint(0, 256, (40, 3, 12, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.randint(2**62, (40,), generator=torch.Generator().manual_seed(1))


def one_by_one(images: Tensor, numbers: Tensor, pad: int, flip: bool, mode: str) -> Tensor:
    """`flip_crop` with torchvision, image by image."""
    changed = []
    for image, number in zip(images, numbers.tolist(), strict=True):
        number, top = divmod(number, 2 * pad + 1)
        number, left = divmod(number, 2 * pad + 1)
        mirrored = F.horizontal_flip(image) if flip and number % 2 else image
        padded = F.pad(mirrored, [pad] * 4, padding_mode=mode)
        changed.append(F.crop(padded, top, left, *image.shape[-2:]))
    return torch.stack(changed)


@pytest.mark.parametrize("pad", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_a_batch_is_what_torchvision_does_to_each_image(pad: int, flip: bool, border: str, mode: str) -> None:
    batch = flip_crop(IMAGES, NUMBERS, pad, flip, border)  # type: ignore[arg-type]
    assert torch.equal(batch, one_by_one(IMAGES, NUMBERS, pad, flip, mode))


def test_shifts_and_mirrors_are_uniform() -> None:
    place = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    place[0, 0, 8, 8] = 1
    numbers = torch.randint(2**62, (20_000,), generator=torch.Generator().manual_seed(2))
    moved = flip_crop(place.expand(20_000, -1, -1, -1), numbers, 2, flip=False).flatten(1).argmax(1)
    counts = moved.bincount()
    assert (counts > 0).sum() == 25
    assert counts[counts > 0].min() > 0.8 * 20_000 / 25
    corner = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    corner[..., 0] = 1
    mirrored = flip_crop(corner.expand(20_000, -1, -1, -1), numbers, 0)[:, 0, 0, 3].float().mean()
    assert mirrored == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("pad", [0, 3])
def test_flips_can_be_chosen(pad: int) -> None:
    """The shifts stay; the chosen flips are those of torchvision."""
    mirrored = torch.arange(len(IMAGES)) // 3 % 2
    chosen = Augmentation("flip_crop", pad).mirroring(NUMBERS, mirrored)
    unmirrored = flip_crop(IMAGES, chosen, pad, flip=False)
    assert torch.equal(unmirrored, flip_crop(IMAGES, NUMBERS, pad, flip=False))
    flipped = torch.where(mirrored.bool().view(-1, 1, 1, 1), F.horizontal_flip(IMAGES), IMAGES)
    assert torch.equal(flip_crop(IMAGES, chosen, pad), flip_crop(flipped, NUMBERS, pad, flip=False))


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(("channels", "erase"), [(1, 0), (3, 0), (3, 5)])
def test_a_sample_has_its_own_draws(name: str, channels: int, erase: int) -> None:
    images = IMAGES[:, :channels]
    augment = Augmentation(name, 2, erase, colour=(99,) * channels)  # type: ignore[arg-type]
    before = torch.get_rng_state()
    whole = augment(images, NUMBERS)
    assert whole.shape == images.shape
    assert whole.dtype == torch.uint8
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    halves = [augment(images[rows], NUMBERS[rows]) for rows in (slice(0, 7), slice(7, None))]
    assert torch.equal(whole, torch.cat(halves))
    assert torch.equal(whole, images) == (name == "none" and not erase)


@pytest.mark.parametrize(
    ("name", "pad", "transform"),
    [("trivial", 2, v2.TrivialAugmentWide()), ("resized_crop", 0, v2.RandomResizedCrop([12, 10]))],
)
def test_the_rest_is_torchvisions(name: str, pad: int, transform: torch.nn.Module) -> None:
    augmented = Augmentation(name, 2)(IMAGES, NUMBERS)  # type: ignore[arg-type]
    for image, number, expected in zip(flip_crop(IMAGES, NUMBERS, pad), NUMBERS.tolist(), augmented, strict=True):
        torch.manual_seed(number)
        assert torch.equal(transform(image), expected)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_a_square_is_erased_anywhere(side: int) -> None:
    numbers = torch.randint(2**62, (3000,), generator=torch.Generator().manual_seed(3))
    black = torch.zeros(3000, 2, 7, 6, dtype=torch.uint8)
    holes = erased(black, numbers, side, (10, 20))
    assert torch.equal(holes[:, 0] * 2, holes[:, 1])
    holes = holes[:, 0] == 10
    tall, wide = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), tall * wide)  # a rectangle, cut at the border
    assert tall.max() == wide.max() == side
    assert holes.any(0).all()
    middles = (holes & (tall == side)[:, None, None] & (wide == side)[:, None, None]).sum(0)
    assert middles.max() < 2 * middles[middles > 0].min() * side**2
    whole = Augmentation("flip_crop", 2, side, colour=(1, 2, 3))(IMAGES, NUMBERS)
    assert torch.equal(whole, erased(flip_crop(IMAGES, NUMBERS, 2), NUMBERS, side, (1, 2, 3)))
