"""The kernels for GPUs against the plain loop: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from scans import F32, VARIANTS, assert_near, inputs

from snn4.policies import scan_operator
from snn4.policies.dynamics import NeuronState
from snn4.policies.reference import reference_scan
from snn4.policies.scan import scan

needs_triton = pytest.mark.skipif(not scan_operator.HAS_TRITON, reason="triton is not there: pip install triton")

INTERPRETED = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from scans import VARIANTS, assert_same, inputs, run
from snn4.policies import scan_operator
from snn4.policies.reference import reference_scan
from snn4.policies.scan import scan
from snn4.policies.triton_scan import triton_backward, triton_forward
scan_operator.fused_forward, scan_operator.fused_backward = triton_forward, triton_backward

def channels_last(x):
    return x.movedim(2, -1).contiguous().movedim(-1, 2)

for name in VARIANTS:
    for shape in ((3, 5), (2, 3, 2, 2)):
        current, state, dynamics, decay = inputs(name, 6, *shape)
        want = run(reference_scan, current, state, dynamics, decay)
        assert_same(run(scan, current, state, dynamics, decay), want)
        if len(shape) > 2:
            assert_same(run(scan, channels_last(current), state, dynamics, decay), want)
        got, want = (run(f, current[:1], state, dynamics, decay, steps=6) for f in (scan, reference_scan))
        assert_same(got, want)
    print(name)
half, state, dynamics, _ = inputs("cuba-soft", 6, 1, 700)
spikes = triton_forward(half.half(), state.map(torch.clone), None, None, dynamics, 6)
want, _ = reference_scan(half.half(), state, dynamics)
assert torch.equal(spikes, want)
print(triton_forward(torch.empty(4, 0, 3), state, None, None, dynamics, 4).shape)
"""


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_equal_the_plain_loop() -> None:
    """Spikes are equal; states and gradients are within rounding."""
    command = [sys.executable, "-c", INTERPRETED, str(Path(__file__).parents[1])]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-2] == [*VARIANTS]


COMPILED = """
import sys
sys.path.insert(0, sys.argv[1])
import torch, triton
from scans import VARIANTS, inputs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from snn4.policies import _triton_kernels as kernels
from snn4.policies.surrogate import SURROGATES
from snn4.policies.triton_scan import BLOCK, _kind

def compiled(kernel, *values):
    pairs = list(zip(kernel.params, values, strict=True))
    signature = {p.name: "constexpr" if p.is_constexpr else value for p, value in pairs}
    constants = {(p.num,): value for p, value in pairs if p.is_constexpr}
    triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))

full = "*fp32"
for name in sys.argv[2:]:
    current, _, d, decay = inputs(name, 2, 2, 2)
    for some in ("*bf16" if current.dtype == torch.bfloat16 else full, "*fp16"):
        for constant, rested in ((False, True), (True, False)):
            kind, last = _kind(d, decay), [*SURROGATES].index(d.surrogate)
            arrays = (some, some, *[full] * 6)
            compiled(kernels.forward, *arrays, "fp32", *["i32"] * 3, constant, rested, *kind, BLOCK)
            arrays = (some, some, *[full] * 6, full if constant else some, *[full] * 7)
            numbers = ("fp32", "fp32", *["i32"] * 3)
            compiled(kernels.backward, *arrays, *numbers, constant, rested, not rested, *kind, last, BLOCK)
"""


@needs_triton
@pytest.mark.slow
def test_kernels_compile_without_a_gpu(tmp_path: Path) -> None:
    command = [sys.executable, "-c", COMPILED, str(Path(__file__).parents[1]), "lif-soft", "everything-hard", "signed"]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", VARIANTS)
def test_a_gpu_spikes_as_the_plain_loop(name: str) -> None:
    current, state, dynamics, decay = inputs(name, 6, 3, 5, 2, 2)

    def told(function: Any, device: str) -> Any:
        tensors = [None if x is None else x.to(device).requires_grad_() for x in (current, *state, decay)]
        out, last = function(tensors[0], NeuronState(*tensors[1:4]), dynamics, decay=tensors[4])
        loss = out.float().square().sum() + last.v.square().sum()
        gradients = torch.autograd.grad(loss, [x for x in tensors if x is not None])
        return [x.detach().cpu() for x in (out, *last, *gradients) if x is not None]

    got, want = told(scan, "cuda"), told(reference_scan, "cpu")
    assert torch.equal(got[0], want[0]) or dynamics.reset == "none"
    assert_near(got, want, 1e-4 if current.dtype == F32 else 0.03)


def test_without_triton_one_line_says_so(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    class OnGPU:
        device, dtype = torch.device("cuda"), torch.float32

    monkeypatch.setattr(scan_operator, "HAS_TRITON", False)
    scan_operator._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not scan_operator.runs(OnGPU())  # type: ignore[arg-type]
        assert not scan_operator.runs(OnGPU())  # type: ignore[arg-type]
    assert caplog.messages == [
        "no Triton for the fused time loop on GPUs: using the plain loop, which is slower; pip install triton"
    ]
    scan_operator._say_once.cache_clear()
