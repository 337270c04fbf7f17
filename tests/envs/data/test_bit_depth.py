from __future__ import annotations

from pathlib import Path

import pytest
import torch

from snn4.envs.data.bit_depth import in_bits, with_bit_depth
from snn4.envs.data.datasets import DataConfig, load_data
from snn4.envs.data.image_sets import read_digits

EVERY = torch.arange(256, dtype=torch.uint8)


@pytest.mark.parametrize("bits", range(1, 9))
def test_brightness_becomes_the_nearest_value(bits: int) -> None:
    allowed = torch.linspace(0, 255, 2**bits)
    ours = in_bits(EVERY, bits, counts=False)
    nearest = (EVERY[:, None] - allowed).abs().min(1).values
    assert ours.dtype == torch.uint8
    assert len(ours.unique()) == 2**bits
    assert torch.allclose((EVERY.float() - ours).abs(), nearest, atol=0.5)  # which uint8 rounds
    assert torch.equal(in_bits(ours, bits, counts=False), ours)


def test_counts_are_told_as_far_as_bits_go() -> None:
    assert in_bits(EVERY[:5], 1, counts=True).tolist() == [0, 1, 1, 1, 1]
    assert in_bits(EVERY[:5], 2, counts=True).tolist() == [0, 1, 2, 3, 3]


def test_eight_bits_are_all() -> None:
    pool = read_digits(None)
    assert with_bit_depth(pool, 8, counts=False) is pool


def test_a_network_sees_few_values() -> None:
    coarse, fine = (load_data(DataConfig(bit_depth=bits, mean=(0.0,), std=(1.0,))) for bits in (1, 8))
    for ours, theirs in ((coarse.train, fine.train), (coarse.test, fine.test)):
        (x, y), (a, b) = (next(part.batches(100)) for part in (ours, theirs))
        assert torch.equal(y, b)
        assert torch.equal(x, (a > 0.5).float())
    measured = load_data(DataConfig(bit_depth=1))
    x, _ = next(measured.train.batches(len(measured.train)))
    assert abs(float(x.mean())) < 1e-5
    assert abs(float(x.std()) - 1) < 1e-3


def test_events_become_spikes(nmnist: Path) -> None:
    pytest.importorskip("tonic")
    x, _ = next(load_data(DataConfig("nmnist", root=str(nmnist), bit_depth=1)).train.batches(20))
    many, _ = next(load_data(DataConfig("nmnist", root=str(nmnist))).train.batches(20))
    assert many.max() > 1
    assert torch.equal(x, (many > 0).float())


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_depths(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bit_depth: got {bits}, allowed is a whole number from 1 to 8"):
        DataConfig(bit_depth=bits)
