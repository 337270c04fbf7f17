"""What a decision costs: spikes, operations, memory, energy."""

from snn4.policies.metering.meter import Meter as Meter
