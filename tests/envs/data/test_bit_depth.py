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
    coarse = in_bits(EVERY, bits, counts=False)
    nearest = (EVERY[:, None] - allowed).abs().min(1).values
    assert coarse.dtype == torch.uint8
    assert len(coarse.unique()) == 2**bits
    assert torch.allclose((EVERY.float() - coarse).abs(), nearest, atol=0.5)  # uint8 rounds the values
    assert torch.equal(in_bits(coarse, bits, counts=False), coarse)


def test_counts_end_where_the_bits_end() -> None:
    assert in_bits(EVERY[:5], 1, counts=True).tolist() == [0, 1, 1, 1, 1]
    assert in_bits(EVERY[:5], 2, counts=True).tolist() == [0, 1, 2, 3, 3]


def test_eight_bits_are_all() -> None:
    pool = read_digits(None)
    assert with_bit_depth(pool, 8, counts=False) is pool


def test_a_network_sees_few_values() -> None:
    coarse, fine = (load_data(DataConfig(bit_depth=bits, mean=(0.0,), std=(1.0,))) for bits in (1, 8))
    for coarse_part, fine_part in ((coarse.train, fine.train), (coarse.test, fine.test)):
        (x, y), (a, b) = (next(part.batches(100)) for part in (coarse_part, fine_part))
        assert torch.equal(y, b)
        assert torch.equal(x, (a > 0.5).float())
    measured = load_data(DataConfig(bit_depth=1))
    x, _ = next(measured.train.batches(len(measured.train)))
    assert abs(float(x.mean())) < 1e-5
    assert abs(float(x.std()) - 1) < 1e-3


def test_events_become_spikes(nmnist: Path) -> None:
    pytest.importorskip("tonic")
    x, _ = next(load_data(DataConfig("nmnist", root=str(nmnist), bit_depth=1)).train.batches(20))
    counts, _ = next(load_data(DataConfig("nmnist", root=str(nmnist))).train.batches(20))
    assert counts.max() > 1
    assert torch.equal(x, (counts > 0).float())


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_other_depths(bits: int) -> None:
    with pytest.raises(ValueError, match=f"bit_depth: got {bits}, allowed is a whole number from 1 to 8"):
        DataConfig(bit_depth=bits)
