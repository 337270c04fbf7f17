from __future__ import annotations

import pytest
import torch
from torch import nn

from snn4.policies.networks.rescaled import Rescaled


@pytest.mark.parametrize("steps", [(), (3,)])
def test_a_network_sees_the_values_it_has_learned(steps: tuple[int, ...]) -> None:
    pixels = torch.rand(*steps, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    given, learned = ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.1, 0.2, 0.3), (1.0, 0.5, 0.4))

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)

    seen = Rescaled(nn.Identity(), given, learned)(normalised(*given))
    torch.testing.assert_close(seen, normalised(*learned), rtol=1e-5, atol=1e-5)


def test_numbers_for_other_channels() -> None:
    with pytest.raises(ValueError, match="mean: got 3 numbers, allowed are 1, one per channel"):
        Rescaled(nn.Identity(), ((0.5,), (0.2,)), ((0.1, 0.2, 0.3), (1.0, 0.5, 0.4)))
