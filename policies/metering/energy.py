"""Energy models: joules per decision, from its operations and from published energies of single operations.

They are models, without clock, idle power or wires beyond those named. They compare networks, not products.

At 45 nm (Horowitz 2014) a multiply-accumulate (MAC) costs 4.6 pJ in fp32 and 0.23 pJ in int8, an addition (AC) 0.9 pJ
and 0.03 pJ. These energies apply to synapses, neuron updates and activation functions alike. `neuron_operations` lists
the operations of an update: 1 MAC and 1 AC for a LIF neuron. In ``45nm_int8``, sums and membranes also cost the energy
of eight bits, although integer hardware keeps them wider.

**Memory.** ``45nm_fp32_memory`` and ``45nm_int8_memory`` add the traffic that `Meter` counts, at the energy of the
smallest memory that holds the parameters. They count the same accesses and differ only in widths and in energies:

- A value has the width of its dtype in the first model, and that of `traffic.INT8_WIDTHS` in the second: one byte for
  weights and activations; 32 bits for biases, for the currents of neurons and for their states. Parameters of one byte
  also fit into smaller memories.
- A spike is an address with the width of a value in the first model. In the second, spikes are bits: a neuron writes
  one in each step, 0 or 1, and each layer behind reads it.
- Horowitz gives the energy of an access of 64 bits. A narrower value costs its share of that, as if its neighbours were
  always needed, too. This is true for values in order, and a lower bound for weights of scattered synapses.
- A sum has 32 bits. An AC is an addition of 32 bits (0.1 pJ), and a MAC of synapses a multiplication of eight bits
  (0.2 pJ) before it. Inside neurons and activation functions, a MAC multiplies a state of 32 bits by a constant of
  eight: four multiplications of eight bits (0.8 pJ; the table's 3.1 pJ for 32 by 32 bits are 16 of them), and an
  addition.
- Sums become activations of eight bits on their way to memory. This rescaling is free, like a norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from snn4.policies.metering.traffic import INT8_WIDTHS, Values


@dataclass(frozen=True)
class Operations:
    """The operations of one decision: means, so fractions are possible."""

    macs: float = 0.0
    """Effective multiply-accumulates: non-zero real values that cross a synapse."""
    acs: float = 0.0
    """Effective accumulates: spikes that cross a synapse."""
    neuron_macs: float = 0.0
    """Multiply-accumulates inside neurons and activation functions."""
    neuron_acs: float = 0.0
    """Additions and comparisons inside neurons and activation functions."""
    active_updates: float = 0.0
    """Neuron updates in steps in which the neuron receives input or spikes."""
    inactive_updates: float = 0.0
    """Neuron updates in all other steps."""
    memory_bytes: float = 0.0
    """Bytes read and written."""
    weight_bytes: float = 0.0
    """Bytes of all parameters; they determine which memory holds the parameters."""
    traffic: Values = field(default_factory=Values)
    """Values read and written, for models that give each kind a width."""
    parameters: Values = field(default_factory=Values)
    """Numbers of weights and of biases, for the same models."""
    synaptic_events: float | None = None
    """Synapses crossed by spikes on a spiking chip; None for a network that cannot run there."""
    host_operations: float = 0.0
    """Synaptic operations on a chip's host: before the first spiking layer, for its current, and after the last one."""


@dataclass(frozen=True)
class EnergyModel:
    """Joules per operation, for arithmetic and, if ``memories`` are given, for memory."""

    source: str
    mac: float
    ac: float
    memories: tuple[tuple[float, float], ...] = ()
    """Capacity in bytes and joules per byte, from small to large; the smallest that holds the parameters is used."""
    neuron_mac: float | None = None
    """Of a multiply-accumulate inside neurons and activation functions; None: as ``mac``."""
    widths: Values | None = None
    """Bytes of a value of each kind; None: as wide as it was measured."""

    def joules(self, work: Operations) -> float:
        """Energy of a decision."""
        neuron_mac = self.mac if self.neuron_mac is None else self.neuron_mac
        arithmetic = work.macs * self.mac + work.neuron_macs * neuron_mac + (work.acs + work.neuron_acs) * self.ac
        if self.widths is None:
            return arithmetic + work.memory_bytes * self.joules_a_byte(work.weight_bytes)
        traffic, size = work.traffic.bytes(self.widths), work.parameters.bytes(self.widths)
        return arithmetic + traffic * self.joules_a_byte(size)

    def joules_a_byte(self, weight_bytes: float) -> float:
        """Energy of an access to the memory that ``weight_bytes`` of parameters need; 0 if memory is not modelled."""
        return next((joules for capacity, joules in self.memories if weight_bytes <= capacity), 0.0)


@dataclass(frozen=True)
class SpikingChip:
    """A chip with only spikes and neurons, and the host that computes its input currents and reads its output.

    A real-valued input is a bias current: its neuron is updated in every step, but the input crosses no synapse on the
    chip. The host multiplies once per decision, at the energy ``host_mac``. The activation functions of the host cost
    nothing.
    """

    source: str
    synaptic_event: float
    active_update: float
    inactive_update: float
    host_mac: float

    def joules(self, work: Operations) -> float | None:
        """Energy of a decision; None if the network, such as an ANN, needs operations that the chip does not have."""
        if work.synaptic_events is None:
            return None
        updates = work.active_updates * self.active_update + work.inactive_updates * self.inactive_update
        return work.synaptic_events * self.synaptic_event + updates + work.host_operations * self.host_mac


_FP32_MAC, _FP32_ADD = 4.6e-12, 0.9e-12
_INT8_MULTIPLY, _INT32_ADD = 0.2e-12, 0.1e-12
_WORD = 8  # bytes of the accesses in Horowitz's table
HOROWITZ_MEMORIES = (
    (8 * 1024, 10e-12 / _WORD),
    (32 * 1024, 20e-12 / _WORD),
    (1024 * 1024, 100e-12 / _WORD),
    (math.inf, 1.3e-9 / _WORD),
)
"""SRAM of 8 KB, 32 KB and 1 MB, then DRAM at the lower end of the 1.3 to 2.6 nJ given (Horowitz 2014, 64 bits)."""

ENERGY_MODELS: dict[str, EnergyModel | SpikingChip] = {
    "45nm_fp32": EnergyModel("Horowitz 2014, 45 nm: fp32 multiply 3.7 pJ + add 0.9 pJ", _FP32_MAC, _FP32_ADD),
    "45nm_int8": EnergyModel("Horowitz 2014, 45 nm: int8 multiply 0.2 pJ + add 0.03 pJ", 0.23e-12, 0.03e-12),
    "45nm_fp32_memory": EnergyModel(
        "Horowitz 2014, 45 nm: as 45nm_fp32, plus all memory traffic at the energy of the smallest memory that holds "
        "the parameters: 64 bits cost 10 pJ in 8 KB, 20 pJ in 32 KB and 100 pJ in 1 MB of SRAM, 1.3 nJ in DRAM",
        _FP32_MAC, _FP32_ADD, HOROWITZ_MEMORIES,
    ),
    "45nm_int8_memory": EnergyModel(
        "Horowitz 2014, 45 nm: int8 multiply 0.2 pJ + int32 add 0.1 pJ, in neurons four such multiplies + add, plus "
        "the memory traffic of 45nm_fp32_memory, with weights and activations of 8 bits, spikes of one bit, and "
        "biases, currents and states of neurons of 32 bits",
        _INT8_MULTIPLY + _INT32_ADD, _INT32_ADD, HOROWITZ_MEMORIES, 4 * _INT8_MULTIPLY + _INT32_ADD, INT8_WIDTHS,
    ),
    "loihi1": SpikingChip(
        "Davies et al. 2018, table 2 (simulated before silicon, 0.75 V): synaptic operation at least 23.6 pJ, neuron "
        "update 81 pJ active, 52 pJ inactive; the 52 pJ is taken from citations of that table, which does not define "
        "inactive. Spikes between cores cost nothing. Host: fp32 multiply-accumulate of Horowitz 2014",
        synaptic_event=23.6e-12, active_update=81e-12, inactive_update=52e-12, host_mac=_FP32_MAC,
    ),
}  # fmt: skip
"""Energy models by name, each with its source."""
