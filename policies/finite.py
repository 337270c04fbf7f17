"""Checks for NaN and infinity in policies: neurons with NaN are silent, so nothing else would reveal it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from snn4.policies.scan import is_recorded

ADVICE = "learning has diverged: return to earlier weights, and lower the learning rate or clip gradients"


def diverged(where: str, got: str = "NaN or infinity") -> ValueError:
    """The error for a policy that would act with ``got`` at ``where``."""
    return ValueError(f"{where}: got {got}, allowed are finite numbers; {ADVICE}")


def require_finite(layers: Iterable[nn.Module]) -> None:
    """ValueError if a parameter of ``layers``, without those of their submodules, holds NaN or infinity."""
    layers = [*layers]
    parameters = [p.reshape(-1) for layer in layers for p in layer._parameters.values() if p is not None]
    if not parameters or parameters[0].is_meta:
        return
    flat = torch.cat(parameters).detach()
    if math.isfinite(flat.dot(flat)):  # the fastest test; large numbers overflow in it
        return
    for layer in layers:
        for name, parameter in layer._parameters.items():
            if parameter is not None and not torch.isfinite(parameter).all():
                raise diverged(f"{name} of {layer}")


def require_decision(values: Tensor) -> None:
    """ValueError for NaN in ``values``, the outputs of a head with which a policy is about to act."""
    if is_recorded() or values.is_meta:
        return
    flat = values.detach().reshape(-1)
    if math.isnan(flat.dot(flat)):
        raise diverged("values of the acting head", "NaN")
