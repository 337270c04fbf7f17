"""A few steps of training on scikit-learn's digits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn


def losses_on_digits(network: nn.Module, learning_rate: float, updates: int = 20) -> list[float]:
    """Cross entropy before each of Adam's updates, all with the same 128 images of shape (1, 8, 8)."""
    data, target = load_digits(return_X_y=True)
    x, y = torch.tensor(data[:128] / 8 - 1).float().reshape(-1, 1, 8, 8), torch.tensor(target[:128])
    optimizer, losses = torch.optim.Adam(network.parameters(), learning_rate), []
    for _ in range(updates):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
