"""Networks with zeros among their weights, and what a meter counts in them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snn4.policies.metering.cost import Cost
from snn4.policies.metering.meter import Meter


def count(x: Tensor) -> int:
    return int(torch.count_nonzero(x))


def metered(network: nn.Module, *inputs: Any) -> Cost:
    with Meter(network) as meter, torch.no_grad():
        network(*inputs)
    return meter.cost()


def pruned(network: Any, share: float = 0.5) -> Any:
    """``network`` with zeros among its weights, and weights large enough for many spikes."""
    with torch.no_grad():
        for weight in (p for p in network.parameters() if p.dim() > 1):
            weight.mul_(4 * (torch.rand_like(weight) > share))
    return network.eval()
