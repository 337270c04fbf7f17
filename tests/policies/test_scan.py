from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn4.policies.scan import _Dynamics, is_fused, reference_scan, scan
from snn4.policies.surrogate import SURROGATES

RESETS = {"soft": None, "hard": -0.25}


def plain_scan(
    current: Tensor, v: Tensor, *, decay: float, gain: float = 1.0, leak: float = 0.0, v_threshold: float = 1.0,
    v_reset: float | None = None, surrogate: str = "arctan", slope: float = 2.0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return reference_scan(current, v, _Dynamics(decay, gain, leak, v_threshold, v_reset, surrogate, slope))


def with_gradients(function: Any, current: Tensor, v: Tensor, **dynamics: Any) -> tuple[Tensor, ...]:
    """Spikes, last membrane, and the gradients of a random weighting of both."""
    current, v = current.detach().requires_grad_(), v.detach().requires_grad_()
    spikes, last = function(current, v, **dynamics)
    weights = torch.Generator().manual_seed(1)
    loss = (spikes * torch.randn(spikes.shape, generator=weights)).sum()
    loss = loss + (last * torch.randn(last.shape, generator=weights)).sum()
    return spikes.detach(), last.detach(), *torch.autograd.grad(loss, (current, v))


def assert_same(current: Tensor, v: Tensor, tolerance: float = 1e-6, **dynamics: Any) -> Tensor:
    spikes, last, *gradients = with_gradients(scan, current, v, **dynamics)
    expected_spikes, expected_last, *expected = with_gradients(plain_scan, current, v, **dynamics)
    assert torch.equal(spikes, expected_spikes)
    assert torch.equal(last, expected_last)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)
    return spikes


@pytest.mark.parametrize("v_reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_fused_kernel_equals_plain_loop(surrogate: str, v_reset: float | None) -> None:
    assert is_fused(), "numba is a dependency: nothing here is compared with anything without it"
    torch.manual_seed(0)
    current, v = torch.randn(8, 5, 17) + 0.5, torch.randn(5, 17)
    spikes = assert_same(
        current, v, decay=0.9, gain=1.3, leak=0.05, v_threshold=0.8, v_reset=v_reset, surrogate=surrogate, slope=3.0
    )
    assert 0.1 < spikes.mean() < 0.9


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    decay=st.floats(0, 1),
    gain=st.floats(0, 3),
    leak=st.floats(-1, 1),
    v_threshold=st.floats(0.1, 2),
    v_reset=st.none() | st.floats(-1, 0),
    surrogate=st.sampled_from(list(SURROGATES)),
    slope=st.floats(0.5, 10),
)
def test_fused_kernel_equals_plain_loop_for_any_shape_and_dynamics(
    shape: list[int], seed: int, **dynamics: Any
) -> None:
    generator = torch.Generator().manual_seed(seed)
    current, v = torch.randn(shape, generator=generator), torch.randn(shape[1:], generator=generator)
    assert_same(current, v, 1e-4, **dynamics)


def test_membrane_by_hand() -> None:
    current = torch.tensor([0.5, 1.0, 0.25, 1.5]).reshape(4, 1)
    spikes, v = scan(current, torch.tensor([0.5]), decay=0.5, gain=2.0, leak=-0.25)
    # u: 0.25 + 0.75 = 1 spikes, leaves 0 | 0 + 1.75 spikes, leaves 0.75 | 0.375 + 0.25 = 0.625 | 0.3125 + 2.75 spikes
    assert spikes.ravel().tolist() == [1, 1, 0, 1]
    assert v.item() == 2.0625
    spikes, v = scan(current, torch.tensor([0.5]), decay=0.5, gain=2.0, leak=-0.25, v_reset=-1.0)
    # u: 1 spikes | -0.5 + 1.75 spikes | -0.5 + 0.25 = -0.25 | -0.125 + 2.75 spikes
    assert spikes.ravel().tolist() == [1, 1, 0, 1]
    assert v.item() == -1.0


@pytest.mark.parametrize("v_reset", RESETS.values(), ids=RESETS)
def test_two_pieces_are_one_run(v_reset: float | None) -> None:
    torch.manual_seed(0)
    current, v, dynamics = torch.randn(10, 3, 4), torch.randn(3, 4), {"decay": 0.8, "v_reset": v_reset}

    def in_two_pieces(current: Tensor, v: Tensor, **dynamics: Any) -> tuple[Tensor, Tensor]:
        first, v = scan(current[:4], v, **dynamics)
        second, v = scan(current[4:], v, **dynamics)
        return torch.cat([first, second]), v

    whole, pieces = (with_gradients(f, current, v, **dynamics) for f in (scan, in_two_pieces))
    for got, want in zip(pieces, whole, strict=True):
        assert torch.equal(got, want)


def test_memory_layout_does_not_matter() -> None:
    torch.manual_seed(0)
    turned, v = torch.randn(5, 6, 3).transpose(0, 1), torch.randn(3, 5).T
    constant = torch.randn(5, 3).expand(6, 5, 3)
    for current in (turned, constant):
        assert not current.is_contiguous()
        before = v.clone()
        with_layout = with_gradients(scan, current, v, decay=0.9)
        without = with_gradients(scan, current.contiguous(), v.contiguous(), decay=0.9)
        for got, want in zip(with_layout, without, strict=True):
            assert torch.equal(got, want)
        assert torch.equal(v, before), "the caller's state must not change"


def test_gradient_of_a_constant_current_is_the_sum_over_steps() -> None:
    torch.manual_seed(0)
    constant, v = torch.randn(5, 3, requires_grad=True), torch.zeros(5, 3)
    spikes, _ = scan(constant.expand(4, 5, 3), v, decay=0.9)
    (through_expand,) = torch.autograd.grad(spikes.sum(), constant)
    each_step = constant.detach().repeat(4, 1, 1).requires_grad_()
    (a_step,) = torch.autograd.grad(scan(each_step, v, decay=0.9)[0].sum(), each_step)
    torch.testing.assert_close(through_expand, a_step.sum(0))


@pytest.mark.parametrize("v_reset", RESETS.values(), ids=RESETS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype, v_reset: float | None) -> None:
    """With numbers that every dtype holds exactly, the answer must be that of the fused float32 kernel."""
    torch.manual_seed(0)
    current = torch.randint(-4, 9, (3, 4, 25)) / 4
    v = torch.randint(-4, 5, (4, 25)) / 4
    fused = with_gradients(scan, current, v, decay=0.5, v_reset=v_reset)
    other = with_gradients(scan, current.to(dtype), v.to(dtype), decay=0.5, v_reset=v_reset)
    assert other[0].dtype == other[1].dtype == dtype
    assert torch.equal(other[0].float(), fused[0])
    assert torch.equal(other[1].float(), fused[1])
    for got, want in zip(other[2:], fused[2:], strict=True):
        torch.testing.assert_close(got.float(), want, rtol=0.05 if dtype == torch.bfloat16 else 1e-5, atol=0.02)


def test_no_grad_gives_the_same() -> None:
    torch.manual_seed(0)
    current, v = torch.randn(6, 4, 3), torch.randn(4, 3)
    spikes, last = scan(current, v, decay=0.9)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(scan(current, v, decay=0.9), (spikes, last), strict=True))


def test_batch_of_none() -> None:
    spikes, v = scan(torch.empty(4, 0, 3), torch.empty(0, 3), decay=0.9)
    assert spikes.shape == (4, 0, 3)
    assert v.shape == (0, 3)


@pytest.mark.parametrize("shape", [(1, 3), (3,), (), (2, 3, 1)])
def test_state_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """The kernel would read and write past the end of a state that is too small."""
    with pytest.raises(ValueError, match=rf"^v: got shape {re.escape(str(shape))}, allowed is \(2, 3\)"):
        scan(torch.ones(4, 2, 3), torch.zeros(shape), decay=0.9)


def run_steps(path: Path, blocked: str = "") -> str:
    """Save what `scan` gives in a fresh process; its stderr."""
    code = f"""
import sys
{blocked}
import torch
from snn4.policies.scan import is_fused, scan
torch.manual_seed(0)
current = torch.randn(6, 4, 9, requires_grad=True)
for _ in range(3):
    spikes, v = scan(current, torch.zeros(4, 9), decay=0.9, v_reset=0.0, surrogate="sigmoid")
(gradient,) = torch.autograd.grad(spikes.sum() + v.sum(), current)
torch.save({{"fused": is_fused(), "spikes": spikes.detach(), "v": v.detach(), "gradient": gradient}}, sys.argv[1])
"""
    return subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True).stderr


def test_without_numba_the_plain_loop_takes_over_and_says_so_once(tmp_path: Path) -> None:
    assert run_steps(tmp_path / "with") == ""
    log = run_steps(tmp_path / "without", 'sys.modules["numba"] = None')
    assert log.count("\n") == 1
    assert "numba" in log
    fused, plain = (torch.load(tmp_path / name) for name in ("with", "without"))
    assert (fused.pop("fused"), plain.pop("fused")) == (True, False)
    torch.testing.assert_close(plain.pop("gradient"), fused.pop("gradient"), atol=1e-6, rtol=1e-6)
    assert all(torch.equal(plain[name], fused[name]) for name in fused)
