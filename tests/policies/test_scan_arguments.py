"""Currents and states that do not fit the dynamics, which `scan` refuses."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.scan import scan

LIF, MULTI = Dynamics((0.9,)), Dynamics((0.9, 0.5), (1.0, 0.7), (0.02, 0.0))
CUBA, ALIF = Dynamics((0.9,), syn_decay=0.7), Dynamics((0.9,), adaptation=0.3, adapt_decay=0.9)
PART = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("dynamics", "state", "message"),
    [
        (LIF, NeuronState(torch.zeros(1, 3)), "v: got shape (1, 3), allowed is (2, 3)"),
        (LIF, NeuronState(torch.zeros(3)), "v: got shape (3,), allowed is (2, 3)"),
        (LIF, NeuronState(torch.zeros(())), "v: got shape (), allowed is (2, 3)"),
        (LIF, NeuronState(torch.zeros(2, 3, 1)), "v: got shape (2, 3, 1), allowed is (2, 3)"),
        (LIF, NeuronState(PART, PART), "i: got shape (2, 3), allowed is None"),
        (LIF, NeuronState(PART, None, PART), "a: got shape (2, 3), allowed is None"),
        (LIF, NeuronState(PART.double()), "v: got torch.float64 on cpu, allowed is torch.float32 on cpu"),
        (MULTI, NeuronState(PART), "v: got shape (2, 3), allowed is (2, 2, 3)"),
        (CUBA, NeuronState(PART), "i: got shape None, allowed is (2, 3)"),
        (CUBA, NeuronState(PART, PART.bfloat16()), "i: got torch.bfloat16 on cpu, allowed is torch.float32 on cpu"),
        (ALIF, NeuronState(PART), "a: got shape None, allowed is (2, 3)"),
        (ALIF, NeuronState(PART, None, PART[:1]), "a: got shape (1, 3), allowed is (2, 3)"),
    ],
)
def test_state_that_does_not_fit_is_refused(dynamics: Dynamics, state: NeuronState, message: str) -> None:
    """The kernel would read and write past the end of a state that is too small."""
    with pytest.raises(ValueError, match=rf"^state\.{re.escape(message)}"):
        scan(torch.ones(4, 2, 3), state, dynamics)


def test_state_of_a_half_precision_current_is_float32() -> None:
    with pytest.raises(ValueError, match=r"^state\.v: got torch\.bfloat16 .* allowed is torch\.float32"):
        scan(torch.ones(4, 2, 3, dtype=torch.bfloat16), NeuronState(PART.bfloat16()), LIF)


@pytest.mark.parametrize(
    ("current", "steps", "message"),
    [
        (torch.ones(4, 2, 3, dtype=torch.int32), None, r"current: got dtype torch\.int32, allowed is a floating"),
        (torch.ones(4, 2, 3, dtype=torch.bool), None, r"current: got dtype torch\.bool, allowed is a floating"),
        (torch.ones(4), None, r"current: got shape \(4,\), allowed is \(T, B"),
        (torch.ones(0, 2, 3), None, r"current: got shape \(0, 2, 3\), allowed is \(T, B"),
        (torch.ones(4, 2, 3), 3, "steps: got 3 for a current of 4 steps, allowed is"),
        (torch.ones(1, 2, 3), 0, "steps: got 0 for a current of 1 steps, allowed is"),
    ],
)
def test_current_that_does_not_fit_is_refused(current: Tensor, steps: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        scan(current, NeuronState(PART), LIF, steps=steps)
