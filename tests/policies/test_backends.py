from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from thresholds import NEAR, distance_of
from torch import Tensor

from snn4.policies.backends import BACKENDS, make_neuron
from snn4.policies.dynamics import NeuronState
from snn4.policies.neurons import KINDS, Neuron, NeuronConfig

LIBRARIES = {name: kinds for name, (_, kinds) in BACKENDS.items() if name != "torch"}
PLAIN: dict[str, Any] = {"tau_mem": 10e-3, "tau_spread": 2.0, "surrogate": "sigmoid", "slope": 1.5}
RICH: dict[str, Any] = PLAIN | {"r": 9.0, "v_leak": 0.2, "v_reset": -0.3, "v_threshold": 0.6}
PARITY = [
    pytest.param(backend, kind, reset, id=f"{backend}-{kind}-{reset}")
    for backend, kinds in LIBRARIES.items()
    for kind in kinds
    for reset in (("soft", "hard") if kind != "li" else ("soft",))
]


@pytest.fixture(autouse=True)
def library(request: pytest.FixtureRequest) -> None:
    """What needs a library that is not installed is skipped."""
    callspec = getattr(request.node, "callspec", None)
    if callspec and callspec.params.get("backend") in LIBRARIES:
        pytest.importorskip(callspec.params["backend"])


def random_input(neuron: Neuron, dtype: torch.dtype = torch.float32, steps: int = 10) -> tuple[Tensor, NeuronState]:
    """A current (T, 4, 5) and a first state, whose membranes are above the threshold here and there."""
    randn = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0), dtype=dtype)
    current = randn(steps, 4, 5) + 0.3
    return current, neuron.initial_state(current).map(lambda part: part + randn(part.shape))


def with_gradients(
    neuron: Neuron, current: Tensor, state: NeuronState, **options: Any
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Output, last state, and gradients of current, first state and parameters for a random weighting of both."""
    current, state = current.clone().requires_grad_(), state.map(lambda part: part.clone().requires_grad_())
    output, last = neuron(current, state, **options)
    states = [part for part in last if part is not None]
    generator = torch.Generator().manual_seed(1)
    loss = sum(((x * torch.randn(x.shape, generator=generator)).sum() for x in (output, *states)), torch.zeros(()))
    inputs = [current, *(part for part in state if part is not None), *neuron.parameters()]
    return output.detach(), [part.detach() for part in states], list(torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize(("backend", "kind", "reset"), PARITY)
def test_backend_equals_torch(backend: str, kind: Any, reset: Any) -> None:
    """In float64 the mathematics, in float32 the numbers; spikes are equal because no membrane is at the threshold."""
    for fields in (PLAIN, RICH):
        config = NeuronConfig(kind, reset=reset, **fields)
        ours, theirs = Neuron(config, (5,)), make_neuron(config, backend, (5,))
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-9 if kind != "plif" else 1e-6)):
            inputs = random_input(ours, dtype)
            (output, last, gradients), (output2, last2, gradients2) = (
                with_gradients(n, *inputs) for n in (ours, theirs)
            )
            assert output2.dtype == last2[0].dtype == dtype
            if kind == "li":
                torch.testing.assert_close(output2, output, atol=tolerance, rtol=tolerance)
            else:
                assert distance_of(ours, *inputs) > NEAR
                assert 0.02 < output.mean() < 0.98
                assert torch.equal(output2, output)
            for got, want in zip(last2 + gradients2, last + gradients, strict=True):
                close = tolerance if want.dtype == dtype else 1e-5  # a learned decay is float32
                torch.testing.assert_close(got, want, atol=close * max(1.0, want.abs().max().item()), rtol=0)


@pytest.mark.parametrize("backend", ["snntorch"])
@pytest.mark.parametrize("kind", LIBRARIES["snntorch"])
def test_snntorch_differs_by_rounding_alone(backend: str, kind: Any) -> None:
    """The same spikes; states and gradients near, by a few of float32's last bits: the steps are the same."""
    config = NeuronConfig(kind, **PLAIN)
    ours, theirs = Neuron(config, (5,)), make_neuron(config, backend, (5,))
    inputs = random_input(ours)
    assert distance_of(ours, *inputs) > NEAR
    (output, last, gradients), (output2, last2, gradients2) = (with_gradients(n, *inputs) for n in (ours, theirs))
    assert torch.equal(output, output2)
    for got, want in zip(last2 + gradients2[:2], last + gradients[:2], strict=True):
        torch.testing.assert_close(got, want, atol=2e-6 * max(1.0, want.abs().max().item()), rtol=0)


@pytest.mark.parametrize(("backend", "kind", "reset"), PARITY)
def test_two_chunks_and_a_constant_current(backend: str, kind: Any, reset: Any) -> None:
    neuron = make_neuron(NeuronConfig(kind, reset=reset, **RICH), backend, (5,))
    current, start = random_input(neuron)
    whole, last = neuron(current, start)
    first, middle = neuron(current[:5], start)
    second, end = neuron(current[5:], middle)
    assert_near(torch.cat([first, second]), whole)
    for got, want in zip(end, last, strict=True):
        assert (got is None) == (want is None)
        if got is not None and want is not None:
            assert_near(got, want)

    constant, expanded = current[:1], current[:1].expand(6, 4, 5)
    once = with_gradients(neuron, constant, start, steps=6)
    each = with_gradients(neuron, expanded, start)
    assert once[0].shape == (6, 4, 5)
    assert torch.equal(once[0], each[0])
    assert_near(once[2][0], each[2][0].sum(0, keepdim=True))


def assert_near(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", LIBRARIES)
def test_same_checkpoint_and_nothing_kept(backend: str) -> None:
    """The weights of one backend load in another, and a layer that has run is still copied, pickled and forgotten."""
    config = NeuronConfig("plif", tau_spread=3.0)
    others = len(pytest.importorskip("snntorch").SpikingNeuron.instances)  # those of other tests
    ours, theirs = Neuron(config, (5,)), make_neuron(config, backend, (5,))
    assert ours.decay_logit is not None
    ours.decay_logit.data += 0.5
    theirs.load_state_dict(ours.state_dict())
    inputs = random_input(ours)
    assert distance_of(ours, *inputs) > NEAR
    spikes, _ = theirs(*inputs)
    assert torch.equal(spikes, ours(*inputs)[0])
    for again in (copy.deepcopy(theirs), pickle.loads(pickle.dumps(theirs))):
        assert torch.equal(again(*inputs)[0], spikes)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    if backend == "snntorch":
        import snntorch

        assert len(snntorch.SpikingNeuron.instances) == others


@pytest.mark.parametrize("backend", LIBRARIES)
def test_half_precision_and_images(backend: str) -> None:
    config = NeuronConfig("cuba")
    draw = torch.Generator().manual_seed(0)
    current = torch.randint(-4, 9, (6, 2, 3, 4, 4), generator=draw).bfloat16() / 4 + 0.125  # 1.0 is the threshold
    assert distance_of(Neuron(config), current) > NEAR
    spikes, state = make_neuron(config, backend)(current)
    want, last = Neuron(config)(current)
    assert spikes.dtype == torch.bfloat16
    assert state.v.dtype == torch.float32
    assert torch.equal(spikes, want)
    assert_near(state.v, last.v)


@pytest.mark.parametrize(("backend", "reset"), [("snntorch", "soft"), ("snntorch", "hard")])
def test_snntorch_with_its_own_reset(backend: str, reset: Any) -> None:
    """Below the threshold after each reset, snnTorch's own, undelayed, gives the same spikes: ``beta`` is ``decay``."""
    import snntorch

    config = NeuronConfig(reset=reset, tau_mem=10e-3)
    mechanism = {"soft": "subtract", "hard": "zero"}[reset]
    leaky = snntorch.Leaky(beta=config.decay, reset_mechanism=mechanism, reset_delay=False)
    snntorch.SpikingNeuron.instances.remove(leaky)
    torch.manual_seed(0)
    current, spikes, mem = torch.rand(40, 6) * 0.8, list[Tensor](), torch.zeros(6)
    assert distance_of(Neuron(config), current) > NEAR
    for at in current:
        spike, mem = leaky(at, mem)
        assert mem.max() < 1
        spikes.append(spike)
    want, state = Neuron(config)(current)
    assert 0.1 < want.mean() < 0.9
    assert torch.equal(torch.stack(spikes), want)
    assert_near(mem, state.v)


@pytest.mark.parametrize(("backend", "kind"), [("norse", "lif"), ("norse", "cuba")])
def test_norse_with_its_own_threshold(backend: str, kind: Any) -> None:
    """Norse's as it is, with ``tau_mem_inv = (1 - decay) / dt``; its "super" is our fast_sigmoid of slope 1."""
    import norse.torch as norse

    config = NeuronConfig(kind, tau_mem=10e-3, r=4.0, reset="hard", surrogate="fast_sigmoid", slope=1.0)
    d = Neuron(config).dynamics
    constants = {"tau_mem_inv": (1 - config.decay) / config.dt, "v_th": config.v_threshold, "method": "super"}
    torch.manual_seed(0)
    current, spikes = torch.rand(40, 6), list[Tensor]()
    assert distance_of(Neuron(config), current) > NEAR
    if kind == "lif":
        step, state, scale = norse.lif_box_feed_forward_step, norse.LIFBoxFeedForwardState(torch.zeros(6)), 4.0
        p = norse.LIFBoxParameters(**constants)
    else:
        step, state = norse.lif_feed_forward_step, norse.LIFFeedForwardState(torch.zeros(6), torch.zeros(6))
        p, scale = norse.LIFParameters(**constants, tau_syn_inv=(1 - d.syn_decay) / config.dt), 4.0 * d.syn_gain  # type: ignore[operator]
    for at in current:
        spike, state = step(scale * at, state, p, config.dt)
        spikes.append(spike)
    want, last = Neuron(config)(current)
    assert 0.05 < want.mean() < 0.9
    assert torch.equal(torch.stack(spikes), want)
    assert_near(state.v, last.v)
    x = torch.linspace(-2, 2, 9, requires_grad=True)
    (theirs,) = torch.autograd.grad(norse.super_fn(x).sum(), x)
    assert_near(theirs, torch.autograd.grad(make_neuron(config, backend).spike(x).sum(), x)[0])  # type: ignore[operator]


def test_torch_makes_the_fused_neuron_of_every_kind() -> None:
    for kind in KINDS:
        assert type(make_neuron(NeuronConfig(kind))) is Neuron  # type: ignore[arg-type]


def test_backend_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"^backend: got 'lava', allowed are torch, snntorch, norse$"):
        make_neuron(NeuronConfig(), "lava")


@pytest.mark.parametrize(
    ("backend", "kind"), [(name, kind) for name, kinds in LIBRARIES.items() for kind in KINDS if kind not in kinds]
)
def test_kind_that_a_backend_cannot_do(backend: str, kind: Any) -> None:
    able = ", ".join(name for name, (_, kinds) in BACKENDS.items() if kind in kinds)
    allowed = ", ".join(LIBRARIES[backend])
    message = f"kind: got '{kind}' with backend {backend}, allowed are {allowed}; for {kind} set backend: {able}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_neuron(NeuronConfig(kind), backend)


@pytest.mark.parametrize("backend", LIBRARIES)
@pytest.mark.parametrize("fields", [{"r": 0.0}, {"r": 1e-40}, {"tau_syn": 1e-5}])
def test_synapse_that_would_be_lost(backend: str, fields: dict[str, float]) -> None:
    if backend == "snntorch" and "tau_syn" in fields:
        assert make_neuron(NeuronConfig("cuba", **fields), backend)(torch.ones(3, 1, 1))[1].v.isfinite().all()  # type: ignore[arg-type]
        return
    with pytest.raises(ValueError, match=rf"^r, tau_syn: got .* with backend {backend}, allowed are"):
        make_neuron(NeuronConfig("cuba", **fields), backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", LIBRARIES)
def test_wrong_inputs_are_refused_as_by_torch(backend: str) -> None:
    neuron = make_neuron(NeuronConfig("cuba"), backend)
    _, state = neuron(torch.ones(2, 3, 4))
    for current, wrong, options in (
        (torch.ones(2, 5, 4), state, {}),
        (torch.ones(2, 3, 4), state._replace(i=None), {}),
        (torch.ones(2, 3, 4).double(), state, {}),
        (torch.ones(2, 3, 4, dtype=torch.int64), state, {}),
        (torch.ones(2, 3, 4), state, {"steps": 3}),
    ):
        errors = []
        for layer in (neuron, Neuron(NeuronConfig("cuba"))):
            with pytest.raises(ValueError, match=": got") as error:
                layer(current, wrong, **options)
            errors.append(str(error.value))
        assert errors[0] == errors[1]


@pytest.mark.parametrize("name", LIBRARIES)
def test_library_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"^backend {name} needs a package .* pip install 'snn4-agent\[backends\]'$"):
        make_neuron(NeuronConfig(), name)


def test_importing_the_module_imports_no_library() -> None:
    code = (
        "import sys; from snn4.policies.backends import make_neuron; from snn4.policies.neurons import NeuronConfig; "
        "make_neuron(NeuronConfig()); print([name for name in ('snntorch', 'norse') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
