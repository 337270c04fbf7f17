from __future__ import annotations

import pytest
import torch

from snn4.envs.data.pool import Pool, moments

PIXELS = torch.randint(0, 256, (2300, 3, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(2300) % 4
ROWS = torch.arange(2300)


def pool(**changes: object) -> Pool:
    arguments = {"classes": list("abcd"), "pixels": PIXELS, "labels": LABELS, "train": ROWS[:2100], "test": ROWS[2100:]}
    return Pool(**{**arguments, **changes})  # type: ignore[arg-type]


def test_channels_are_normalised_by_the_training_samples() -> None:
    mean, std = pool().normalization(ROWS[:2100])
    x = PIXELS[:2100].double() / 255
    assert mean == pytest.approx(x.mean((0, 2, 3)).tolist(), rel=1e-6)
    assert std == pytest.approx(x.transpose(0, 1).flatten(1).std(1, correction=0).tolist(), rel=1e-6)
    assert pool(moments=moments(PIXELS)).normalization(ROWS[:2100]) == (pytest.approx(mean), pytest.approx(std))
    assert mean != pytest.approx(pool().normalization(ROWS)[0], rel=1e-6)


def test_known_moments_are_not_computed() -> None:
    assert pool(mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0)).normalization(ROWS) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))


def test_a_constant_channel_stays_finite() -> None:
    mean, std = pool(pixels=torch.full_like(PIXELS, 51)).normalization(ROWS)
    assert mean == pytest.approx((0.2,) * 3)
    assert std == pytest.approx((1 / 255,) * 3)


@pytest.mark.parametrize("wrong", [4, -1, 200])
def test_labels_that_name_no_class(wrong: int) -> None:
    labels = LABELS.clone()
    labels[[5, 8, 9]] = wrong
    message = rf"^labels: got {wrong} for sample 5 \(3 of 2300 samples are wrong\), allowed are 0 to 3"
    with pytest.raises(ValueError, match=message):
        pool(labels=labels)


def test_as_many_labels_as_samples() -> None:
    with pytest.raises(ValueError, match=r"^labels: got 2299, allowed are 2300, one per sample"):
        pool(labels=LABELS[1:])


def test_classes_without_samples() -> None:
    with pytest.raises(ValueError, match=r"^classes: got no sample of b, d in test, allowed is one or more of each"):
        pool(test=ROWS[2100::2])
    with pytest.raises(ValueError, match=r"^classes: got no sample of a, b, c, d in validation, allowed"):
        pool(validation=ROWS[:0])
    with pytest.raises(ValueError, match=r"allowed is one or more of each; left out: 7 of 9 files; 2 recordings$"):
        pool(test=ROWS[2100::2], notes=["left out: 7 of 9 files", "2 recordings"])
