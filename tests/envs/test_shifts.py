from __future__ import annotations

import pytest
import torch
from torch import Tensor

from snn4.envs.shifts import shifts


@pytest.fixture
def x() -> Tensor:
    return torch.randint(0, 256, (5, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_no_shift() -> None:
    assert shifts("none", 5, (8, 8)) is None


def test_permutations_lose_nothing_and_differ(x: Tensor) -> None:
    first, *rest = shifts("permute", 4, (12, 12)) or []
    assert torch.equal(first(x), x)
    for shift in rest:
        moved = shift(x)
        assert moved.dtype == torch.uint8
        assert not torch.equal(moved, x)
        back = torch.empty_like(x).flatten(-2)
        back[..., shift.source] = moved.flatten(-2)
        assert torch.equal(back.view(x.shape), x)
    assert len({tuple(shift.source.tolist()) for shift in rest}) == 3


def test_a_permutation_depends_on_its_seed_and_place_only(x: Tensor) -> None:
    three = shifts("permute", 3, (12, 12), 1) or []
    five = shifts("permute", 5, (12, 12), 1) or []
    reseeded = shifts("permute", 5, (12, 12), 2) or []
    for shift, expected in zip(three, five[:3], strict=True):
        assert torch.equal(shift(x), expected(x))
    assert not torch.equal(five[1](x), reseeded[1](x))


@pytest.mark.parametrize("side", [8, 11, 28, 34])
def test_rotations_by_a_quarter(side: int) -> None:
    x = torch.randint(1, 256, (2, 1, side, side), dtype=torch.uint8)
    still, quarter = shifts("rotate", 2, (side, side)) or []
    assert torch.equal(still(x), x)
    assert torch.equal(quarter(x), torch.rot90(x, 1, (-2, -1)))


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_rotations_are_torchvisions(size: tuple[int, int]) -> None:
    from torchvision.transforms.v2.functional import rotate

    x = torch.randint(1, 256, (2, 3, *size), dtype=torch.uint8)
    rotations = shifts("rotate", 7, size) or []
    for i, shift in enumerate(rotations):
        assert torch.equal(shift(x), rotate(x, 180 * i / 7))
    assert (rotations[2](x) == 0).any()  # the corners show nothing
    assert [shift.name for shift in rotations[:3]] == ["rotated 0°", "rotated 25.7°", "rotated 51.4°"]


def test_all_time_steps_and_polarities_move_alike(x: Tensor) -> None:
    events = torch.randint(0, 9, (3, 4, 2, 12, 12), dtype=torch.uint8)
    for name in ("permute", "rotate"):
        shift = (shifts(name, 3, (12, 12)) or [])[1]  # type: ignore[arg-type]
        moved = shift(events)
        for step in range(4):
            assert torch.equal(moved[:, step, :1], shift(events[:, step, :1]))
            assert torch.equal(moved[:, step, 1:], shift(events[:, step, 1:]))
