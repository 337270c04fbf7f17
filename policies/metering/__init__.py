"""The cost of a decision: spikes, operations, memory, energy."""

from snn4.policies.metering.meter import Meter as Meter
