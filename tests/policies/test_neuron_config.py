"""Configs of neurons: their errors, their names, and the neurons of papers and chips."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pydantic
import pytest
import torch

from snn4.policies.neurons import PROFILES, Neuron, NeuronConfig, neuron_config

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("kind", "izhikevich", "lif, cuba, alif, multi, plif, if, signed_if, li"),
        ("tau_mem", 0.0, "finite number > 0"),
        ("tau_mem", NAN, "finite number > 0"),
        ("tau_syn", -1e-3, "finite number > 0"),
        ("tau_adapt", INF, "finite number > 0"),
        ("v_threshold", -1.0, "finite number > 0"),
        ("dt", INF, "finite number > 0"),
        ("slope", 0.0, "finite number > 0"),
        ("adaptation", -0.1, "finite number >= 0"),
        ("tau_spread", 0.5, "finite number >= 1"),
        ("v_reset", 1.0, r"below v_threshold \(1.0\)"),
        ("v_reset", NAN, "finite number"),
        ("v_leak", NAN, "finite number"),
        ("v_leak", INF, "finite number"),
        ("r", NAN, "finite number"),
        ("reset", "none", "soft, hard"),
        ("surrogate", "relu", "arctan, sigmoid, fast_sigmoid, triangle, gaussian"),
    ],
)
def test_errors_name_field_value_and_what_is_allowed(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field}: got {value!r}, allowed .*{allowed}"):
        NeuronConfig(**{field: value})


@pytest.mark.parametrize(("taus", "message"), [((), "got no value, allowed is one"), ((0.1, 0.0), "got 0.0, allowed")])
def test_membranes_of_a_multi_timescale_neuron(taus: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^tau_more: {message}"):
        NeuronConfig("multi", tau_more=taus)


@dataclass(frozen=True)
class Holder:
    neuron: NeuronConfig


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cuba", NeuronConfig("cuba")),
        ("ms-resnet", PROFILES["ms-resnet"]),
        ({"profile": "ms-resnet", "v_threshold": 0.25}, replace(PROFILES["ms-resnet"], v_threshold=0.25)),
        ({"profile": "loihi"}, PROFILES["loihi"]),
        ({"kind": "plif", "tau_mem": 5e-3}, NeuronConfig("plif", 5e-3)),
        (NeuronConfig("alif"), NeuronConfig("alif")),
    ],
)
def test_a_word_or_a_mapping_means_a_neuron_in_python_and_in_a_config(value: Any, expected: NeuronConfig) -> None:
    assert neuron_config(value) == expected
    assert pydantic.TypeAdapter(Holder).validate_python({"neuron": value}) == Holder(expected)


@dataclass(frozen=True)
class Several:
    first: Holder
    second: Holder
    third: NeuronConfig


def test_a_word_means_a_neuron_wherever_a_config_has_one() -> None:
    raw = {"first": {"neuron": {}}, "second": {"neuron": "cuba"}, "third": {"profile": "ms-resnet"}}
    several = Several(Holder(NeuronConfig()), Holder(NeuronConfig("cuba")), PROFILES["ms-resnet"])
    assert pydantic.TypeAdapter(Several).validate_python(raw) == several


def test_words_and_mappings_that_mean_no_neuron() -> None:
    names = "lif, cuba, alif, multi, plif, if, signed_if, li, spikformer, ms-resnet, loihi$"
    with pytest.raises(ValueError, match=rf"^neuron.kind: got 'cubaa', allowed are {names}"):
        neuron_config("cubaa")
    with pytest.raises(ValueError, match=r"^neuron: got the key 'tau', allowed are kind, tau_mem"):
        neuron_config({"tau": 1e-3})
    with pytest.raises(TypeError, match=r"^neuron: got int, allowed is a NeuronConfig, a mapping of its fields, or a"):
        neuron_config(3)  # type: ignore[arg-type]
    with pytest.raises(pydantic.ValidationError, match="kind: got 'cubaa', allowed are lif") as raised:
        pydantic.TypeAdapter(Holder).validate_python({"neuron": "cubaa"})
    assert raised.value.errors()[0]["loc"] == ("neuron",)


@pytest.mark.parametrize(("name", "decay", "gain", "threshold"), [("spikformer", 2, 2, 1.0), ("ms-resnet", 4, 1, 0.5)])
def test_neurons_of_papers(name: str, decay: int, gain: int, threshold: float) -> None:
    """Against their equations, with numbers that a float holds exactly, and the derivatives that the papers give."""
    current = torch.randint(-8, 24, (6, 50), generator=torch.Generator().manual_seed(0)) / 8
    v, expected = torch.zeros(50), []
    for x in current:
        v = v / decay + x / gain
        expected.append((v >= threshold).float())
        v = torch.where(v >= threshold, 0.0, v)
    spikes, _ = Neuron(neuron_config(name))(current.unsqueeze(1))
    assert 0.1 < spikes.mean() < 0.9
    torch.testing.assert_close(spikes.squeeze(1), torch.stack(expected), rtol=0, atol=0)
    distance = torch.linspace(-1, 1, 8)  # of the membrane from the threshold, in one step from rest
    x = ((threshold + distance) * gain).requires_grad_()
    (gradient,) = torch.autograd.grad(Neuron(neuron_config(name))(x.expand(1, 1, 8))[0].sum(), x)
    s = (4 * distance).sigmoid()
    derivative = 4 * s * (1 - s) if name == "spikformer" else (distance.abs() < 0.5).float()
    torch.testing.assert_close(gradient, derivative / gain)


@pytest.mark.parametrize("tau", [1e-5, 2e-3, 20e-3, 1.0, 1e6])
def test_a_neuron_of_loihi_has_a_decay_of_its_grid_and_spikes_above_its_threshold(tau: float) -> None:
    config = neuron_config({"profile": "loihi", "tau_mem": tau, "v_threshold": 0.5})
    dv = float(4096 * (1 - torch.tensor(config.decay)))
    assert dv in range(1, 4096)
    if 2e-3 <= tau <= 1:
        assert config.decay == pytest.approx(math.exp(-1e-3 / tau), abs=0.5 / 4096 + 1e-9)
    current = torch.tensor([0.5, 0.5 + 2**-24, 0.5 - 2**-25]).view(1, 1, 3)
    spikes, _ = Neuron(config)(current)
    assert spikes.flatten().tolist() == [0, 1, 0]
    assert (config.reset, config.v_reset, config.v_leak, config.r) == ("hard", 0, 0, None)


def test_a_profile_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"^neuron.profile: got 'loiho', allowed are spikformer, ms-resnet, loihi"):
        neuron_config({"profile": "loiho"})
    with pytest.raises(
        ValueError, match=r"^neuron.reset: got 'soft', allowed with profile loihi is hard; leave it out"
    ):
        neuron_config({"profile": "loihi", "reset": "soft"})
    for wrong in ({"profile": "loihi", "tau_mem": "long"}, {"profile": "loihi", "tau_mem": -1}, {"profile": [3]}):
        with pytest.raises(pydantic.ValidationError, match=r"tau_mem|profile"):
            pydantic.TypeAdapter(Holder).validate_python({"neuron": wrong})
