"""The time loop step by step in torch, for any device and dtype; autograd differentiates it, any number of times."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.surrogate import spike


def reference_scan(
    current: Tensor, state: NeuronState, dynamics: Dynamics, *, steps: int | None = None, decay: Tensor | None = None
) -> tuple[Tensor, NeuronState]:
    """As `snn4.policies.scan.scan`, from a ``state``."""
    d, single = dynamics, len(dynamics.decay) == 1
    outputs: list[Tensor] = []  # torch.compile does not support list[Tensor]()
    decays: list[Any] = list(d.decay) if decay is None else [decay]
    vs = [state.v] if single else list(state.v)
    i, a = state.i, state.a
    for t in range(steps or len(current)):
        drive = current[t if len(current) > 1 else 0].to(vs[0].dtype)
        if i is not None and d.syn_decay is not None:
            drive = i = d.syn_decay * i + d.syn_gain * drive
        us = [k * v + (gain * drive + leak) for k, v, gain, leak in zip(decays, vs, d.gain, d.leak, strict=True)]
        u = us[0] if single else functools.reduce(torch.add, us) / len(us)
        if d.reset == "none":
            vs = us
            outputs.append(u)
            continue
        adapted = a is not None and d.adaptation is not None
        s = spike(u - (d.v_threshold + d.adaptation * a if adapted else d.v_threshold), d.surrogate, d.slope)  # type: ignore[operator]
        if d.signed:
            assert a is not None
            s = s - (a > 0).to(s.dtype) * (1 - spike(u, d.surrogate, d.slope))
        fired = s.detach()
        if d.reset == "soft":
            vs = [u - fired * d.v_threshold for u in us]
        else:
            vs = [torch.where(fired > 0, d.v_reset, u) for u in us]
        a = None if a is None else d.adapt_decay * a + s
        outputs.append(s)
    return torch.stack(outputs).to(current.dtype), NeuronState(vs[0] if single else torch.stack(vs), i, a)
