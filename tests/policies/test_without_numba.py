from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from thresholds import NEAR, distance

from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.scan import scan


def test_without_numba_the_plain_loop_takes_over_and_says_so_once(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["numba"] = None
import torch
from snn4.policies.fused import _WORTH_A_THREAD, is_fused
from snn4.policies.dynamics import Dynamics, NeuronState
from snn4.policies.scan import scan
current = torch.load(sys.argv[1]).requires_grad_()
for _ in range(3):
    spikes, last = scan(current, NeuronState(torch.zeros(4, 9)), Dynamics((0.9,), surrogate="sigmoid"))
(gradient,) = torch.autograd.grad(spikes.sum() + last.v.sum(), current)
torch.save([is_fused(), spikes.detach(), last.v.detach(), gradient], sys.argv[2])
"""
    torch.manual_seed(0)
    current = torch.randn(6, 4, 9, requires_grad=True)
    torch.save(current.detach(), tmp_path / "current")
    command = [sys.executable, "-c", code, str(tmp_path / "current"), str(tmp_path / "plain")]
    log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    assert log.count("\n") == 1
    assert "numba" in log
    spikes, last = scan(current, NeuronState(torch.zeros(4, 9)), Dynamics((0.9,), surrogate="sigmoid"))
    (gradient,) = torch.autograd.grad(spikes.sum() + last.v.sum(), current)
    assert distance(current, NeuronState(torch.zeros(4, 9)), Dynamics((0.9,))) > NEAR
    fused, plain_spikes, plain_v, plain_gradient = torch.load(tmp_path / "plain")
    assert not fused
    assert torch.equal(plain_spikes, spikes)
    torch.testing.assert_close(plain_v, last.v, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(plain_gradient, gradient, atol=1e-6, rtol=1e-6)
