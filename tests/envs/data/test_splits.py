from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn4.envs.data.splits import fair_order, split_by_class, split_in_folds


def names(counts: list[int]) -> list[str]:
    return [f"class {number}" for number in range(len(counts))]


def labels_of(counts: list[int]) -> torch.Tensor:
    labels = np.repeat(np.arange(len(counts)), counts)
    return torch.as_tensor(np.random.RandomState(1).permutation(labels))


@given(st.lists(st.integers(2, 60), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_a_split_takes_from_each_class_its_share(counts: list[int], fraction: float) -> None:
    labels = labels_of(counts)
    n = min(max(round(fraction * len(labels)), len(counts)), len(labels) - len(counts))
    part, rest = split_by_class(labels, n, names(counts))
    assert len(part) == n
    assert torch.equal(torch.cat([part, rest]).sort().values, torch.arange(len(labels)))
    for rows in (part, rest):
        n_per_class = torch.bincount(labels[rows], minlength=len(counts))
        assert n_per_class.min() >= 1
        share = torch.tensor(counts) * len(rows) / len(labels)
        if min(counts) * min(fraction, 1 - fraction) >= 2:  # with less, a class keeps one sample whatever its share
            assert (n_per_class - share).abs().max() <= 1.5


@given(st.lists(st.integers(3, 30), min_size=1, max_size=6), st.integers(2, 3))
def test_folds_share_no_sample_and_have_equal_classes(counts: list[int], k: int) -> None:
    labels = labels_of(counts)
    parts = split_in_folds(labels, k, names(counts))
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(len(labels)))
    n_per_fold = torch.stack([torch.bincount(labels[part], minlength=len(counts)) for part in parts])
    assert (n_per_fold.amax(0) - n_per_fold.amin(0)).max() <= 1
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_beginning_of_a_fair_order_holds_every_class() -> None:
    labels = labels_of([1, 50, 7, 200])
    order = fair_order(labels)
    assert sorted(labels[order[:4]].tolist()) == [0, 1, 2, 3]
    assert torch.bincount(labels[order[:130]]).tolist() == pytest.approx([1, 25, 3.5, 100], abs=1.5)


def test_a_split_is_always_the_same_and_not_the_order_of_the_file() -> None:
    labels = labels_of([50, 50])
    torch.manual_seed(1)
    first = split_by_class(labels, 20, ["a", "b"])[0]
    torch.manual_seed(2)
    assert torch.equal(split_by_class(labels, 20, ["a", "b"])[0], first)
    assert first.tolist() == [2, 7, 13, 16, 24, 26, 43, 45, 48, 53, 54, 55, 71, 73, 75, 78, 86, 92, 93, 95]


def test_what_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r"^classes: got too few samples of b \(1\), allowed are 2 or more"):
        split_by_class(torch.tensor([0, 0, 1]), 2, ["a", "b"])
    with pytest.raises(ValueError, match=r"^part: got 4 of 5 samples, allowed are 2 to 3: one per class in both parts"):
        split_by_class(torch.tensor([0, 0, 0, 1, 1]), 4, ["a", "b"])
    with pytest.raises(ValueError, match=r"^k: got 1, allowed is a whole number >= 2"):
        split_in_folds(torch.tensor([0, 1]), 1, ["a", "b"])
    with pytest.raises(ValueError, match=r"^classes: got too few samples of a \(2\), allowed are 3 or more"):
        split_in_folds(torch.tensor([0, 0, 1, 1, 1]), 3, ["a", "b"])
