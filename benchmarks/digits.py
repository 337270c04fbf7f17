"""The spiking core outside of reinforcement learning, on scikit-learn's digits, without a download.

    python -m snn4.benchmarks.digits --epochs 1

trains a spiking MLP without selection, tests it once on a fifth of the 1,797 images, and prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from snn4.agent.run.provenance import provenance
from snn4.policies.acting.mlp import SpikingMLP


def main() -> None:
    """Parse the command line, train, test, print."""
    parser = argparse.ArgumentParser(description="Train a spiking MLP on scikit-learn's digits.")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(json.dumps({**train(arguments.epochs, arguments.seed), **provenance()}))


def train(epochs: int, seed: int, T: int = 4, hidden: int = 256, batch: int = 32) -> dict[str, Any]:
    """Train for ``epochs``; returns the accuracy on the test fifth, and the settings."""
    torch.manual_seed(seed)
    x_train, x_test, y_train, y_test = digits(seed)
    model = nn.Sequential(SpikingMLP(64, [hidden], T), nn.Linear(hidden, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    started = time.perf_counter()
    for _ in range(epochs):
        for indices in torch.randperm(len(x_train)).split(batch):
            loss = nn.functional.cross_entropy(model(x_train[indices]), y_train[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        accuracy = (model(x_test).argmax(1) == y_test).float().mean().item()
    return {"dataset": "digits", "epochs": epochs, "seed": seed, "T": T, "hidden": hidden, "test_accuracy": accuracy,
            "seconds": time.perf_counter() - started}  # fmt: skip


def digits(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images (N, 64) in 0 to 1 and labels (N,), split four to one, stratified by class."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=0.2, stratify=labels, random_state=seed)
    x_train, x_test, y_train, y_test = (torch.as_tensor(part) for part in parts)
    return x_train.float(), x_test.float(), y_train.long(), y_test.long()


if __name__ == "__main__":
    main()
