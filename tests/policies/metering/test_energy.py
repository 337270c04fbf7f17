from __future__ import annotations

from dataclasses import replace

import pytest

from snn4.policies.metering.energy import ENERGY_MODELS, EnergyModel, Operations, SpikingChip
from snn4.policies.metering.traffic import Values

WORK = Operations(macs=10, acs=100, active_updates=1000, inactive_updates=500, memory_bytes=20, weight_bytes=64)


def test_arithmetic() -> None:
    assert EnergyModel("", mac=4.0, ac=2.0).joules(WORK) == 240
    assert EnergyModel("", mac=4.0, ac=2.0).joules(replace(WORK, neuron_macs=3, neuron_acs=5)) == 240 + 3 * 4 + 5 * 2
    for work in (Operations(macs=1000, acs=1000), Operations(neuron_macs=1000, neuron_acs=1000)):
        assert ENERGY_MODELS["45nm_fp32"].joules(work) == pytest.approx(5.5e-9)
        assert ENERGY_MODELS["45nm_int8"].joules(work) == pytest.approx(0.26e-9)


@pytest.mark.parametrize(("weights", "joules"), [(63, 20 * 3), (64, 20 * 3), (65, 20 * 5), (1 << 40, 20 * 5)])
def test_parameters_live_in_the_smallest_memory_that_holds_them(weights: int, joules: float) -> None:
    model = EnergyModel("", 0, 0, memories=((64, 3.0), (float("inf"), 5.0)))
    assert model.joules(Operations(memory_bytes=20, weight_bytes=weights)) == joules


@pytest.mark.parametrize(
    ("weights", "joules_per_word"), [(8 << 10, 10e-12), (32 << 10, 20e-12), (1 << 20, 100e-12), (1 << 21, 1.3e-9)]
)
def test_memory_of_horowitz(weights: int, joules_per_word: float) -> None:
    work = Operations(memory_bytes=8, weight_bytes=weights)
    assert ENERGY_MODELS["45nm_fp32_memory"].joules(work) == pytest.approx(joules_per_word)


@pytest.mark.parametrize(
    ("parameters", "joules_per_word"),
    [(8 << 10, 10e-12), (32 << 10, 20e-12), (1 << 20, 100e-12), (1 << 21, 1.3e-9)],
)
def test_eight_bits_have_the_widths_and_energies_of_their_own(parameters: int, joules_per_word: float) -> None:
    traffic = Values(weights=8, biases=2, activations=16, spikes=64, sums=4, states=6)  # words: 1, 1, 2, 1, 2, 3
    work = Operations(100, 50, 7, 9, traffic=traffic, parameters=Values(weights=parameters - 8, biases=2))
    arithmetic = 100 * 0.3e-12 + 50 * 0.1e-12 + 7 * 0.9e-12 + 9 * 0.1e-12
    assert ENERGY_MODELS["45nm_int8_memory"].joules(work) == pytest.approx(arithmetic + 10 * joules_per_word)
    measured = replace(work, memory_bytes=1e9, weight_bytes=1e9)
    assert ENERGY_MODELS["45nm_int8_memory"].joules(work) == ENERGY_MODELS["45nm_int8_memory"].joules(measured)


def test_memory_comes_on_top_of_arithmetic() -> None:
    work = Operations(macs=100, acs=50, neuron_macs=7, neuron_acs=9, weight_bytes=100)
    assert ENERGY_MODELS["45nm_fp32_memory"].joules(work) == ENERGY_MODELS["45nm_fp32"].joules(work)


def test_a_chip_charges_events_updates_and_its_host() -> None:
    chip = SpikingChip("", synaptic_event=2.0, active_update=3.0, inactive_update=1.0, host_mac=0.5)
    assert chip.joules(WORK) is None
    # The chip does not charge MACs and ACs elsewhere.
    work = Operations(7, 7, 7, 7, active_updates=10, inactive_updates=20, synaptic_events=5, host_operations=4)
    assert chip.joules(work) == 5 * 2 + 10 * 3 + 20 * 1 + 4 * 0.5


def test_loihi() -> None:
    def joules(**work: float) -> float | None:
        return ENERGY_MODELS["loihi1"].joules(Operations(**{"synaptic_events": 0.0, **work}))

    assert joules(synaptic_events=10) == pytest.approx(236e-12)
    assert joules(active_updates=10) == pytest.approx(810e-12)
    assert joules(inactive_updates=10) == pytest.approx(520e-12)
    assert joules(macs=10, acs=10) == 0


@pytest.mark.parametrize("name", ENERGY_MODELS)
def test_models_name_their_source(name: str) -> None:
    assert any(
        f"{author} {year}" in ENERGY_MODELS[name].source
        for author, year in (("Horowitz", 2014), ("Davies et al.", 2018))
    )
