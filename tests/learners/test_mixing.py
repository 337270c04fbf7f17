from __future__ import annotations

import pytest
import torch

from snn4.learners.mixing import mixed
from snn4.learners.recipe import Recipe

B, CLASSES = 16, 5


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Each image has the number of its sample in all pixels."""
    x = torch.arange(B).float().view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    return x, torch.arange(B) % CLASSES


def both(config: Recipe, x: torch.Tensor, labels: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return mixed(config, x, labels, CLASSES)


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, CLASSES).float()


def test_nothing_is_mixed_without_a_parameter(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = mixed(Recipe(), *images, CLASSES)
    assert x is images[0]
    assert labels is images[1]


@pytest.mark.parametrize("seed", range(5))
def test_mixup_by_hand(images: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    x, labels = images
    y, targets = both(Recipe(mixup=0.8), x, labels, seed)
    share = float((y[1, 0, 0, 0] - x[0, 0, 0, 0]) / (x[1, 0, 0, 0] - x[0, 0, 0, 0]))  # of the sample itself
    assert 0 <= share <= 1
    assert torch.allclose(y, share * x + (1 - share) * x.roll(1, 0), atol=1e-5)
    assert torch.allclose(targets, share * one_hot(labels) + (1 - share) * one_hot(labels.roll(1)), atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_by_hand(images: tuple[torch.Tensor, torch.Tensor], seed: int) -> None:
    x, labels = images
    y, targets = both(Recipe(cutmix=1.0), x, labels, seed)
    pasted = y[1, 0] != x[1, 0]  # the same pixels in all samples and channels
    assert torch.equal(y, torch.where(pasted, x.roll(1, 0), x))
    share = 1 - pasted.float().mean()
    assert torch.allclose(targets, share * one_hot(labels) + (1 - share) * one_hot(labels.roll(1)), atol=1e-5)


def test_with_both_each_batch_draws_one(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    config, kinds = Recipe(mixup=0.8, cutmix=1.0), set[str]()
    for seed in range(20):
        y, _ = both(config, *images, seed)
        kinds.add("mixup" if len(y[1].unique()) == 1 and float(y[1, 0, 0, 0]) % 1 else "cutmix")
    assert kinds == {"mixup", "cutmix"}


@pytest.mark.parametrize("config", [Recipe(mixup=0.8), Recipe(cutmix=1.0)], ids=["mixup", "cutmix"])
def test_events_are_mixed_alike_in_all_bins(config: Recipe) -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(4, B, 2, 6, 6), torch.arange(B) % CLASSES  # (T, B, C, H, W)
    y, targets = both(config, x, labels, seed=3)
    wanted = [both(config, bin_, labels, seed=3) for bin_ in x]
    assert type(y) is torch.Tensor
    assert torch.equal(y, torch.stack([bin_ for bin_, _ in wanted]))
    assert torch.equal(targets, wanted[0][1])


def test_inputs_are_left_as_they_were(images: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = (tensor.clone() for tensor in images)
    for config in (Recipe(mixup=0.8), Recipe(cutmix=1.0)):
        both(config, x, labels, 0)
    assert torch.equal(x, images[0])
    assert torch.equal(labels, images[1])
